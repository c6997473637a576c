#include "engine/text/sampler.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define MAX_REPEAT_LAST (1u << 20)

struct sampler {
    struct sampling_state state;
    uint32_t vocabulary;
    uint32_t *scratch;     /* SAMPLING_SCRATCH_WORDS */
    uint32_t *occurrences; /* (vocabulary): how often among the last tokens */
    uint32_t *recent;      /* (repeat_last): a ring */
};

struct sampler_options sampler_defaults(void)
{
    return (struct sampler_options){.temperature = 0.8f,
                                    .top_k = 40,
                                    .top_p = 0.95f,
                                    .min_p = 0.05f,
                                    .repeat_penalty = 1,
                                    .repeat_last = 64,
                                    .seed = 0};
}

bool sampler_options_check(const struct sampler_options *options, struct error *err)
{
    /* Written so that NaN fails. */
    if (!(options->temperature >= 0) || !isfinite(options->temperature)) {
        return error_set(err, "the temperature is %g; it must be 0 or more", options->temperature);
    }
    if (!(options->top_p >= 0 && options->top_p <= 1)) {
        return error_set(err, "top-p is %g; it must be from 0 to 1", options->top_p);
    }
    if (!(options->min_p >= 0 && options->min_p <= 1)) {
        return error_set(err, "min-p is %g; it must be from 0 to 1", options->min_p);
    }
    if (!(options->repeat_penalty > 0) || !isfinite(options->repeat_penalty)) {
        return error_set(err, "the repeat penalty is %g; it must be above 0 (1 is off)",
                         options->repeat_penalty);
    }
    if (options->repeat_last > MAX_REPEAT_LAST) {
        return error_set(err,
                         "%u last tokens for the repeat penalty are too many; at most %u are "
                         "supported",
                         options->repeat_last, MAX_REPEAT_LAST);
    }
    return true;
}

/* 1 / value, finite. */
static float inverse(float value)
{
    float result = 1 / value;
    return result > FLT_MAX ? FLT_MAX : result;
}

struct sampling_state sampler_state(const struct sampler_options *options, uint32_t n_valid,
                                    uint32_t most_recent)
{
    bool penalty = options->repeat_penalty < 1 || options->repeat_penalty > 1;
    uint32_t last = options->repeat_last < most_recent ? options->repeat_last : most_recent;
    return (struct sampling_state){
        .seed = {(uint32_t)options->seed, (uint32_t)(options->seed >> 32)},
        .inverse_temperature = options->temperature > 0 ? inverse(options->temperature) : 0,
        .top_k = options->top_k,
        .top_p = options->top_p < 1 ? (uint32_t)((double)options->top_p * 0x1p32) : SAMPLING_ALL,
        .min_weight = (uint32_t)ceil((double)options->min_p * SAMPLING_LARGEST_WEIGHT),
        .penalty = options->repeat_penalty,
        .inverse_penalty = inverse(options->repeat_penalty),
        .n_valid = n_valid,
        .repeat_last = penalty ? last : 0,
    };
}

struct sampler *sampler_create(const struct sampler_options *options, uint32_t vocabulary,
                               struct error *err)
{
    if (!sampler_options_check(options, err)) {
        return NULL;
    }
    assert(vocabulary > 0);
    struct sampler *sampler = calloc(1, sizeof(*sampler));
    if (sampler) {
        sampler->state = sampler_state(options, vocabulary, options->repeat_last);
        sampler->vocabulary = vocabulary;
        sampler->scratch = malloc(SAMPLING_SCRATCH_WORDS(vocabulary) * sizeof(uint32_t));
        sampler->occurrences = calloc(vocabulary, sizeof(*sampler->occurrences));
        sampler->recent = malloc((options->repeat_last + (size_t)1) * sizeof(*sampler->recent));
    }
    if (!sampler || !sampler->scratch || !sampler->occurrences || !sampler->recent) {
        sampler_destroy(&sampler);
        error_set(err, "out of memory for sampling from %u tokens", vocabulary);
        return NULL;
    }
    return sampler;
}

void sampler_destroy(struct sampler **sampler)
{
    if (*sampler) {
        free((*sampler)->scratch);
        free((*sampler)->occurrences);
        free((*sampler)->recent);
        free(*sampler);
        *sampler = NULL;
    }
}

void sampler_accept(struct sampler *sampler, uint32_t id)
{
    assert(id < sampler->vocabulary);
    sampling_accept(&sampler->state, sampler->recent, sampler->occurrences, id);
}

uint32_t sampler_pick(struct sampler *sampler, const float *logits, uint32_t n_valid,
                      uint32_t position)
{
    sampler->state.n_valid = n_valid < sampler->vocabulary ? n_valid : sampler->vocabulary;
    return sampling_pick(&sampler->state, logits, sampler->occurrences, position, sampler->scratch);
}
