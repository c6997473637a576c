/* The text half of the public interface: tokens, chat, sampling. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/moxie_internal.h"
#include "engine/text/chat_tokens.h"
#include "engine/text/sampler.h"

static bool need_tokenizer(const struct moxie_model *m, struct error *err)
{
    return m->tokenizer || error_set(err, "%s has no tokenizer", m->file.map.path);
}

bool moxie_tokenize(const struct moxie_model *m, const char *text, size_t bytes, uint32_t flags,
                    uint32_t **ids, size_t *count, struct moxie_error *out)
{
    static_assert(MOXIE_ADD_SPECIAL == (unsigned)TOKENIZER_ADD_SPECIAL &&
                      MOXIE_PARSE_SPECIAL == (unsigned)TOKENIZER_PARSE_SPECIAL,
                  "the same flags");
    struct error err = {0};
    struct token_list list = {0};
    if (!need_tokenizer(m, &err) ||
        !tokenizer_encode(m->tokenizer, text, bytes, flags, &list, &err)) {
        token_list_free(&list);
        return moxie_error_export(out, &err);
    }
    *ids = list.ids;
    *count = list.count;
    return true;
}

const char *moxie_token_bytes(const struct moxie_model *m, uint32_t id, bool show_special,
                              uint32_t *bytes)
{
    *bytes = 0;
    return m->tokenizer ? tokenizer_token_bytes(m->tokenizer, id, show_special, bytes) : NULL;
}

const char *moxie_token_text(const struct moxie_model *m, uint32_t id, uint32_t *bytes)
{
    *bytes = 0;
    return m->tokenizer ? tokenizer_token_text(m->tokenizer, id, bytes) : NULL;
}

bool moxie_is_stop(const struct moxie_model *m, uint32_t id)
{
    return m->tokenizer && tokenizer_is_stop(m->tokenizer, id);
}

static_assert(sizeof(struct moxie_text_stream) == sizeof(struct text_stream), "the same struct");

size_t moxie_text_push(struct moxie_text_stream *stream, const char *bytes, size_t n, char *out)
{
    struct text_stream inner;
    memcpy(&inner, stream, sizeof(inner));
    size_t written = text_stream_push(&inner, bytes, n, out);
    memcpy(stream, &inner, sizeof(inner));
    return written;
}

size_t moxie_text_flush(struct moxie_text_stream *stream, char *out)
{
    struct text_stream inner;
    memcpy(&inner, stream, sizeof(inner));
    size_t written = text_stream_flush(&inner, out);
    memcpy(stream, &inner, sizeof(inner));
    return written;
}

/* The template is compiled at its first use; models are used from one thread at a time. */
static const struct chat_template *chat_template_of(struct moxie_model *m, struct error *err)
{
    const char *text;
    uint64_t bytes;
    if (m->chat_template) {
        return m->chat_template;
    }
    if (!model_file_chat_template(&m->file, &text, &bytes)) {
        error_set(err, "%s has no chat template: use moxie complete", m->file.map.path);
        return NULL;
    }
    m->chat_template = chat_template_create(text, bytes, err);
    return m->chat_template;
}

static json_t *token_string(const struct moxie_model *m, uint32_t id)
{
    uint32_t bytes = 0;
    const char *text = m->tokenizer && id != TOKEN_NONE
                           ? tokenizer_token_bytes(m->tokenizer, id, true, &bytes)
                           : NULL;
    return text ? json_stringn(text, bytes) : NULL;
}

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

/* messages, add_generation_prompt and the special tokens, as Hugging Face hands them to a template.
 */
static json_t *chat_variables(const struct moxie_model *m, const struct moxie_message *messages,
                              size_t n_messages, bool add_generation_prompt, struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n_messages; i++) {
        json_t *message = json_pack("{s:o, s:o}", "role", valid_string(messages[i].role), "content",
                                    valid_string(messages[i].content));
        if (!message || json_array_append_new(list, message) != 0) {
            json_decref(list);
            error_set(err, "not enough memory for a chat");
            return NULL;
        }
    }
    json_t *variables = json_pack("{s:o, s:b}", "messages", list, "add_generation_prompt",
                                  (int)add_generation_prompt);
    if (!variables) {
        error_set(err, "not enough memory for a chat");
        return NULL;
    }
    json_t *bos = m->tokenizer ? token_string(m, tokenizer_bos(m->tokenizer)) : NULL;
    json_t *eos = m->tokenizer ? token_string(m, tokenizer_eos(m->tokenizer)) : NULL;
    if (bos) {
        json_object_set_new(variables, "bos_token", bos);
    }
    if (eos) {
        json_object_set_new(variables, "eos_token", eos);
    }
    return variables;
}

static bool render(struct moxie_model *m, const struct moxie_message *messages, size_t n_messages,
                   bool add_generation_prompt, char **text, size_t *bytes, struct error *err)
{
    const struct chat_template *template = chat_template_of(m, err);
    if (!template) {
        return false;
    }
    json_t *variables = chat_variables(m, messages, n_messages, add_generation_prompt, err);
    bool ok = variables && chat_template_render(template, variables, text, bytes, err);
    json_decref(variables);
    return ok;
}

bool moxie_chat_text(struct moxie_model *model, const struct moxie_message *messages,
                     size_t n_messages, bool add_generation_prompt, char **text, size_t *bytes,
                     struct moxie_error *out)
{
    struct error err = {0};
    return render(model, messages, n_messages, add_generation_prompt, text, bytes, &err) ||
           moxie_error_export(out, &err);
}

/* Messages with guarded contents; the contents are allocated. */
static bool protect(struct chat_guard *guard, const struct moxie_message *messages,
                    size_t n_messages, struct moxie_message *guarded, struct error *err)
{
    for (size_t i = 0; i < n_messages; i++) {
        if (!chat_guard_look(guard, messages[i].content, err)) {
            return false;
        }
    }
    for (size_t i = 0; i < n_messages; i++) {
        guarded[i].role = messages[i].role;
        guarded[i].content = chat_guard_protect(guard, messages[i].content, err);
        if (!guarded[i].content) {
            return false;
        }
    }
    return true;
}

bool moxie_chat_tokens(struct moxie_model *model, const struct moxie_message *messages,
                       size_t n_messages, bool add_generation_prompt, uint32_t **ids, size_t *count,
                       struct moxie_error *out)
{
    struct error err = {0};
    struct token_list list = {0};
    char *text = NULL;
    size_t bytes = 0;
    struct chat_guard *guard =
        need_tokenizer(model, &err) ? chat_guard_create(model->tokenizer, &err) : NULL;
    struct moxie_message *guarded = guard ? calloc(n_messages + 1, sizeof(*guarded)) : NULL;
    bool ok = guarded && protect(guard, messages, n_messages, guarded, &err) &&
              render(model, guarded, n_messages, add_generation_prompt, &text, &bytes, &err) &&
              chat_guard_encode(guard, text, bytes, &list, &err);
    if (guard && !guarded) {
        error_set(&err, "not enough memory for a chat");
    }
    for (size_t i = 0; guarded && i < n_messages; i++) {
        free((void *)guarded[i].content);
    }
    free(guarded);
    free(text);
    chat_guard_destroy(&guard);
    if (!ok) {
        token_list_free(&list);
        return moxie_error_export(out, &err);
    }
    *ids = list.ids;
    *count = list.count;
    return true;
}

struct moxie_sampling moxie_sampling_defaults(void)
{
    struct sampler_options options = sampler_defaults();
    return (struct moxie_sampling){
        .temperature = options.temperature,
        .top_k = options.top_k,
        .top_p = options.top_p,
        .min_p = options.min_p,
        .repeat_penalty = options.repeat_penalty,
        .repeat_last = options.repeat_last,
        .seed = options.seed,
    };
}

struct moxie_sampler {
    struct sampler *sampler;
    uint32_t n_valid; /* ids that have text; the rows of logits may be more */
};

struct moxie_sampler *moxie_sampler_create(const struct moxie_model *model,
                                           const struct moxie_sampling *sampling,
                                           struct moxie_error *out)
{
    struct error err = {0};
    struct sampler_options options = {
        .temperature = sampling->temperature,
        .top_k = sampling->top_k,
        .top_p = sampling->top_p,
        .min_p = sampling->min_p,
        .repeat_penalty = sampling->repeat_penalty,
        .repeat_last = sampling->repeat_last,
        .seed = sampling->seed,
    };
    uint32_t vocabulary = model->model.hparams.vocabulary;
    uint32_t named = model->tokenizer ? tokenizer_vocabulary(model->tokenizer) : vocabulary;
    struct moxie_sampler *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(&err, "not enough memory for a sampler");
    } else if (sampler_options_check(&options, &err)) {
        s->n_valid = named < vocabulary ? named : vocabulary;
        s->sampler = sampler_create(&options, vocabulary, &err);
    }
    if (!s || !s->sampler) {
        free(s);
        moxie_error_export(out, &err);
        return NULL;
    }
    return s;
}

void moxie_sampler_destroy(struct moxie_sampler **sampler)
{
    if (*sampler) {
        sampler_destroy(&(*sampler)->sampler);
        free(*sampler);
        *sampler = NULL;
    }
}

void moxie_sampler_accept(struct moxie_sampler *sampler, uint32_t id)
{
    sampler_accept(sampler->sampler, id);
}

uint32_t moxie_sample(struct moxie_sampler *sampler, const struct moxie_session *session)
{
    const float *logits = moxie_logits(session);
    assert(logits);
    return sampler_pick(sampler->sampler, logits, sampler->n_valid);
}
