/* expert_down_sum: what expert_down and expert_combine make together. Slots whose expert is not
 * here have NaN for h and weight and must add nothing. Shaders run it for one token. */
#include <math.h>

#include "checks/check_ops.h"

struct inputs {
    const float *h, *weights, *residual;
    const float *bias; /* or NULL */
};

/* y and its slack, (n_tokens, hidden). */
static void naive(struct check_case *c, const struct check_experts *experts,
                  const struct inputs *in, uint32_t hidden, uint32_t ffn, float *y, float *slack)
{
    uint64_t n = (uint64_t)c->n_tokens * hidden;
    float *part = check_alloc(c, hidden), *part_slack = check_alloc(c, hidden);
    double *sums = (double *)(void *)check_alloc(c, 2 * n);
    for (uint64_t pair = 0; pair < (uint64_t)c->n_tokens * experts->top_k; pair++) {
        uint64_t first = pair / experts->top_k * hidden, expert = experts->ids[pair];
        double weight = (double)in->weights[pair];
        if (!experts->values[expert]) {
            continue;
        }
        check_naive_product(experts->values[expert], hidden, ffn, in->h + pair * ffn, part,
                            part_slack);
        for (uint64_t row = 0; row < hidden; row++) {
            double bias = in->bias ? (double)in->bias[expert * hidden + row] : 0;
            sums[first + row] += weight * ((double)part[row] + bias);
            slack[first + row] = hypotf(slack[first + row], (float)weight * part_slack[row]);
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        y[i] = (float)((double)in->residual[i] + sums[i]);
    }
}

static void check_one(struct check_device *device, enum dtype dtype, uint32_t hidden, uint32_t ffn,
                      uint32_t n, struct check_experts experts, uint32_t chosen_from)
{
    struct check_case c;
    if ((n > 1 && (device->gpu || n != 7)) ||
        !check_begin(&c, device, OP_expert_down_sum, dtype, n, "%u -> %u, %u of %u experts", ffn,
                     hidden, experts.top_k, experts.n_experts)) {
        return;
    }
    uint32_t offset = 16 * check_random_below(&c.random, 40);
    check_step(&c, 17, NULL);
    check_experts_make(&c, &experts, hidden, ffn, offset, chosen_from, false);
    struct inputs in = {.h = check_input_pairs(&c, &experts, 3, c.fill, ffn)};
    in.weights = check_input_pairs(&c, &experts, 4, CHECK_UNIFORM, 1);
    in.bias =
        check_sometimes(&c, "biased") ? check_input_floats(&c, 5, experts.n_experts, hidden) : NULL;
    in.residual = check_input_token_floats(&c, 6, hidden);
    check_output_floats(&c, 7, c.max_tokens, hidden);
    struct expert_down_sum_args *args = &check_op(&c)->args.expert_down_sum;
    args->hidden = hidden;
    args->ffn = ffn;
    args->n_experts = experts.n_experts;
    args->top_k = experts.top_k;
    args->down_offset = offset;
    float *expected = check_alloc(&c, (uint64_t)n * hidden);
    float *slack = check_alloc(&c, (uint64_t)n * hidden);
    if (check_run(&c)) {
        naive(&c, &experts, &in, hidden, ffn, expected, slack);
        check_compare_products(&c, 7, expected, slack, (uint64_t)n * hidden);
    }
    check_end(&c);
}

void check_expert_down_sum(struct check_device *device)
{
    const struct check_experts few = {.n_experts = 8, .top_k = 2};
    check_experts_shapes(device, check_one);
    /* Rows enough that threads take longer stretches of them. */
    check_one(device, DTYPE_Q8_0, 1700, 64, 1, few, 5);
    check_one(device, DTYPE_Q4_K, 2100, 256, 7, few, 5);
}
