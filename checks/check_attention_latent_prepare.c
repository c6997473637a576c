/* attention_latent_prepare: the latent normed into its cache, the rotary key into the other, q
 * rotated; near and far positions, every type of cache; rows of other positions stay as they were.
 * The angle is a float, as the definition's numbers are; from there on the reference is in double.
 */
#include <math.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t heads, rank, rope_dim, position;
    float scale;
};

static void naive_norm(const float *x, const float *weight, uint32_t dim, float *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++) {
        sum += (double)x[i] * x[i];
    }
    for (uint32_t i = 0; i < dim; i++) {
        y[i] = (float)((double)x[i] / sqrt(sum / dim + (double)CHECK_EPSILON) * (double)weight[i]);
    }
}

static void naive_rotate(const struct shape *shape, const float *frequencies, uint32_t position,
                         const float *x, float *y)
{
    uint32_t half = shape->rope_dim / 2;
    for (uint32_t j = 0; j < half; j++) {
        float angle = (float)position * frequencies[j];
        double cosine = cos((double)angle), sine = sin((double)angle);
        double a = (double)x[j], b = (double)x[j + half], scale = (double)shape->scale;
        y[j] = (float)((a * cosine - b * sine) * scale);
        y[j + half] = (float)((b * cosine + a * sine) * scale);
    }
}

struct inputs {
    const float *q, *latent, *k, *norm, *frequencies;
};

static struct inputs make_inputs(struct check_case *c, const struct shape *shape)
{
    struct inputs in = {0};
    uint32_t half = shape->rope_dim / 2;
    float *norm = check_alloc(c, shape->rank), *frequencies = check_alloc(c, half);
    for (uint32_t i = 0; i < shape->rank; i++) {
        norm[i] = check_random_float(&c->random, 0.5f, 2);
    }
    for (uint32_t j = 0; j < half; j++) {
        frequencies[j] = (float)pow(10000, -2.0 * j / shape->rope_dim);
    }
    check_step(c, shape->position, NULL);
    in.q = check_input_token_floats(c, 1, (uint64_t)shape->heads * shape->rope_dim);
    in.latent = check_input_token_floats(c, 2, shape->rank);
    in.k = check_input_token_floats(c, 3, shape->rope_dim);
    check_input(c, 4, DTYPE_F32, 1, shape->rank, norm, shape->rank * sizeof(float));
    check_input(c, 5, DTYPE_F32, 1, half, frequencies, half * sizeof(float));
    in.norm = norm;
    in.frequencies = frequencies;
    return in;
}

static void compare(struct check_case *c, const struct shape *shape, const struct inputs *in,
                    uint32_t capacity)
{
    uint32_t rank = shape->rank, dim = shape->rope_dim, n = c->n_tokens;
    uint64_t q_dim = (uint64_t)shape->heads * dim;
    float *q = check_alloc(c, n * q_dim), *latent = check_alloc(c, (uint64_t)n * rank);
    float *k = check_alloc(c, (uint64_t)n * dim);
    for (uint32_t t = 0; t < n; t++) {
        uint32_t position = shape->position + t;
        naive_norm(in->latent + (uint64_t)t * rank, in->norm, rank, latent + (uint64_t)t * rank);
        naive_rotate(shape, in->frequencies, position, in->k + (uint64_t)t * dim,
                     k + (uint64_t)t * dim);
        for (uint64_t head = t * shape->heads; head < (t + 1ull) * shape->heads; head++) {
            naive_rotate(shape, in->frequencies, position, in->q + head * dim, q + head * dim);
        }
    }
    check_compare(c, 6, q, n * q_dim, c->device->gpu ? 1e-9 : 1e-12);
    check_compare_cache(c, 7, latent, shape->position, capacity, rank, true);
    check_compare_cache(c, 8, k, shape->position, capacity, dim, true);
}

static void check_one(struct check_device *device, enum dtype dtype, const struct shape *shape,
                      uint32_t n)
{
    struct check_case c;
    uint32_t capacity = shape->position + n + 3;
    if (!check_begin(&c, device, OP_attention_latent_prepare, dtype, n,
                     "%u heads, latents of %u, %u rotated, position %u", shape->heads, shape->rank,
                     shape->rope_dim, shape->position)) {
        return;
    }
    struct inputs in = make_inputs(&c, shape);
    check_output_floats(&c, 6, c.max_tokens, (uint64_t)shape->heads * shape->rope_dim);
    check_output_cache(&c, 7, capacity, shape->rank);
    check_output_cache(&c, 8, capacity, shape->rope_dim);
    struct attention_latent_prepare_args *args = &check_op(&c)->args.attention_latent_prepare;
    args->heads = shape->heads;
    args->rank = shape->rank;
    args->rope_dim = shape->rope_dim;
    args->capacity = capacity;
    args->epsilon = CHECK_EPSILON;
    args->scale = shape->scale;
    if (check_run(&c)) {
        compare(&c, shape, &in, capacity);
    }
    check_end(&c);
}

void check_attention_latent_prepare(struct check_device *device)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    static const struct shape shapes[] = {
        {1, 32, 32, 0, 1},        {16, 512, 64, 255, 1},   {3, 96, 96, 33, 1.25f},
        {128, 512, 64, 30000, 1}, {7, 1024, 256, 4095, 1}, {33, 160, 32, 1, 0.5f},
    };
    static const struct shape odd_shapes[] = {
        {1, 2, 2, 1, 1}, {5, 30, 6, 9, 1.5f}, {9, 130, 66, 1000, 1}};
    for (uint32_t d = 0; d < 3; d++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
                check_one(device, dtypes[d], &shapes[k], check_token_counts[i]);
            }
            for (uint32_t k = 0; dtypes[d] != DTYPE_Q8_0 && k < 3; k++) {
                check_one(device, dtypes[d], &odd_shapes[k], check_token_counts[i]);
            }
        }
    }
}
