/* attention: grouped heads, short and long caches, windows, sinks; rows behind the last token and
 * before the first token's window are NaN. */
#include <math.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t heads, kv_heads, head_dim;
};

struct extras {
    uint32_t window; /* 0: none */
    bool sinks;
};

/* One head of one token over cache rows [begin, end). k and v point at the head in row 0; sink may
 * be NULL. */
static void naive(const struct attention_args *args, const float *q, const float *k, const float *v,
                  uint64_t begin, uint64_t end, const float *sink, float *y)
{
    uint64_t dim = args->head_dim, row_step = (uint64_t)args->kv_heads * dim;
    double scores[5000], sum = 0, maximum = sink ? (double)*sink : -INFINITY;
    for (uint64_t j = begin; j < end; j++) {
        double dot = 0;
        for (uint64_t i = 0; i < dim; i++) {
            dot += (double)q[i] * k[j * row_step + i];
        }
        scores[j] = dot * (double)args->scale;
        maximum = fmax(maximum, scores[j]);
    }
    for (uint64_t j = begin; j < end; j++) {
        scores[j] = exp(scores[j] - maximum);
        sum += scores[j];
    }
    sum += sink ? exp((double)*sink - maximum) : 0;
    for (uint64_t i = 0; i < dim; i++) {
        double value = 0;
        for (uint64_t j = begin; j < end; j++) {
            value += scores[j] / sum * v[j * row_step + i];
        }
        y[i] = (float)value;
    }
}

/* Sinks of every kind: among the scores, above most of them, and none at all: this for the first
 * head where scores may be so low that a sink would leave nothing of y. */
static float *make_sinks(struct check_case *c, uint32_t heads)
{
    float *sinks = check_alloc(c, heads);
    for (uint32_t h = 0; h < heads; h++) {
        float among = check_random_float(&c->random, -2, 2);
        bool none = h % 4 == (c->fill == CHECK_OUTLIER ? 0 : 2);
        sinks[h] = none ? -INFINITY : h % 4 == 1 ? 7 : among;
    }
    check_input(c, 4, DTYPE_F32, 1, heads, sinks, heads * sizeof(float));
    return sinks;
}

static uint64_t window_begin(uint32_t window, uint64_t end)
{
    return window != 0 && end > window ? end - window : 0;
}

/* An outlier among the scores can leave everything to the sinks: then there is no relative error.
 */
static void compare(struct check_case *c, const float *expected, uint64_t n)
{
    const float *got = check_result(c, 6);
    float largest = 0, largest_got = 0;
    for (uint64_t i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(expected[i]));
        largest_got = isnan(got[i]) ? INFINITY : fmaxf(largest_got, fabsf(got[i]));
    }
    if (largest > 1e-10f) {
        bool large_scores = c->device->gpu || c->fill == CHECK_OUTLIER;
        check_compare(c, 6, expected, n, large_scores ? 1e-9 : 1e-10);
    } else if (!(largest_got <= 1e-9f)) {
        check_fail(c, "%g where the sinks take everything", (double)largest_got);
    }
}

static void check_one(struct check_device *device, enum dtype dtype, const struct shape *shape,
                      const struct extras *extras, uint32_t position, uint32_t n)
{
    struct check_case c;
    uint32_t filled = position + n, capacity = filled + 37 * (n % 2);
    if (!check_begin(&c, device, OP_attention, dtype, n,
                     "%u/%u heads of %u, position %u, window %u%s", shape->heads, shape->kv_heads,
                     shape->head_dim, position, extras->window, extras->sinks ? ", sinks" : "")) {
        return;
    }
    uint64_t token = (uint64_t)shape->heads * shape->head_dim, dim = shape->head_dim;
    uint64_t kv_dim = (uint64_t)shape->kv_heads * dim;
    uint64_t first = window_begin(extras->window, position + 1);
    check_step(&c, position, NULL);
    const float *q = check_input_token_floats(&c, 1, token);
    const float *k = check_input_cache(&c, 2, first, filled, capacity, kv_dim);
    const float *v = check_input_cache(&c, 3, first, filled, capacity, kv_dim);
    const float *sinks = extras->sinks ? make_sinks(&c, shape->heads) : NULL;
    check_output_parts(&c, 5, shape->head_dim);
    check_output_floats(&c, 6, c.max_tokens, token);
    struct attention_args *args = &check_op(&c)->args.attention;
    args->heads = shape->heads;
    args->kv_heads = shape->kv_heads;
    args->head_dim = shape->head_dim;
    args->capacity = capacity;
    args->window = extras->window;
    args->scale = 1 / sqrtf((float)shape->head_dim);
    float *expected = check_alloc(&c, n * token);
    if (check_run(&c)) {
        check_unchanged(&c, 5, 0, ATTENTION_MAX_TILES * sizeof(uint32_t));
        for (uint64_t row = 0; row < (uint64_t)n * shape->heads; row++) {
            uint64_t head = row % shape->heads, end = position + row / shape->heads + 1;
            uint64_t kv = head / (shape->heads / shape->kv_heads) * dim;
            naive(args, q + row * dim, k + kv, v + kv, window_begin(extras->window, end), end,
                  sinks ? &sinks[head] : NULL, expected + row * dim);
        }
        compare(&c, expected, n * token);
    }
    check_end(&c);
}

static void check_shape(struct check_device *device, enum dtype dtype, const struct shape *shape,
                        uint32_t n)
{
    static const uint32_t positions[] = {0, 1, 30, 63, 64, 127, 128, 300};
    static const uint32_t windows[] = {1, 2, 31, 64, 128, 200, 1000};
    for (uint32_t p = 0; p < 8; p++) {
        uint32_t pick = p + shape->heads + n;
        struct extras none = {0};
        struct extras some = {pick % 3 == 0 ? 0 : windows[(pick + n) % 7], pick % 3 != 1};
        check_one(device, dtype, shape, &none, positions[p], n);
        check_one(device, dtype, shape, &some, positions[p], n);
    }
}

/* Rows enough for many splits; long windows, and such that begin inside a block. */
static void check_long(struct check_device *device, enum dtype dtype)
{
    static const struct shape shapes[] = {{8, 1, 64}, {4, 4, 32}, {6, 2, 96}};
    static const struct extras extras[] = {{0, false}, {0, true}, {1000, true}, {3333, false}};
    static const uint32_t positions[] = {255, 1023, 4096};
    for (uint32_t i = 0; i < 3 * 4 * 3 * 2; i++) {
        uint32_t pick = i * 7 % 36, n = i % 2 ? 3 : 1;
        check_one(device, dtype, &shapes[pick % 3], &extras[pick / 3 % 4], positions[pick / 12], n);
    }
}

void check_attention(struct check_device *device)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    static const struct shape shapes[] = {
        {1, 1, 32}, {4, 2, 64},  {6, 2, 64}, {8, 8, 128}, {32, 4, 128},
        {3, 1, 80}, {2, 1, 256}, {2, 2, 36}, {4, 1, 6},   {16, 2, 64},
    };
    for (uint32_t d = 0; d < 3; d++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
                if (dtypes[d] != DTYPE_Q8_0 || shapes[k].head_dim % 32 == 0) {
                    check_shape(device, dtypes[d], &shapes[k], check_token_counts[i]);
                }
            }
        }
        check_long(device, dtypes[d]);
    }
}
