/* expert_down_sum: what expert_down and expert_combine make together. Slots whose expert is not
 * here have NaN for h and weight and must add nothing. Shaders run it for one token. */
#include <math.h>

#include "checks/check_ops.h"

struct inputs {
    const float *h, *weights, *residual;
    const float *bias; /* or NULL */
};

/* NaN where the pair's expert is not here: what reads it gives itself away. */
static const float *make_pairs(struct check_case *c, const struct check_experts *experts,
                               uint32_t index, uint64_t row)
{
    uint64_t n_pairs = (uint64_t)c->n_tokens * experts->top_k;
    float *values = check_alloc(c, n_pairs * row);
    check_fill(&c->random, row == 1 ? CHECK_UNIFORM : c->fill, values, n_pairs * row);
    for (uint64_t i = 0; i < n_pairs * row; i++) {
        values[i] = experts->values[experts->ids[i / row]] ? values[i] : NAN;
    }
    check_input_tokens(c, index, DTYPE_F32, experts->top_k * row, values);
    return values;
}

/* One token's y and its slack. */
static void naive(struct check_case *c, const struct check_experts *experts,
                  const struct inputs *in, uint64_t t, uint32_t hidden, uint32_t ffn, float *y,
                  float *slack)
{
    float *part = check_alloc(c, hidden), *part_slack = check_alloc(c, hidden);
    double *sums = (double *)(void *)check_alloc(c, 2 * (uint64_t)hidden);
    for (uint64_t slot = 0; slot < experts->top_k; slot++) {
        uint64_t pair = t * experts->top_k + slot, expert = experts->ids[pair];
        double weight = (double)in->weights[pair];
        if (!experts->values[expert]) {
            continue;
        }
        check_naive_product(experts->values[expert], hidden, ffn, in->h + pair * ffn, part,
                            part_slack);
        for (uint64_t row = 0; row < hidden; row++) {
            double bias = in->bias ? (double)in->bias[expert * hidden + row] : 0;
            sums[row] += weight * ((double)part[row] + bias);
            slack[row] = hypotf(slack[row], (float)weight * part_slack[row]);
        }
    }
    for (uint64_t row = 0; row < hidden; row++) {
        y[row] = (float)((double)in->residual[t * hidden + row] + sums[row]);
    }
}

static void check_one(struct check_device *device, enum dtype dtype, uint32_t hidden, uint32_t ffn,
                      uint32_t n, struct check_experts experts, uint32_t chosen_from)
{
    struct check_case c;
    if ((device->gpu && n > 1) ||
        !check_begin(&c, device, OP_expert_down_sum, dtype, n, "%u -> %u, %u of %u experts", ffn,
                     hidden, experts.top_k, experts.n_experts)) {
        return;
    }
    uint32_t offset = 16 * check_random_below(&c.random, 40);
    check_step(&c, 17, NULL);
    check_experts_make(&c, &experts, hidden, ffn, offset, chosen_from, false);
    struct inputs in = {.h = make_pairs(&c, &experts, 3, ffn)};
    in.weights = make_pairs(&c, &experts, 4, 1);
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
        for (uint64_t t = 0; t < n; t++) {
            naive(&c, &experts, &in, t, hidden, ffn, expected + t * hidden, slack + t * hidden);
        }
        check_compare_products(&c, 7, expected, slack, (uint64_t)n * hidden);
    }
    check_end(&c);
}

void check_expert_down_sum(struct check_device *device)
{
    const struct check_experts few = {.n_experts = 8, .top_k = 2};
    const struct check_experts many = {.n_experts = 128, .top_k = 8};
    const struct check_experts most = {.n_experts = 1024, .top_k = 32};
    const struct check_experts one = {.n_experts = 1, .top_k = 1};
    static const uint32_t hiddens[] = {1, 7, 31, 33, 64, 127, 257};
    static const uint32_t counts[] = {1, 7};
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        uint32_t unit = type->block_elements;
        for (uint32_t i = 0; i < 2; i++) {
            uint32_t n = counts[i];
            for (uint32_t k = 0; k < 7; k++) {
                uint32_t ffn = unit == 1 ? check_lengths[1 + k] : unit * (1 + k % 4);
                check_one(device, type->dtype, hiddens[k], ffn, n, few, 2 + k % 7);
            }
            check_one(device, type->dtype, 48, 256, n, many, 12);
            check_one(device, type->dtype, 256, 256, n, few, 8);
            check_one(device, type->dtype, 32, 256, n, one, 1);
        }
        check_one(device, type->dtype, 2048, 768, 1, many, 8);
        check_one(device, type->dtype, 33, unit == 1 ? 40 : unit, 1, most, 36);
    }
}
