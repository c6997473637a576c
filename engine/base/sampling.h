/* Choosing the next token: the one definition, which the sampler of engine/text, the op `sample` on
 * the CPU and its shader (which computes the same numbers in parallel) agree on bit for bit.
 *
 * Everything that is added up is an integer, and the few products of floats are rounded one by one,
 * so that neither the order of sums nor the machine matters. Tokens are ordered by logit, the lower
 * id first of equals; NaN counts as minus infinity. Of that order a beginning survives:
 *   1. the repeat penalty lowers the logits of recent tokens: positive ones are divided, negative
 *      ones multiplied (Keskar et al. 2019)
 *   2. temperature 0: the first token is chosen. Otherwise
 *   3. top-k: the first k
 *   4. weights are e^(logit - largest) in units of 2^-31, rounded down. top-p: as many as reach
 *      that part of the sum of the weights that are left
 *   5. min-p: those whose weight is at least that part of the largest
 *   6. weights are made anew with logits divided by the temperature, and laid out one after the
 *      other in the order of ids; a random number below their sum points at the token.
 * The random number is made of the seed and of the position the token will have (Philox4x32-10,
 * Salmon et al. 2011), so there is no state to be kept.
 */
#pragma once

#include <stdint.h>

/* Of the largest logit. */
#define SAMPLING_LARGEST_WEIGHT 0x80000000u
/* sampling_state.top_p: off */
#define SAMPLING_ALL 0xFFFFFFFFu

/* The settings as the arithmetic wants them, and where the ring of recent tokens stands. The same
 * layout in GLSL (shaders/lib/types.glsl). */
struct sampling_state {
    uint32_t seed[2];                 /* low word, high word */
    float inverse_temperature;        /* 0: greedy */
    uint32_t top_k;                   /* 0: off */
    uint32_t top_p;                   /* in units of 2^-32, or SAMPLING_ALL */
    uint32_t min_weight;              /* 0: off */
    float penalty, inverse_penalty;   /* factors of negative and of positive logits */
    uint32_t n_valid;                 /* ids from here on are never chosen */
    uint32_t repeat_last;             /* most recent tokens to penalise; 0: there is no penalty */
    uint32_t n_recent, oldest_recent; /* of the ring: how many, and the next to be overwritten */
    uint32_t reserved[4];
};

/* Enters a token into the ring: recent (repeat_last), occurrences (vocabulary) counts what is in
 * it. Neither is touched without a penalty. */
void sampling_accept(struct sampling_state *state, uint32_t *recent, uint32_t *occurrences,
                     uint32_t id);

/* 32-bit words of scratch that a choice among n tokens needs. */
#define SAMPLING_SCRATCH_WORDS(n) (3 * (uint64_t)(n))
/* The token for `position`, among n_valid >= 1. logits (n_valid) and occurrences (n_valid, not read
 * without a penalty) are left as they are. */
uint32_t sampling_pick(const struct sampling_state *state, const float *logits,
                       const uint32_t *occurrences, uint32_t position, uint32_t *scratch);

/* First word of Philox4x32-10 of the counter (position, 0, 0, 0) and the key `seed`. */
uint32_t sampling_random(const uint32_t seed[2], uint32_t position);
