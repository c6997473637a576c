/* The text half of the public interface: tokens, sampling. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/moxie_internal.h"
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

uint32_t session_n_valid(const struct moxie_model *model)
{
    uint32_t vocabulary = model->model.hparams.vocabulary;
    uint32_t named = model->tokenizer ? tokenizer_vocabulary(model->tokenizer) : vocabulary;
    return named < vocabulary ? named : vocabulary;
}

struct sampler_options session_sampler_options(const struct moxie_sampling *sampling)
{
    return (struct sampler_options){
        .temperature = sampling->temperature,
        .top_k = sampling->top_k,
        .top_p = sampling->top_p,
        .min_p = sampling->min_p,
        .repeat_penalty = sampling->repeat_penalty,
        .repeat_last = sampling->repeat_last,
        .seed = sampling->seed,
    };
}

struct moxie_sampler *moxie_sampler_create(const struct moxie_model *model,
                                           const struct moxie_sampling *sampling,
                                           struct moxie_error *out)
{
    struct error err = {0};
    struct sampler_options options = session_sampler_options(sampling);
    struct moxie_sampler *s = calloc(1, sizeof(*s));
    if (!s) {
        error_set(&err, "not enough memory for a sampler");
    } else if (sampler_options_check(&options, &err)) {
        s->n_valid = session_n_valid(model);
        s->sampler = sampler_create(&options, model->model.hparams.vocabulary, &err);
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
    return sampler_pick(sampler->sampler, logits, sampler->n_valid, moxie_position(session));
}
