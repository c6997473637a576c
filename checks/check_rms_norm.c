/* rms_norm: whole rows, heads within a token, and the last token only. */
#include <math.h>

#include "checks/check_ops.h"

static void naive(const float *x, const float *weight, uint32_t dim, double epsilon, float *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < dim; i++) {
        sum += (double)x[i] * x[i];
    }
    for (uint32_t i = 0; i < dim; i++) {
        y[i] = (float)(x[i] / sqrt(sum / dim + epsilon) * weight[i]);
    }
}

static void check_one(struct check_device *device, uint32_t rows_per_token, uint32_t dim,
                      uint32_t n, bool last_only)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_rms_norm, DTYPE_F32, n, "%u rows a token, dim %u%s",
                     rows_per_token, dim, last_only ? ", last only" : "")) {
        return;
    }
    const float epsilon = 1e-6f;
    uint64_t token = (uint64_t)rows_per_token * dim;
    check_step(&c, 3, NULL);
    const float *x = check_input_token_floats(&c, 1, token);
    const float *weight = check_input_floats(&c, 2, 1, dim);
    check_output_floats(&c, 3, last_only ? 1 : c.max_tokens, token);
    struct rms_norm_args *args = &check_op(&c)->args.rms_norm;
    args->rows_per_token = rows_per_token;
    args->dim = dim;
    args->epsilon = epsilon;
    args->last_only = last_only;
    uint64_t rows = (uint64_t)(last_only ? 1 : n) * rows_per_token;
    float *expected = check_alloc(&c, rows * dim);
    if (check_run(&c)) {
        x += last_only ? (n - 1) * token : 0;
        for (uint64_t row = 0; row < rows; row++) {
            naive(x + row * dim, weight, dim, (double)epsilon, expected + row * dim);
        }
        check_compare(&c, 3, expected, rows * dim, 1e-11);
    }
    check_end(&c);
}

void check_rms_norm(struct check_device *device)
{
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t n = check_token_counts[i];
        for (uint32_t k = 0; k < 11; k++) {
            check_one(device, 1, check_lengths[k], n, false);
            check_one(device, 3, check_lengths[k], n, k % 2);
        }
        check_one(device, 1, 2048, n, false);
        check_one(device, 1, 2048, n, true);
        check_one(device, 1, 7168, n, true);
        check_one(device, 32, 128, n, false);
        check_one(device, 4, 64, n, false);
    }
}
