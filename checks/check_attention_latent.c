/* attention_latent: from one to 128 heads, ranks up to the largest, real and odd ones, short and
 * long caches; rows behind the last token are NaN. */
#include <math.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t heads, rank, rope_dim;
};

static double dot(const float *a, const float *b, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)a[i] * b[i];
    }
    return sum;
}

/* One head of one token over the first `rows` rows. */
static void naive(const struct attention_latent_args *args, const float *q, const float *q_rope,
                  const float *latent, const float *rope, uint64_t rows, float *y)
{
    double scores[5000], sum = 0, maximum = -INFINITY;
    for (uint64_t j = 0; j < rows; j++) {
        scores[j] = (dot(q, latent + j * args->rank, args->rank) +
                     dot(q_rope, rope + j * args->rope_dim, args->rope_dim)) *
                    (double)args->scale;
        maximum = fmax(maximum, scores[j]);
    }
    for (uint64_t j = 0; j < rows; j++) {
        scores[j] = exp(scores[j] - maximum);
        sum += scores[j];
    }
    for (uint64_t i = 0; i < args->rank; i++) {
        double value = 0;
        for (uint64_t j = 0; j < rows; j++) {
            value += scores[j] / sum * latent[j * args->rank + i];
        }
        y[i] = (float)value;
    }
}

static void check_one(struct check_device *device, enum dtype dtype, const struct shape *shape,
                      uint32_t position, uint32_t n)
{
    struct check_case c;
    uint32_t heads = shape->heads, filled = position + n, capacity = filled + 37 * (n % 2);
    if (!check_begin(&c, device, OP_attention_latent, dtype, n,
                     "%u heads, rank %u, rope %u, position %u", heads, shape->rank, shape->rope_dim,
                     position)) {
        return;
    }
    uint64_t token = (uint64_t)heads * shape->rank;
    check_step(&c, position, NULL);
    const float *q = check_input_token_floats(&c, 1, token);
    const float *q_rope = check_input_token_floats(&c, 2, (uint64_t)heads * shape->rope_dim);
    const float *latent = check_input_cache(&c, 3, 0, filled, capacity, shape->rank);
    const float *rope = check_input_cache(&c, 4, 0, filled, capacity, shape->rope_dim);
    check_output_parts(&c, 5, shape->rank);
    check_output_floats(&c, 6, c.max_tokens, token);
    struct attention_latent_args *args = &check_op(&c)->args.attention_latent;
    args->heads = heads;
    args->rank = shape->rank;
    args->rope_dim = shape->rope_dim;
    args->capacity = capacity;
    args->scale = 1 / sqrtf((float)(shape->rank / 4 + shape->rope_dim));
    float *expected = check_alloc(&c, n * token);
    if (check_run(&c)) {
        check_unchanged(&c, 5, 0, ATTENTION_MAX_TILES * sizeof(uint32_t));
        for (uint64_t row = 0; row < (uint64_t)n * heads; row++) {
            naive(args, q + row * shape->rank, q_rope + row * shape->rope_dim, latent, rope,
                  position + row / heads + 1, expected + row * shape->rank);
        }
        bool zero = true; /* numbers too small for a scale of q8_0 */
        for (uint64_t i = 0; i < n * token; i++) {
            zero = zero && expected[i] == 0;
        }
        check_compare(&c, 6, expected, n * token, zero ? 0 : device->gpu ? 1e-9 : 1e-10);
    }
    check_end(&c);
}

/* A naive computation in double of more than this takes too long. */
#define MOST_WORK 9000000

void check_attention_latent(struct check_device *device)
{
    static const struct shape shapes[] = {
        {1, 512, 64}, {16, 512, 64},  {128, 512, 64}, {5, 512, 64}, {2, 256, 32}, {8, 32, 8},
        {3, 100, 20}, {7, 1024, 256}, {1, 640, 6},    {9, 6, 2},    {4, 37, 34},
    };
    static const uint32_t positions[] = {0, 1, 63, 127, 300, 4096};
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0};
    for (uint32_t i = 0; i < 3 * 4; i++) {
        uint32_t n = check_token_counts[i % 4];
        for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            bool blocks = shapes[k].rank % 32 == 0 && shapes[k].rope_dim % 32 == 0;
            for (uint32_t p = 0; p < 6; p++) {
                uint64_t rows = (uint64_t)n * (positions[p] + n);
                if (rows * shapes[k].heads * shapes[k].rank <= MOST_WORK &&
                    (blocks || dtypes[i / 4] != DTYPE_Q8_0)) {
                    check_one(device, dtypes[i / 4], &shapes[k], positions[p], n);
                }
            }
        }
    }
}
