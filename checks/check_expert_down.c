/* expert_down: the matrix lies somewhere inside the slab. */
#include "checks/check_ops.h"

static void naive(const struct check_experts *experts, uint32_t expert, uint32_t hidden,
                  uint32_t ffn, const float *h, const float *bias, float *part, float *slack)
{
    if (!experts->values[expert]) {
        return;
    }
    check_naive_product(experts->values[expert], hidden, ffn, h, part, slack);
    for (uint64_t row = 0; bias && row < hidden; row++) {
        part[row] += bias[(uint64_t)expert * hidden + row];
    }
}

static void check_one(struct check_device *device, enum dtype dtype, uint32_t hidden, uint32_t ffn,
                      uint32_t n, struct check_experts experts, uint32_t chosen_from)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_expert_down, dtype, n, "%u -> %u, %u of %u experts", ffn,
                     hidden, experts.top_k, experts.n_experts)) {
        return;
    }
    uint32_t offset = 16 * check_random_below(&c.random, 40);
    check_step(&c, 17, NULL);
    check_experts_make(&c, &experts, hidden, ffn, offset, chosen_from, c.max_tokens > 1);
    const float *h = check_input_pairs(&c, &experts, 3, c.fill, ffn);
    const float *bias =
        check_sometimes(&c, "biased") ? check_input_floats(&c, 6, experts.n_experts, hidden) : NULL;
    check_output_floats(&c, 8, c.max_tokens, (uint64_t)experts.top_k * hidden);
    struct op *op = check_op(&c);
    struct expert_down_args *args = &op->args.expert_down;
    op->tile_pairs = experts.tile_pairs;
    args->hidden = hidden;
    args->ffn = ffn;
    args->n_experts = experts.n_experts;
    args->top_k = experts.top_k;
    args->down_offset = offset;
    uint64_t pairs = (uint64_t)n * experts.top_k;
    float *expected = check_alloc(&c, pairs * hidden);
    float *slack = check_alloc(&c, pairs * hidden);
    if (check_run(&c)) {
        for (uint64_t pair = 0; pair < pairs; pair++) {
            naive(&experts, experts.ids[pair], hidden, ffn, h + pair * ffn, bias,
                  expected + pair * hidden, slack + pair * hidden);
        }
        check_compare_pairs(&c, &experts, 8, hidden, expected, slack, CHECK_PRODUCTS);
    }
    check_end(&c);
}

void check_expert_down(struct check_device *device)
{
    check_experts_shapes(device, check_one);
}
