/* attention_prepare: heads with norms and without, whole and partly rotated, near and far
 * positions, every type of cache; rows of other positions stay as they were. */
#include <math.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t heads, kv_heads, head_dim, n_rotated, position;
    float scale;
    bool q_norm, k_norm;
};

static void naive(const struct shape *shape, const float *norm, const float *frequencies,
                  uint32_t position, const float *x, float *y)
{
    uint32_t dim = shape->head_dim, half = shape->n_rotated / 2;
    double factor = 1, values[256];
    if (norm) {
        double sum = 0;
        for (uint32_t i = 0; i < dim; i++) {
            sum += (double)x[i] * x[i];
        }
        factor = 1 / sqrt(sum / dim + (double)1e-6f);
    }
    for (uint32_t i = 0; i < dim; i++) {
        values[i] = (double)x[i] * factor * (norm ? (double)norm[i] : 1);
        y[i] = (float)values[i];
    }
    for (uint32_t j = 0; j < half; j++) {
        float angle = (float)position * frequencies[j];
        double cosine = cos((double)angle), sine = sin((double)angle);
        double a = values[j], b = values[j + half], scale = (double)shape->scale;
        y[j] = (float)((a * cosine - b * sine) * scale);
        y[j + half] = (float)((b * cosine + a * sine) * scale);
    }
}

static const float *input_norm(struct check_case *c, uint32_t index, uint32_t dim)
{
    float *norm = check_alloc(c, dim);
    for (uint32_t i = 0; i < dim; i++) {
        norm[i] = check_random_float(&c->random, 0.5f, 2);
    }
    check_input(c, index, DTYPE_F32, 1, dim, norm, dim * sizeof(float));
    return norm;
}

static const float *input_frequencies(struct check_case *c, uint32_t n_rotated)
{
    float *frequencies = check_alloc(c, n_rotated / 2);
    for (uint32_t j = 0; j < n_rotated / 2; j++) {
        frequencies[j] = (float)pow(10000, -2.0 * j / n_rotated);
    }
    check_input(c, 6, DTYPE_F32, 1, n_rotated / 2, frequencies, n_rotated / 2 * sizeof(float));
    return frequencies;
}

static void check_one(struct check_device *device, enum dtype dtype, const struct shape *shape,
                      uint32_t n)
{
    struct check_case c;
    uint32_t capacity = shape->position + n + 3, dim = shape->head_dim;
    if (!check_begin(&c, device, OP_attention_prepare, dtype, n,
                     "%u/%u heads of %u, %u rotated, position %u%s%s", shape->heads,
                     shape->kv_heads, dim, shape->n_rotated, shape->position,
                     shape->q_norm ? ", q norm" : "", shape->k_norm ? ", k norm" : "")) {
        return;
    }
    uint64_t q_dim = (uint64_t)shape->heads * dim, kv_dim = (uint64_t)shape->kv_heads * dim;
    check_step(&c, shape->position, NULL);
    const float *q = check_input_token_floats(&c, 1, q_dim);
    const float *k = check_input_token_floats(&c, 2, kv_dim);
    const float *v = check_input_token_floats(&c, 3, kv_dim);
    const float *q_norm = shape->q_norm ? input_norm(&c, 4, dim) : NULL;
    const float *k_norm = shape->k_norm ? input_norm(&c, 5, dim) : NULL;
    const float *frequencies = input_frequencies(&c, shape->n_rotated);
    check_output_floats(&c, 7, c.max_tokens, q_dim);
    check_output_cache(&c, 8, capacity, kv_dim);
    check_output_cache(&c, 9, capacity, kv_dim);
    struct attention_prepare_args *args = &check_op(&c)->args.attention_prepare;
    args->heads = shape->heads;
    args->kv_heads = shape->kv_heads;
    args->head_dim = dim;
    args->n_rotated = shape->n_rotated;
    args->capacity = capacity;
    args->epsilon = 1e-6f;
    args->scale = shape->scale;
    float *q_expected = check_alloc(&c, n * q_dim), *k_expected = check_alloc(&c, n * kv_dim);
    if (check_run(&c)) {
        for (uint64_t i = 0; i < (uint64_t)n * shape->heads; i++) {
            naive(shape, q_norm, frequencies, shape->position + (uint32_t)(i / shape->heads),
                  q + i * dim, q_expected + i * dim);
        }
        for (uint64_t i = 0; i < (uint64_t)n * shape->kv_heads; i++) {
            naive(shape, k_norm, frequencies, shape->position + (uint32_t)(i / shape->kv_heads),
                  k + i * dim, k_expected + i * dim);
        }
        check_compare(&c, 7, q_expected, n * q_dim, device->gpu ? 1e-9 : 1e-12);
        check_compare_cache(&c, 8, k_expected, shape->position, capacity, kv_dim, true);
        check_compare_cache(&c, 9, v, shape->position, capacity, kv_dim, false);
    }
    check_end(&c);
}

void check_attention_prepare(struct check_device *device)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    static const struct shape shapes[] = {
        {1, 1, 32, 32, 0, 1, false, false},     {4, 2, 64, 64, 1, 1, true, true},
        {6, 3, 96, 64, 40, 1, true, true},      {32, 4, 128, 128, 255, 1, true, true},
        {8, 8, 128, 32, 4095, 1, false, false}, {5, 5, 32, 30, 30000, 1.25f, false, true},
        {2, 1, 256, 256, 7, 1, true, false},    {16, 2, 64, 64, 300, 1, false, false},
        {3, 1, 160, 64, 63, 1, true, true},
    };
    static const struct shape odd_shapes[] = {{4, 1, 6, 4, 9, 1, true, true},
                                              {2, 2, 18, 18, 31, 1, true, false},
                                              {3, 1, 80, 20, 100, 1.5f, false, true},
                                              {6, 2, 14, 14, 1000, 1, false, false}};
    for (uint32_t d = 0; d < 3; d++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
                check_one(device, dtypes[d], &shapes[k], check_token_counts[i]);
            }
            for (uint32_t k = 0; dtypes[d] != DTYPE_Q8_0 && k < 4; k++) {
                check_one(device, dtypes[d], &odd_shapes[k], check_token_counts[i]);
            }
        }
    }
}
