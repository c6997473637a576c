#include "engine/base/sampling.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define KEY_MINUS_INFINITY 0x007FFFFFu
#define KEY_INFINITY 0xFF800000u

/* Weights of logits so far below the largest are 0 units. */
#define LOWEST_EXPONENT (-22.0f)

/* Digits of numbers that a histogram has bins for. */
#define DIGIT_BITS 11
#define N_BINS (1u << DIGIT_BITS)

/* What survives so far, in the order of ids. */
struct candidates {
    uint32_t n;
    uint32_t *distances; /* (n) of the key from the largest key: 0 is the best */
    uint32_t *ids;       /* (n) */
    uint32_t *weights;   /* (n) */
};

uint32_t sampling_random(const uint32_t seed[2], uint32_t position)
{
    uint32_t c[4] = {position, 0, 0, 0}, key[2] = {seed[0], seed[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ key[0];
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ key[1];
        c[3] = (uint32_t)a;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return c[0];
}

void sampling_accept(struct sampling_state *state, uint32_t *recent, uint32_t *occurrences,
                     uint32_t id)
{
    if (state->repeat_last == 0) {
        return;
    }
    if (state->n_recent == state->repeat_last) {
        occurrences[recent[state->oldest_recent]]--;
    } else {
        state->n_recent++;
    }
    recent[state->oldest_recent] = id;
    state->oldest_recent = (state->oldest_recent + 1) % state->repeat_last;
    occurrences[id]++;
}

/* Integers in the order of the floats they are made of; both zeros are one. */
static uint32_t key_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return KEY_MINUS_INFINITY;
    }
    if ((bits & 0x7FFFFFFFu) == 0) {
        return 0x80000000u;
    }
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float key_value(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key & 0x7FFFFFFFu : ~key;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint32_t penalized_key(const struct sampling_state *state, const float *logits,
                              const uint32_t *occurrences, uint32_t id)
{
    float logit = logits[id];
    if (state->repeat_last > 0 && occurrences[id] > 0) {
        logit *= logit > 0 ? state->inverse_penalty : state->penalty;
    }
    return key_of(logit);
}

/* e^(difference of the logits * scale) by a Taylor series around multiples of ln 2, relative error
 * below 1e-6. */
static uint32_t weight_of(uint32_t largest, uint32_t distance, float scale)
{
    uint32_t key = largest - distance;
    if (distance == 0) {
        return SAMPLING_LARGEST_WEIGHT;
    }
    if (largest == KEY_INFINITY || key == KEY_MINUS_INFINITY) {
        return 0;
    }
    float x = (key_value(key) - key_value(largest)) * scale;
    if (!(x > LOWEST_EXPONENT)) {
        return 0;
    }
    float k = floorf(x * 1.44269502f + 0.5f);
    float r = x - k * 0.693359375f; /* the upper bits of ln 2: k times it is exact */
    r = r + k * 2.12194442e-4f;     /* and what is left */
    float sum = r * 1.38888892e-3f + 8.33333377e-3f;
    sum = sum * r + 4.16666679e-2f;
    sum = sum * r + 1.66666672e-1f;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)k + 31 + 127) << 23; /* 2^(31 + k) */
    float power;
    memcpy(&power, &bits, sizeof(power));
    return (uint32_t)(sum * power);
}

/* total * part / 2^32, rounded down or up. */
static uint64_t part_of(uint64_t total, uint32_t part, bool up)
{
    uint64_t low = (total & 0xFFFFFFFFu) * part, high = (total >> 32) * part;
    return high + (low >> 32) + (up && (low & 0xFFFFFFFFu) != 0);
}

/* The smallest value such that the weights (NULL: all are 1) of all values up to it sum to `target`
 * or more; *rest is what those of the value itself have to contribute. Digit by digit. */
static uint32_t select_value(const uint32_t *values, const uint32_t *weights, uint32_t n,
                             uint64_t target, uint64_t *rest)
{
    uint32_t base = 0;
    for (uint32_t upper = 32; upper > 0;) {
        uint32_t shift = upper > DIGIT_BITS ? upper - DIGIT_BITS : 0;
        uint64_t bins[N_BINS] = {0};
        for (uint32_t i = 0; i < n; i++) {
            if ((uint64_t)(values[i] ^ base) >> upper == 0) {
                bins[(values[i] - base) >> shift] += weights ? weights[i] : 1;
            }
        }
        uint32_t bin = 0;
        for (; bins[bin] < target; bin++) {
            assert(bin + 1 < N_BINS);
            target -= bins[bin];
        }
        base += bin << shift;
        upper = shift;
    }
    *rest = target;
    return base;
}

/* Keeps the candidates that are nearer than `distance`, and of those that are as far the first
 * ones whose weights sum to `rest`. */
static void keep_nearest(struct candidates *c, uint32_t distance, uint64_t rest, bool weighted)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        uint64_t weight = weighted ? c->weights[i] : 1;
        if (c->distances[i] > distance || (c->distances[i] == distance && rest == 0)) {
            continue;
        }
        if (c->distances[i] == distance) {
            rest = rest > weight ? rest - weight : 0;
        }
        c->distances[kept] = c->distances[i];
        c->ids[kept] = c->ids[i];
        c->weights[kept++] = c->weights[i];
    }
    c->n = kept;
}

static uint64_t weigh(struct candidates *c, uint32_t largest, float scale)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        c->weights[i] = weight_of(largest, c->distances[i], scale);
        total += c->weights[i];
    }
    return total;
}

static void filter(const struct sampling_state *state, uint32_t largest, struct candidates *c)
{
    uint64_t rest;
    if (state->top_k > 0 && state->top_k < c->n) {
        uint32_t distance = select_value(c->distances, NULL, c->n, state->top_k, &rest);
        keep_nearest(c, distance, rest, false);
    }
    if (state->top_p == SAMPLING_ALL && state->min_weight == 0) {
        return;
    }
    uint64_t total = weigh(c, largest, 1);
    if (state->top_p != SAMPLING_ALL) {
        uint64_t target = part_of(total, state->top_p, true);
        target = target > 0 ? target : 1;
        uint32_t distance = select_value(c->distances, c->weights, c->n, target, &rest);
        keep_nearest(c, distance, rest, true);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->weights[i] >= state->min_weight) {
            c->distances[kept] = c->distances[i];
            c->ids[kept++] = c->ids[i];
        }
    }
    c->n = kept;
}

uint32_t sampling_pick(const struct sampling_state *state, const float *logits,
                       const uint32_t *occurrences, uint32_t position, uint32_t *scratch)
{
    uint32_t n = state->n_valid, largest = 0, best = 0;
    struct candidates c = {n, scratch, scratch + n, scratch + 2 * (size_t)n};
    assert(n > 0);
    for (uint32_t id = 0; id < n; id++) {
        uint32_t key = penalized_key(state, logits, occurrences, id);
        c.distances[id] = key;
        if (key > largest) {
            largest = key;
            best = id;
        }
    }
    if (!(state->inverse_temperature > 0)) {
        return best;
    }
    for (uint32_t id = 0; id < n; id++) {
        c.distances[id] = largest - c.distances[id];
        c.ids[id] = id;
    }
    filter(state, largest, &c);
    uint64_t total = weigh(&c, largest, state->inverse_temperature);
    uint64_t left = part_of(total, sampling_random(state->seed, position), false);
    uint32_t i = 0;
    for (; left >= c.weights[i]; i++) {
        assert(i + 1 < c.n);
        left -= c.weights[i];
    }
    return c.ids[i];
}
