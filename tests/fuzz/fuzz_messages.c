/* Conversations: the messages, the tools and the variables, as parts, in JSON (missing ones are not
 * given). They are rendered by every template that is a seed of the target "template", as text and
 * to the ids of a small tokenizer. */
#include <assert.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/text/chat_messages.h"
#include "engine/text/chat_prompt.h"
#include "engine/text/tokenizer_pack.h"
#include "tests/fuzz/fuzz.h"

#define FOLDER SOURCE_ROOT "/tests/fuzz/"
#define MAX_TEMPLATES 16

static struct chat_template *templates[MAX_TEMPLATES];
static uint32_t n_templates;
static struct tokenizer *tokenizer;

/* A file of the source tree, which must be there; free it. */
static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    assert(file);
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    size_t n = fread(text, 1, *bytes, file);
    assert(n == *bytes);
    text[n] = 0;
    fclose(file);
    return text;
}

static int is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strncmp(entry->d_name, "finding", 7) != 0;
}

static void load_templates(void)
{
    struct dirent **entries;
    int n = scandir(FOLDER "template", &entries, is_seed, alphasort);
    assert(n > 0 && n <= MAX_TEMPLATES);
    for (int i = 0; i < n; i++) {
        char path[512];
        size_t bytes;
        struct error err = {""};
        snprintf(path, sizeof(path), FOLDER "template/%s", entries[i]->d_name);
        char *text = read_file(path, &bytes);
        templates[n_templates] = chat_template_create(text, bytes, &err);
        assert(templates[n_templates]);
        n_templates++;
        free(text);
        free(entries[i]);
    }
    free(entries);
}

/* With special tokens of the templates, which messages must not be able to speak. */
static void load_tokenizer(void)
{
    static void *section; /* lives as long as the tokenizer */
    uint64_t section_bytes;
    size_t bytes;
    struct error err = {""};
    char *text = read_file(FOLDER "messages_tokenizer.json", &bytes);
    fuzz_file_write("speech", "tokenizer.json", text, bytes);
    bool ok = tokenizer_pack(fuzz_file_folder("speech"), &section, &section_bytes, &err);
    assert(ok);
    tokenizer = tokenizer_create(section, section_bytes, &err);
    assert(tokenizer);
    free(text);
}

/* Whether it could be rendered. */
static bool render(const struct chat_template *template, const json_t *variables)
{
    struct error err = {""};
    struct token_list list = {0};
    char *text = NULL;
    size_t bytes = 0;
    bool ok = chat_prompt_text(template, tokenizer, variables, &text, &bytes, &err);
    assert(ok ? text[bytes] == 0 : err.text[0] != 0);
    free(text);
    err.text[0] = 0;
    bool encoded = chat_prompt_tokens(template, tokenizer, variables, &list, &err);
    assert(encoded || err.text[0]);
    token_list_free(&list);
    return ok;
}

static bool run(const uint8_t *data, size_t bytes)
{
    struct fuzz_part parts[FUZZ_MAX_PARTS];
    char *texts[3] = {NULL, NULL, NULL};
    struct error err = {""};
    if (!tokenizer) {
        load_templates();
        load_tokenizer();
    }
    uint32_t n = fuzz_parts(data, bytes, parts);
    for (uint32_t i = 0; i < n && i < 3; i++) {
        texts[i] = strndup((const char *)data + parts[i].at, parts[i].bytes);
    }
    const struct chat_messages chat = {.messages = texts[0],
                                       .tools = texts[1],
                                       .variables = texts[2],
                                       .add_generation_prompt = bytes & 1,
                                       .messages_file = "messages.json"};
    json_t *variables = chat_messages_variables(&chat, &err);
    assert(variables || err.text[0]);
    bool any = false;
    for (uint32_t i = 0; variables && i < n_templates; i++) {
        any |= render(templates[i], variables);
    }
    json_decref(variables);
    for (uint32_t i = 0; i < 3; i++) {
        free(texts[i]);
    }
    return any;
}

static size_t mutate_part(uint8_t *data, size_t bytes, size_t room, uint32_t part, uint32_t n_parts,
                          struct fuzz_random *random, fuzz_change *change)
{
    return fuzz_json_mutate(data, bytes, room, random, change);
}

static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    uint32_t times = 1 + fuzz_random_below(random, 3);
    while (times-- > 0) {
        bytes = fuzz_parts_mutate(data, bytes, room, random, change, mutate_part);
    }
    return bytes;
}

const struct fuzz_target fuzz_messages = {"messages", run, mutate};
