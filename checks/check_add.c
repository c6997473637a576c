/* add: exact, one rounding per element. */
#include "checks/check_ops.h"

static void check_one(struct check_device *device, uint32_t dim, uint32_t n)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_add, DTYPE_F32, n, "dim %u", dim)) {
        return;
    }
    uint64_t elements = (uint64_t)n * dim;
    float *expected = check_alloc(&c, elements);
    check_step(&c, 9, NULL);
    const float *a = check_input_token_floats(&c, 1, dim);
    const float *b = check_input_token_floats(&c, 2, dim);
    check_output_floats(&c, 3, c.max_tokens, dim);
    check_op(&c)->args.add.dim = dim;
    if (check_run(&c)) {
        for (uint64_t i = 0; i < elements; i++) {
            expected[i] = a[i] + b[i];
        }
        check_compare(&c, 3, expected, elements, 0);
    }
    check_end(&c);
}

void check_add(struct check_device *device)
{
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < 11; k++) {
            check_one(device, check_lengths[k], check_token_counts[i]);
        }
        check_one(device, 2048, check_token_counts[i]);
    }
}
