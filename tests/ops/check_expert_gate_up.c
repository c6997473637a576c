/* expert_gate_up: one token without a grouping, chunks with one. */
#include <math.h>

#include "tests/ops/check_ops.h"

/* h from one (gate, up) pair after the other; its slack from theirs: the slope of silu is at most
 * 1.1, and the last term is the product of both errors. */
static void naive(const float *matrix, uint32_t ffn, uint32_t hidden, const float *x, float *h,
                  float *slack)
{
    for (uint64_t row = 0; row < ffn; row++) {
        float sums[2], slacks[2];
        check_naive_product(matrix + 2 * row * hidden, 2, hidden, x, sums, slacks);
        double gate = (double)sums[0], up = (double)sums[1];
        double silu = gate / (1 + exp(-gate));
        h[row] = (float)(silu * up);
        slack[row] = (float)hypot(1.1 * up * (double)slacks[0], silu * (double)slacks[1]);
        slack[row] += 2 * slacks[0] * slacks[1];
    }
}

static void check_one(struct check_device *device, enum dtype dtype, uint32_t hidden, uint32_t ffn,
                      uint32_t n, struct check_experts experts, uint32_t chosen_from)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_expert_gate_up, dtype, n, "%u -> %u, %u of %u experts", hidden,
                     ffn, experts.top_k, experts.n_experts)) {
        return;
    }
    uint64_t row = (uint64_t)experts.top_k * ffn;
    check_step(&c, 17, NULL);
    check_experts_make(&c, &experts, 2 * (uint64_t)ffn, hidden, 0, chosen_from, c.max_tokens > 1);
    const float *x = check_input_token_floats(&c, 3, hidden);
    check_output_floats(&c, 6, c.max_tokens, row);
    struct expert_gate_up_args *args = &check_op(&c)->args.expert_gate_up;
    args->hidden = hidden;
    args->ffn = ffn;
    args->n_experts = experts.n_experts;
    args->top_k = experts.top_k;
    args->activation = ACTIVATION_SILU;
    float *expected = check_alloc(&c, n * row);
    float *slack = check_alloc(&c, n * row);
    if (check_run(&c)) {
        for (uint64_t pair = 0; pair < (uint64_t)n * experts.top_k; pair++) {
            naive(experts.values[experts.ids[pair]], ffn, hidden, x + pair / experts.top_k * hidden,
                  expected + pair * ffn, slack + pair * ffn);
        }
        check_compare_products(&c, 6, expected, slack, n * row);
    }
    check_end(&c);
}

void check_expert_gate_up(struct check_device *device)
{
    const struct check_experts few = {.n_experts = 8, .top_k = 2};
    const struct check_experts many = {.n_experts = 128, .top_k = 8};
    const struct check_experts one = {.n_experts = 1, .top_k = 1};
    static const uint32_t ffns[] = {1, 7, 31, 33, 64, 127, 257};
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        uint32_t unit = type->block_elements;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t n = check_token_counts[i];
            for (uint32_t k = 0; k < 7; k++) {
                uint32_t hidden = unit == 1 ? check_lengths[1 + k] : unit * (1 + k % 4);
                check_one(device, type->dtype, hidden, ffns[k], n, few, 2 + k % 7);
            }
            check_one(device, type->dtype, 256, 48, n, many, 12);
            check_one(device, type->dtype, 256, 256, n, few, 8);
            check_one(device, type->dtype, 256, 32, n, one, 1);
        }
        check_one(device, type->dtype, 2048, 768, 1, many, 8);
        check_one(device, type->dtype, 2048, 96, 7, many, 10);
    }
}
