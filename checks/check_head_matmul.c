/* head_matmul: every dtype, odd and real shapes, one token and chunks. */
#include "checks/check_ops.h"

struct shape {
    uint32_t heads, rows, cols;
};

static void check_one(struct check_device *device, enum dtype dtype, const struct shape *shape,
                      uint32_t n)
{
    struct check_case c;
    uint64_t heads = shape->heads, rows = shape->rows, cols = shape->cols;
    if (!check_begin(&c, device, OP_head_matmul, dtype, n, "%u heads of %u x %u", shape->heads,
                     shape->rows, shape->cols)) {
        return;
    }
    check_step(&c, 11, NULL);
    const float *weights = check_input_weights(&c, 1, heads * rows, cols);
    const float *x = check_input_token_floats(&c, 2, heads * cols);
    check_output_floats(&c, 3, c.max_tokens, heads * rows);
    struct head_matmul_args *args = &check_op(&c)->args.head_matmul;
    args->heads = shape->heads;
    args->rows = shape->rows;
    args->cols = shape->cols;
    float *expected = check_alloc(&c, n * heads * rows);
    float *slack = check_alloc(&c, n * heads * rows);
    if (check_run(&c)) {
        for (uint64_t i = 0; i < n * heads; i++) {
            check_naive_product(weights + i % heads * rows * cols, rows, cols, x + i * cols,
                                expected + i * rows, slack + i * rows);
        }
        check_compare_products(&c, 3, expected, slack, n * heads * rows);
    }
    check_end(&c);
}

void check_head_matmul(struct check_device *device)
{
    static const struct shape shapes[] = {
        /* cols in blocks of the type, or 32 */
        {1, 1, 1}, {3, 7, 2}, {16, 16, 1}, {5, 33, 3}, {2, 65, 4}, {4, 130, 1}, {7, 128, 2},
    };
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        uint32_t unit = type->block_elements > 1 ? type->block_elements : 32;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t n = check_token_counts[i];
            for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
                struct shape shape = shapes[k];
                shape.cols *= unit;
                check_one(device, type->dtype, &shape, n);
            }
            if (type->block_elements == 1) {
                check_one(device, type->dtype, &(struct shape){3, 5, 13}, n);
                check_one(device, type->dtype, &(struct shape){2, 9, 130}, n);
            }
            if (n <= 2 && type->block_elements <= 128) {
                check_one(device, type->dtype, &(struct shape){16, 512, 128}, n);
                check_one(device, type->dtype, &(struct shape){16, 128, 512}, n);
            }
        }
    }
}
