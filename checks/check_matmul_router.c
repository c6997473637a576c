/* matmul_router: every dtype, with and without a norm, a bias and a correction, every rule. The
 * logits are a product's; the choice must be right for the logits that came out; the counter is
 * zero again.
 */
#include "checks/check_ops.h"

struct shape {
    uint32_t n_experts, blocks; /* of a row; 32 elements of a type without blocks */
    uint32_t top_k, n_groups, top_groups;
};

static const float *make_correction(struct check_case *c, uint32_t n_experts)
{
    if (!check_sometimes(c, "corrected")) {
        return NULL;
    }
    float *values = check_alloc(c, n_experts);
    for (uint32_t e = 0; e < n_experts; e++) {
        values[e] = check_random_float(&c->random, -1, 1);
    }
    check_input(c, 5, DTYPE_F32, 1, n_experts, values, n_experts * sizeof(float));
    return values;
}

static void make_outputs(struct check_case *c, const struct shape *shape)
{
    const uint32_t zero = 0;
    uint64_t bytes = shape->top_k * sizeof(uint32_t);
    check_output_floats(c, 6, 1, shape->n_experts);
    check_output(c, 7, DTYPE_U32, 1, 1, &zero, sizeof(zero));
    check_output(c, 8, DTYPE_U32, 1, shape->top_k, NULL, bytes);
    check_output(c, 9, DTYPE_F32, 1, shape->top_k, NULL, bytes);
}

static struct router_rule make_rule(struct check_case *c, const struct shape *shape)
{
    return (struct router_rule){
        .n_experts = shape->n_experts,
        .top_k = shape->top_k,
        .n_groups = shape->n_groups,
        .top_groups = shape->top_groups,
        .score = check_sometimes(c, "sigmoid") ? ROUTER_SIGMOID : ROUTER_SOFTMAX,
        .normalise = check_sometimes(c, "normalised"),
        .scale = 2.5f,
        .group_score = check_sometimes(c, "sum of 2") ? ROUTER_GROUP_SUM_OF_2 : ROUTER_GROUP_MAX,
    };
}

static void check_one(struct check_device *device, const struct dtype_info *type,
                      const struct shape *shape)
{
    struct check_case c;
    uint32_t rows = shape->n_experts;
    uint32_t cols = shape->blocks * (type->block_elements == 1 ? 32 : type->block_elements);
    if (!check_begin(&c, device, OP_matmul_router, type->dtype, 1, "%u of %u experts, %u columns",
                     shape->top_k, rows, cols)) {
        return;
    }
    check_step(&c, 5, NULL);
    const float *weights = check_input_weights(&c, 1, rows, cols);
    const float *x = check_input_floats(&c, 2, 1, cols);
    x = check_sometimes_normed(&c, 3, x, 1, cols);
    const float *bias = check_sometimes(&c, "biased") ? check_input_floats(&c, 4, 1, rows) : NULL;
    const float *correction = make_correction(&c, rows);
    make_outputs(&c, shape);
    struct matmul_router_args *args = &check_op(&c)->args.matmul_router;
    args->cols = cols;
    args->epsilon = CHECK_EPSILON;
    args->rule = make_rule(&c, shape);
    float *expected = check_alloc(&c, rows), *slack = check_alloc(&c, rows);
    if (check_run(&c)) {
        check_naive_product(weights, rows, cols, x, expected, slack);
        for (uint32_t row = 0; bias && row < rows; row++) {
            expected[row] += bias[row];
        }
        check_compare_products(&c, 6, expected, slack, rows);
        check_unchanged(&c, 7, 0, sizeof(uint32_t));
        check_router_choice(&c, &args->rule, check_result(&c, 6), correction, check_result(&c, 8),
                            check_result(&c, 9));
    }
    check_end(&c);
}

void check_matmul_router(struct check_device *device)
{
    static const struct shape shapes[] = {
        {1, 2, 1, 1, 1},   {7, 1, 2, 1, 1},   {64, 8, 6, 1, 1}, {128, 3, 8, 1, 1},
        {256, 1, 8, 8, 4}, {257, 2, 8, 0, 0}, {60, 4, 4, 4, 2}, {1024, 1, 32, 16, 4},
    };
    for (uint32_t d = 0; d < dtype_count(); d++) {
        for (uint32_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            check_one(device, dtype_at(d), &shapes[k]);
        }
    }
}
