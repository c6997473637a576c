/* The chat half of the public interface: conversations to prompts, by the model's own template or
 * the known one of its family. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/moxie_internal.h"
#include "engine/text/chat_messages.h"
#include "engine/text/chat_prompt.h"
#include "engine/text/chat_template_family.h"

/* The template is compiled at its first use; models are used from one thread at a time. */
static const struct chat_template *chat_template_of(struct moxie_model *m, struct error *err)
{
    const char *text;
    uint64_t bytes;
    if (m->chat_template) {
        return m->chat_template;
    }
    if (!model_file_chat_template(&m->file, &text, &bytes)) {
        const struct chat_template_family *family =
            chat_template_family_find(m->model.arch->name, m->tokenizer);
        if (!family) {
            error_set(err, "%s has no chat template, and none is known for it: use moxie complete",
                      m->file.map.path);
            return NULL;
        }
        m->chat_family = family->name;
        text = family->text;
        bytes = strlen(text);
    }
    m->chat_template = chat_template_create(text, bytes, err);
    return m->chat_template;
}

const char *moxie_chat_family(struct moxie_model *model)
{
    return chat_template_of(model, NULL) ? model->chat_family : NULL;
}

/* ---- conversations as JSON ---------------------------------------------------------------- */

static json_t *variables_of(const struct moxie_chat *chat, struct error *err)
{
    assert(chat->messages);
    const struct chat_messages messages = {
        .messages = chat->messages,
        .tools = chat->tools,
        .variables = chat->variables,
        .add_generation_prompt = chat->add_generation_prompt,
    };
    return chat_messages_variables(&messages, err);
}

/* Both take the variables over; NULL fails with the error as it is. */
static bool render_text(struct moxie_model *m, json_t *variables, char **text, size_t *bytes,
                        struct error *err)
{
    const struct chat_template *template = variables ? chat_template_of(m, err) : NULL;
    bool ok = template && chat_prompt_text(template, m->tokenizer, variables, text, bytes, err);
    json_decref(variables);
    return ok;
}

static bool render_tokens(struct moxie_model *m, json_t *variables, uint32_t **ids, size_t *count,
                          struct error *err)
{
    struct token_list list = {0};
    const struct chat_template *template = NULL;
    bool ok = variables &&
              (m->tokenizer || error_set(err, "%s has no tokenizer", m->file.map.path)) &&
              (template = chat_template_of(m, err)) &&
              chat_prompt_tokens(template, m->tokenizer, variables, &list, err);
    json_decref(variables);
    if (!ok) {
        token_list_free(&list);
        return false;
    }
    *ids = list.ids;
    *count = list.count;
    return true;
}

bool moxie_chat_render(struct moxie_model *model, const struct moxie_chat *chat, char **text,
                       size_t *bytes, struct moxie_error *out)
{
    struct error err = {0};
    return render_text(model, variables_of(chat, &err), text, bytes, &err) ||
           moxie_error_export(out, &err);
}

bool moxie_chat_render_tokens(struct moxie_model *model, const struct moxie_chat *chat,
                              uint32_t **ids, size_t *count, struct moxie_error *out)
{
    struct error err = {0};
    return render_tokens(model, variables_of(chat, &err), ids, count, &err) ||
           moxie_error_export(out, &err);
}

/* ---- plain messages ----------------------------------------------------------------------- */

/* A JSON string of text that may not be valid UTF-8: what is not becomes U+FFFD. */
static json_t *valid_string(const char *text)
{
    size_t n = strlen(text), used;
    struct text_stream stream = {0};
    char *valid = n < SIZE_MAX / 8 ? malloc(3 * (n + 3) + 3) : NULL;
    if (!valid) {
        return NULL;
    }
    used = text_stream_push(&stream, text, n, valid);
    used += text_stream_flush(&stream, valid + used);
    json_t *string = json_stringn(valid, used);
    free(valid);
    return string;
}

static json_t *plain_variables(const struct moxie_message *messages, size_t n_messages,
                               bool add_generation_prompt, struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n_messages; i++) {
        json_t *message = json_pack("{s:o, s:o}", "role", valid_string(messages[i].role), "content",
                                    valid_string(messages[i].content));
        if (json_array_append_new(list, message) != 0) {
            json_decref(list);
            error_set(err, "not enough memory for a chat");
            return NULL;
        }
    }
    return chat_messages_wrap(list, add_generation_prompt, err);
}

bool moxie_chat_text(struct moxie_model *model, const struct moxie_message *messages,
                     size_t n_messages, bool add_generation_prompt, char **text, size_t *bytes,
                     struct moxie_error *out)
{
    struct error err = {0};
    json_t *variables = plain_variables(messages, n_messages, add_generation_prompt, &err);
    return render_text(model, variables, text, bytes, &err) || moxie_error_export(out, &err);
}

bool moxie_chat_tokens(struct moxie_model *model, const struct moxie_message *messages,
                       size_t n_messages, bool add_generation_prompt, uint32_t **ids, size_t *count,
                       struct moxie_error *out)
{
    struct error err = {0};
    json_t *variables = plain_variables(messages, n_messages, add_generation_prompt, &err);
    return render_tokens(model, variables, ids, count, &err) || moxie_error_export(out, &err);
}
