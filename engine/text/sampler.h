/* Choosing the next token from logits, by the options that people give.
 *
 * Order, as users of llama.cpp know it: repeat penalty, then top-k, top-p, min-p, then temperature
 * and the draw (engine/base/sampling.h defines it). The same seed, position and logits give the
 * same token on every machine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/sampling.h"
#include "format/error.h"

struct sampler_options {
    float temperature;    /* 0 = greedy: the largest logit, ties to the lower id */
    uint32_t top_k;       /* 0 = off */
    float top_p;          /* 1 = off */
    float min_p;          /* 0 = off */
    float repeat_penalty; /* 1 = off (Keskar et al. 2019) */
    uint32_t repeat_last; /* how many last tokens are penalised */
    uint64_t seed;
};

/* temperature 0.8, top_k 40, top_p 0.95, min_p 0.05, repeat_penalty 1, repeat_last 64, seed 0 */
struct sampler_options sampler_defaults(void);

/* False, with the option named, if a value is out of range or not finite. */
bool sampler_options_check(const struct sampler_options *options, struct error *err);

/* What sampling_pick wants to know; checked options. At most most_recent tokens are penalised. */
struct sampling_state sampler_state(const struct sampler_options *options, uint32_t n_valid,
                                    uint32_t most_recent);

struct sampler;
/* All memory is taken here. */
struct sampler *sampler_create(const struct sampler_options *options, uint32_t vocabulary,
                               struct error *err);
void sampler_destroy(struct sampler **sampler);
/* Tells the sampler of a token that is part of the text (prompt or answer), for the penalty. */
void sampler_accept(struct sampler *sampler, uint32_t id);
/* logits (vocabulary); ids >= n_valid (padded rows without text) are never chosen. NaN counts as
 * minus infinity. Does not change the logits. `position` is the one the token will have: the same
 * seed draws another number at every position. */
uint32_t sampler_pick(struct sampler *sampler, const float *logits, uint32_t n_valid,
                      uint32_t position);
