/* rope: whole and partly rotated heads, near and far positions. The angle is a float, as the
 * definition's numbers are; from there on the reference is in double.
 */
#include <math.h>

#include "checks/check_ops.h"

struct shape {
    uint32_t heads, head_dim, n_rotated, position;
    float scale;
};

static void naive(const struct shape *shape, const float *frequencies, uint32_t position,
                  const float *x, float *y)
{
    uint32_t half = shape->n_rotated / 2;
    for (uint32_t i = shape->n_rotated; i < shape->head_dim; i++) {
        y[i] = x[i];
    }
    for (uint32_t j = 0; j < half; j++) {
        float angle = (float)position * frequencies[j];
        double cosine = cos((double)angle), sine = sin((double)angle);
        double a = (double)x[j], b = (double)x[j + half], scale = (double)shape->scale;
        y[j] = (float)((a * cosine - b * sine) * scale);
        y[j + half] = (float)((b * cosine + a * sine) * scale);
    }
}

static void check_one(struct check_device *device, const struct shape *shape, uint32_t n)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_rope, DTYPE_F32, n, "%u heads of %u, %u rotated, position %u",
                     shape->heads, shape->head_dim, shape->n_rotated, shape->position)) {
        return;
    }
    uint64_t token = (uint64_t)shape->heads * shape->head_dim;
    uint32_t half = shape->n_rotated / 2;
    float *frequencies = check_alloc(&c, half);
    for (uint32_t j = 0; j < half; j++) {
        frequencies[j] = (float)pow(10000, -2.0 * j / shape->n_rotated);
    }
    check_step(&c, shape->position, NULL);
    const float *x = check_input_token_floats(&c, 1, token);
    check_input(&c, 2, DTYPE_F32, 1, half, frequencies, half * sizeof(float));
    check_output_floats(&c, 3, c.max_tokens, token);
    struct rope_args *args = &check_op(&c)->args.rope;
    args->heads = shape->heads;
    args->head_dim = shape->head_dim;
    args->n_rotated = shape->n_rotated;
    args->scale = shape->scale;
    float *expected = check_alloc(&c, n * token);
    if (check_run(&c)) {
        for (uint64_t row = 0; row < (uint64_t)n * shape->heads; row++) {
            naive(shape, frequencies, shape->position + (uint32_t)(row / shape->heads),
                  x + row * shape->head_dim, expected + row * shape->head_dim);
        }
        check_compare(&c, 3, expected, n * token, device->gpu ? 1e-9 : 1e-12);
    }
    check_end(&c);
}

void check_rope(struct check_device *device)
{
    static const struct shape shapes[] = {
        {1, 2, 2, 0, 1},       {1, 64, 64, 0, 1},     {4, 64, 64, 1, 1},
        {3, 66, 66, 40, 1},    {2, 128, 64, 5, 1.5f}, {32, 128, 128, 0, 1},
        {4, 128, 128, 255, 1}, {4, 96, 32, 4095, 1},  {8, 128, 128, 30000, 1.25f},
    };
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            check_one(device, &shapes[k], check_token_counts[i]);
        }
    }
}
