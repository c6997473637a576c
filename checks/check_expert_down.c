/* expert_down: the matrix lies somewhere inside the slab; h of pairs that are not computed is NaN.
 */
#include <math.h>

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

static const float *make_h(struct check_case *c, const struct check_experts *experts, uint32_t ffn)
{
    uint64_t n_pairs = (uint64_t)c->n_tokens * experts->top_k;
    float *h = check_alloc(c, n_pairs * ffn);
    check_fill(&c->random, c->fill, h, n_pairs * ffn);
    for (uint64_t pair = 0; pair < n_pairs; pair++) {
        for (uint64_t i = 0; !experts->values[experts->ids[pair]] && i < ffn; i++) {
            h[pair * ffn + i] = NAN;
        }
    }
    check_input_tokens(c, 3, DTYPE_F32, (uint64_t)experts->top_k * ffn, h);
    return h;
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
    const float *h = make_h(&c, &experts, ffn);
    const float *bias =
        check_sometimes(&c, "biased") ? check_input_floats(&c, 6, experts.n_experts, hidden) : NULL;
    check_output_floats(&c, 8, c.max_tokens, (uint64_t)experts.top_k * hidden);
    struct expert_down_args *args = &check_op(&c)->args.expert_down;
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
    const struct check_experts few = {.n_experts = 8, .top_k = 2};
    const struct check_experts many = {.n_experts = 128, .top_k = 8};
    const struct check_experts most = {.n_experts = 1024, .top_k = 32};
    const struct check_experts one = {.n_experts = 1, .top_k = 1};
    static const uint32_t hiddens[] = {1, 7, 31, 33, 64, 127, 257};
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        uint32_t unit = type->block_elements;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t n = check_token_counts[i];
            for (uint32_t k = 0; k < 7; k++) {
                uint32_t ffn = unit == 1 ? check_lengths[1 + k] : unit * (1 + k % 4);
                check_one(device, type->dtype, hiddens[k], ffn, n, few, 2 + k % 7);
            }
            check_one(device, type->dtype, 48, 256, n, many, 12);
            check_one(device, type->dtype, 256, 256, n, few, 8);
            check_one(device, type->dtype, 32, 256, n, one, 1);
        }
        check_one(device, type->dtype, 2048, 768, 1, many, 8);
        check_one(device, type->dtype, 256, 768, 7, many, 10);
        check_one(device, type->dtype, 33, unit == 1 ? 40 : unit, 1, most, 36);
        check_one(device, type->dtype, 33, unit == 1 ? 40 : unit, 7, most, 36);
    }
}
