/* matmul: every dtype, with and without a norm, a bias and a residual, awkward and real shapes, one
 * token and chunks. */
#include "checks/check_ops.h"

static const float *make_residual(struct check_case *c, uint32_t rows, bool one_row)
{
    if (!check_sometimes(c, "residual")) {
        return NULL;
    }
    return one_row ? check_input_floats(c, 5, 1, rows) : check_input_token_floats(c, 5, rows);
}

static void check_one(struct check_device *device, enum dtype dtype, uint32_t rows, uint32_t cols,
                      uint32_t n, bool one_row)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_matmul, dtype, n, "%u x %u%s", rows, cols,
                     one_row ? ", one row" : "")) {
        return;
    }
    uint64_t vectors = one_row ? 1 : n;
    check_step(&c, 11, NULL);
    const float *weights = check_input_weights(&c, 1, rows, cols);
    const float *x =
        one_row ? check_input_floats(&c, 2, 1, cols) : check_input_token_floats(&c, 2, cols);
    x = check_sometimes_normed(&c, 3, x, vectors, cols);
    const float *bias = check_sometimes(&c, "biased") ? check_input_floats(&c, 4, 1, rows) : NULL;
    const float *residual = make_residual(&c, rows, one_row);
    check_output_floats(&c, 6, one_row ? 1 : c.max_tokens, rows);
    struct matmul_args *args = &check_op(&c)->args.matmul;
    args->rows = rows;
    args->cols = cols;
    args->one_row = one_row;
    args->epsilon = CHECK_EPSILON;
    float *expected = check_alloc(&c, vectors * rows);
    float *slack = check_alloc(&c, vectors * rows);
    if (check_run(&c)) {
        for (uint64_t t = 0; t < vectors; t++) {
            check_naive_product(weights, rows, cols, x + t * cols, expected + t * rows,
                                slack + t * rows);
            for (uint64_t row = 0; bias && row < rows; row++) {
                expected[t * rows + row] += bias[row];
            }
        }
        for (uint64_t i = 0; residual && i < vectors * rows; i++) {
            expected[i] += residual[i];
        }
        check_compare_products(&c, 6, expected, slack, vectors * rows);
    }
    check_end(&c);
}

static void check_shapes(struct check_device *device, const struct dtype_info *type, uint32_t n)
{
    static const uint32_t blocks[] = {1, 2, 3, 7, 8, 9, 15, 16, 17};
    const uint32_t n_blocks = type->block_elements == 256 ? 5 : 9;
    if (type->block_elements == 1) {
        for (uint32_t k = 0; k < 11; k++) {
            check_one(device, type->dtype, check_lengths[10 - k], check_lengths[k], n, k == 4);
            check_one(device, type->dtype, 33, check_lengths[k], n, false);
        }
    } else {
        for (uint32_t k = 0; k < n_blocks; k++) {
            uint32_t cols = blocks[k] * type->block_elements;
            check_one(device, type->dtype, check_lengths[10 - k], cols, n, k == 4);
            check_one(device, type->dtype, check_lengths[k], cols, n, false);
        }
    }
    if (n <= 7 || type->dtype == DTYPE_Q4_K || type->dtype == DTYPE_BF16) {
        check_one(device, type->dtype, 512, 2048, n, false);
        check_one(device, type->dtype, 2048, 768, n, false);
    }
}

void check_matmul(struct check_device *device)
{
    check_patterns_matmul(device);
    check_extremes_matmul(device);
    for (uint32_t d = 0; d < dtype_count(); d++) {
        for (uint32_t i = 0; i < 4; i++) {
            check_shapes(device, dtype_at(d), check_token_counts[i]);
        }
        check_one(device, dtype_at(d)->dtype, 4099, 256, 7, true);
    }
}
