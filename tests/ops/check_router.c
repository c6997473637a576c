/* router: random logits (any order within rounding is accepted), and whole numbers, whose logits
 * are exact on every back end, for ties and NaN.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ops/check_ops.h"

struct shape {
    uint32_t hidden, n_experts, top_k;
};

enum pattern { RANDOM, WHOLE, ALL_EQUAL, SOME_NAN, FEW_NUMBERS, ALL_NAN, PATTERNS };
static const char *const pattern_names[] = {"random",   "whole numbers", "all equal",
                                            "some NaN", "few numbers",   "all NaN"};

struct expert {
    double logit;
    uint32_t id;
};

static int by_logit(const void *left, const void *right)
{
    const struct expert *a = left, *b = right;
    if (a->logit != b->logit) {
        return a->logit > b->logit ? -1 : 1;
    }
    return a->id < b->id ? -1 : 1;
}

static float *make_weights(struct check_case *c, const struct shape *shape, enum pattern pattern)
{
    uint64_t n = (uint64_t)shape->n_experts * shape->hidden;
    float *weights = check_alloc(c, n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t expert = i / shape->hidden;
        float unit = check_random_float(&c->random, -1, 1);
        bool number = pattern == SOME_NAN      ? expert % 3 != 0
                      : pattern == FEW_NUMBERS ? expert == shape->n_experts - 1
                                               : pattern != ALL_NAN;
        weights[i] = pattern == RANDOM      ? 3 * unit / sqrtf((float)shape->hidden)
                     : pattern == ALL_EQUAL ? 1
                                            : roundf(unit);
        if (!number && i % shape->hidden == shape->hidden / 2) {
            weights[i] = NAN;
        }
    }
    check_input(c, 2, DTYPE_F32, shape->n_experts, shape->hidden, weights, n * sizeof(float));
    return weights;
}

/* Whole numbers times 1/64, so that logits stay small and exact. Every token has its own factor,
 * none has a zero where a NaN weight would not be seen. */
static float *make_activations(struct check_case *c, const struct shape *shape,
                               enum pattern pattern)
{
    if (pattern == RANDOM) {
        return check_input_token_floats(c, 1, shape->hidden);
    }
    uint64_t n = (uint64_t)c->n_tokens * shape->hidden;
    float *x = check_alloc(c, n);
    for (uint64_t i = 0; i < n; i++) {
        x[i] = (float)(1 + check_random_below(&c->random, 3)) / 64;
        x[i] = check_random_below(&c->random, 2) ? x[i] : -x[i];
    }
    check_input_tokens(c, 1, DTYPE_F32, shape->hidden, x);
    return x;
}

/* Chosen experts must be the best ones up to the rounding of logits, in order. */
static bool check_ids(struct check_case *c, const struct shape *shape, const struct expert *sorted,
                      const double *logits, const uint32_t *ids, double slack)
{
    bool taken[ROUTER_MAX_EXPERTS] = {false};
    for (uint32_t slot = 0; slot < shape->top_k; slot++) {
        uint32_t id = ids[slot];
        if (id >= shape->n_experts || taken[id]) {
            check_fail(c, "slot %u has expert %u, no expert or chosen before", slot, id);
            return false;
        }
        taken[id] = true;
        bool right =
            slack == 0 ? id == sorted[slot].id : fabs(logits[id] - sorted[slot].logit) <= slack;
        if (!right) {
            check_fail(c, "slot %u has expert %u (logit %.9g), should have %u (logit %.9g)", slot,
                       id, logits[id], sorted[slot].id, sorted[slot].logit);
            return false;
        }
    }
    return true;
}

static void check_weights(struct check_case *c, const struct shape *shape, const double *logits,
                          const struct router_args *args, const uint32_t *ids, const float *weights)
{
    double sum = 0, chosen_sum = 0, maximum = -INFINITY, largest = 0;
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        maximum = fmax(maximum, logits[e]);
        largest = isfinite(logits[e]) ? fmax(largest, fabs(logits[e])) : largest;
    }
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        sum += exp(logits[e] - maximum);
    }
    for (uint32_t slot = 0; slot < shape->top_k; slot++) {
        chosen_sum += exp(logits[ids[slot]] - maximum);
    }
    for (uint32_t slot = 0; slot < shape->top_k; slot++) {
        double expected =
            exp(logits[ids[slot]] - maximum) / (args->normalise ? chosen_sum : sum) * args->scale;
        if (!(fabs((double)weights[slot] - expected) <= 1e-7 + 1e-5 * (1 + largest) * expected)) {
            check_fail(c, "slot %u: weight %.9g, should be %.9g", slot, (double)weights[slot],
                       expected);
            return;
        }
    }
}

static void check_token(struct check_case *c, const struct shape *shape, enum pattern pattern,
                        const struct router_args *args, const float *w, const float *x, uint64_t t)
{
    double logits[ROUTER_MAX_EXPERTS], largest = 0;
    struct expert sorted[ROUTER_MAX_EXPERTS];
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        double sum = 0;
        for (uint32_t i = 0; i < shape->hidden; i++) {
            sum += (double)w[(uint64_t)e * shape->hidden + i] * x[t * shape->hidden + i];
        }
        logits[e] = isnan(sum) ? -INFINITY : sum;
        largest = isnan(sum) ? largest : fmax(largest, fabs(sum));
        sorted[e] = (struct expert){logits[e], e};
    }
    qsort(sorted, shape->n_experts, sizeof(sorted[0]), by_logit);
    const uint32_t *ids = (const uint32_t *)check_result(c, 3) + t * shape->top_k;
    const float *weights = (const float *)check_result(c, 4) + t * shape->top_k;
    double slack = pattern == RANDOM ? 1e-5 * largest + 1e-12 : 0;
    if (check_ids(c, shape, sorted, logits, ids, slack) && isfinite(sorted[0].logit)) {
        check_weights(c, shape, logits, args, ids, weights);
    }
}

static void check_one(struct check_device *device, const struct shape *shape, uint32_t n,
                      enum pattern pattern, bool normalise)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_router, DTYPE_F32, n, "%u of %u experts, hidden %u, %s%s",
                     shape->top_k, shape->n_experts, shape->hidden, pattern_names[pattern],
                     normalise ? ", normalised" : "")) {
        return;
    }
    check_step(&c, 2, NULL);
    const float *x = make_activations(&c, shape, pattern);
    const float *w = make_weights(&c, shape, pattern);
    uint64_t row_bytes = shape->top_k * sizeof(uint32_t), bytes = c.max_tokens * row_bytes;
    check_output(&c, 3, DTYPE_U32, c.max_tokens, shape->top_k, NULL, bytes);
    check_output(&c, 4, DTYPE_F32, c.max_tokens, shape->top_k, NULL, bytes);
    struct router_args *args = &check_op(&c)->args.router;
    args->hidden = shape->hidden;
    args->n_experts = shape->n_experts;
    args->top_k = shape->top_k;
    args->score = ROUTER_SOFTMAX;
    args->normalise = normalise;
    args->scale = normalise ? 1 : 2.5f;
    if (check_run(&c)) {
        check_unchanged(&c, 3, n * row_bytes, bytes - n * row_bytes);
        check_unchanged(&c, 4, n * row_bytes, bytes - n * row_bytes);
        for (uint64_t t = 0; t < n; t++) {
            check_token(&c, shape, pattern, args, w, x, t);
        }
    }
    check_end(&c);
}

void check_router(struct check_device *device)
{
    static const struct shape shapes[] = {
        {7, 1, 1},    {33, 2, 2},     {129, 8, 2},  {256, 8, 2},    {255, 60, 4},
        {64, 128, 8}, {2048, 128, 8}, {31, 257, 8}, {128, 384, 32}, {32, 1024, 5},
    };
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            for (uint32_t p = 0; p < PATTERNS; p++) {
                check_one(device, &shapes[k], check_token_counts[i], (enum pattern)p,
                          (i + k + p) % 2);
            }
        }
    }
}
