/* attention: grouped heads, short and long caches; rows behind the last token are NaN. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "tests/ops/check_ops.h"

struct shape {
    uint32_t heads, kv_heads, head_dim;
};

/* A cache with `filled` rows; the rest stays 0xFF. Returns the values. */
static float *make_cache(struct check_case *c, uint32_t index, uint32_t filled, uint32_t capacity,
                         uint64_t dim)
{
    uint64_t n = filled * dim, bytes = capacity * dim * (c->dtype == DTYPE_F32 ? 4 : 2);
    float *values = check_alloc(c, n);
    uint8_t *cache = malloc(bytes);
    if (!cache) {
        abort();
    }
    memset(cache, 0xFF, bytes);
    check_fill(&c->random, c->fill, values, n);
    for (uint64_t i = 0; i < n; i++) {
        uint16_t half = f16_from_f32(values[i]);
        if (c->dtype == DTYPE_F32) {
            memcpy(cache + 4 * i, &values[i], 4);
        } else {
            memcpy(cache + 2 * i, &half, 2);
            values[i] = f32_from_f16(half);
        }
    }
    check_input(c, index, c->dtype, capacity, dim, cache, bytes);
    free(cache);
    return values;
}

/* k and v point at the head in row 0. */
static void naive(const float *q, const float *k, const float *v, uint32_t rows, uint64_t row_step,
                  uint32_t head_dim, double scale, float *y)
{
    double scores[512], sum = 0, maximum = -INFINITY;
    for (uint32_t j = 0; j < rows; j++) {
        double dot = 0;
        for (uint32_t i = 0; i < head_dim; i++) {
            dot += (double)q[i] * k[j * row_step + i];
        }
        scores[j] = dot * scale;
        maximum = fmax(maximum, scores[j]);
    }
    for (uint32_t j = 0; j < rows; j++) {
        scores[j] = exp(scores[j] - maximum);
        sum += scores[j];
    }
    for (uint32_t i = 0; i < head_dim; i++) {
        double value = 0;
        for (uint32_t j = 0; j < rows; j++) {
            value += scores[j] / sum * v[j * row_step + i];
        }
        y[i] = (float)value;
    }
}

static void check_one(struct check_device *device, enum dtype dtype, const struct shape *shape,
                      uint32_t position, uint32_t n)
{
    struct check_case c;
    uint32_t filled = position + n, capacity = filled + 37;
    if (!check_begin(&c, device, OP_attention, dtype, n, "%u/%u heads of %u, position %u",
                     shape->heads, shape->kv_heads, shape->head_dim, position)) {
        return;
    }
    uint64_t token = (uint64_t)shape->heads * shape->head_dim;
    uint64_t kv_dim = (uint64_t)shape->kv_heads * shape->head_dim;
    float scale = 1 / sqrtf((float)shape->head_dim);
    check_step(&c, position, NULL);
    const float *q = check_input_token_floats(&c, 1, token);
    const float *k = make_cache(&c, 2, filled, capacity, kv_dim);
    const float *v = make_cache(&c, 3, filled, capacity, kv_dim);
    check_output_floats(&c, 4, c.max_tokens, token);
    struct attention_args *args = &check_op(&c)->args.attention;
    args->heads = shape->heads;
    args->kv_heads = shape->kv_heads;
    args->head_dim = shape->head_dim;
    args->capacity = capacity;
    args->scale = scale;
    float *expected = check_alloc(&c, n * token);
    if (check_run(&c)) {
        for (uint64_t row = 0; row < (uint64_t)n * shape->heads; row++) {
            uint64_t head = row % shape->heads / (shape->heads / shape->kv_heads);
            naive(q + row * shape->head_dim, k + head * shape->head_dim, v + head * shape->head_dim,
                  position + (uint32_t)(row / shape->heads) + 1, kv_dim, shape->head_dim,
                  (double)scale, expected + row * shape->head_dim);
        }
        check_compare(&c, 4, expected, n * token, device->gpu ? 1e-9 : 1e-10);
    }
    check_end(&c);
}

void check_attention(struct check_device *device)
{
    static const struct shape shapes[] = {
        {1, 1, 32}, {4, 2, 64},  {6, 2, 64}, {8, 8, 128}, {32, 4, 128},
        {3, 1, 80}, {2, 1, 256}, {2, 2, 36}, {4, 1, 6},
    };
    static const uint32_t positions[] = {0, 1, 30, 63, 127, 300};
    for (uint32_t d = 0; d < 2; d++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
                for (uint32_t p = 0; p < 6; p++) {
                    check_one(device, d ? DTYPE_F16 : DTYPE_F32, &shapes[k], positions[p],
                              check_token_counts[i]);
                }
            }
        }
    }
}
