#include "tests/tools/scripted_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tests/check.h"
#include "tests/tools/tiny_checkpoint.h"

#define VOCABULARY 280
#define CONTEXT 256

/* +1 or -1, so that rows of different tokens are nearly orthogonal and the norm leaves them alone.
 */
static float sign_of(uint32_t token, uint64_t column)
{
    struct check_random random = {.state = 1000003u * token + column};
    return check_random_u64(&random) & 1 ? 1.0f : -1.0f;
}

/* The token before this one in the script, or itself. */
static uint32_t predecessor(const int *script, uint32_t token)
{
    for (size_t i = 1; script[0] >= 0 && script[i] >= 0; i++) {
        if ((uint32_t)script[i] == token) {
            return (uint32_t)script[i - 1];
        }
    }
    return VOCABULARY + token;
}

static void change(void *context, struct tiny_tensor *tensor)
{
    const struct scripted_model *model = context;
    bool embedding = strcmp(tensor->name, "model.embed_tokens.weight") == 0;
    bool head = strcmp(tensor->name, "lm_head.weight") == 0;
    bool matrix = tensor->rank == 2;
    uint64_t columns = matrix ? tensor->shape[1] : tensor->shape[0];
    uint64_t n = columns * (matrix ? tensor->shape[0] : 1);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t token = (uint32_t)(i / columns);
        if (embedding || head) {
            token = head ? predecessor(model->script, token) : token;
            tensor->values[i] = sign_of(token, i % columns);
        } else {
            tensor->values[i] = matrix ? 0.0f : 1.0f; /* layers add nothing; norms scale by 1 */
        }
    }
}

/* Adds the extra tokens behind the last added one. */
static void add_tokens(const struct scripted_model *model, const char *folder)
{
    static const char last[] = "\"special\":true}]";
    const char *path = check_path(folder, "tokenizer.json");
    char *text = check_read_file(path, NULL), *grown = NULL;
    size_t n;
    char *at = text ? strstr(text, last) : NULL;
    cr_assert_not_null(at);
    at += sizeof(last) - 2; /* the bracket */
    FILE *file = open_memstream(&grown, &n);
    fwrite(text, 1, (size_t)(at - text), file);
    for (uint32_t i = 0; i < 8 && model->extra[i]; i++) {
        fprintf(file,
                ",{\"id\":%u,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                "\"rstrip\":false,\"normalized\":false,\"special\":%s}",
                SCRIPTED_MODEL_EXTRA + i, model->extra[i],
                model->special >> i & 1 ? "true" : "false");
    }
    fputs(at, file);
    cr_assert_eq(fclose(file), 0);
    cr_assert(check_write_file(path, grown, n));
    free(grown);
    free(text);
}

const char *scripted_model_write(const struct scripted_model *model, const char *name)
{
    struct tiny_checkpoint checkpoint = tiny_checkpoint_of("Qwen3ForCausalLM");
    checkpoint.vocabulary = VOCABULARY;
    checkpoint.context = CONTEXT;
    checkpoint.change = change;
    checkpoint.change_context = (void *)model;
    const char *folder = tiny_checkpoint_write(&checkpoint, name);
    add_tokens(model, folder);
    cr_assert(check_write_file(check_path(folder, "chat_template.jinja"), model->chat_template,
                               strlen(model->chat_template)));
    return folder;
}
