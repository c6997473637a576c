/* expert_gate_up: one token without a grouping, chunks with one; both activations, with and without
 * biases. */
#include <math.h>

#include "format/quant.h"
#include "checks/check_ops.h"

struct biases {
    const float *gate, *up; /* (n_experts, bias_stride(ffn)), or NULL */
};

/* Rows of f32 matrices are padded to 16 bytes. */
static uint32_t bias_stride(uint32_t ffn)
{
    return (ffn + 3) / 4 * 4;
}

static double activation(const struct expert_gate_up_args *args, double gate, double up,
                         double *slope_gate, double *slope_up)
{
    bool clamped = args->activation == ACTIVATION_SWIGLU_CLAMPED;
    double limit = clamped ? (double)args->limit : INFINITY;
    gate = fmin(gate, limit);
    up = fmax(fmin(up, limit), -limit);
    double swish = gate / (1 + exp(-(clamped ? (double)args->alpha : 1) * gate));
    double factor = clamped ? up + 1 : up;
    *slope_gate = 1.1 * factor; /* of x sigmoid(alpha x), whatever alpha is */
    *slope_up = swish;
    return factor * swish;
}

/* h from one (gate, up) pair after the other; its slack from theirs by the slopes, and the product
 * of both errors. */
static void naive(const struct expert_gate_up_args *args, const float *matrix,
                  const struct biases *biases, uint64_t expert, const float *x, float *h,
                  float *slack)
{
    for (uint64_t row = 0; row < args->ffn; row++) {
        float sums[2], slacks[2];
        double slope_gate, slope_up;
        check_naive_product(matrix + 2 * row * args->hidden, 2, args->hidden, x, sums, slacks);
        double gate = (double)sums[0], up = (double)sums[1];
        if (biases->gate) {
            gate += (double)biases->gate[expert * bias_stride(args->ffn) + row];
            up += (double)biases->up[expert * bias_stride(args->ffn) + row];
        }
        h[row] = (float)activation(args, gate, up, &slope_gate, &slope_up);
        slack[row] = (float)hypot(slope_gate * (double)slacks[0], slope_up * (double)slacks[1]);
        slack[row] += 2 * slacks[0] * slacks[1];
    }
}

static struct biases make_biases(struct check_case *c, uint32_t n_experts, uint32_t ffn)
{
    if (!check_sometimes(c, "biased")) {
        return (struct biases){NULL, NULL};
    }
    const float *gate = check_input_floats(c, 7, n_experts, bias_stride(ffn));
    return (struct biases){gate, check_input_floats(c, 8, n_experts, bias_stride(ffn))};
}

static struct expert_gate_up_args *set_args(struct check_case *c, uint32_t hidden, uint32_t ffn,
                                            const struct check_experts *experts)
{
    struct op *op = check_op(c);
    struct expert_gate_up_args *args = &op->args.expert_gate_up;
    op->tile_pairs = experts->tile_pairs;
    args->hidden = hidden;
    args->ffn = ffn;
    args->n_experts = experts->n_experts;
    args->top_k = experts->top_k;
    args->epsilon = CHECK_EPSILON;
    return args;
}

static void check_one(struct check_device *device, enum dtype dtype, uint32_t ffn, uint32_t hidden,
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
    x = check_sometimes_normed(&c, 4, x, n, hidden);
    const struct biases biases = make_biases(&c, experts.n_experts, ffn);
    check_output_floats(&c, 10, c.max_tokens, row);
    struct expert_gate_up_args *args = set_args(&c, hidden, ffn, &experts);
    args->activation = ACTIVATION_SILU;
    double nmse = CHECK_PRODUCTS;
    if (check_sometimes(&c, "clamped")) {
        args->activation = ACTIVATION_SWIGLU_CLAMPED;
        /* About the size of the products, so that some are cut and most are not. */
        args->limit = check_random_float(&c.random, 0.5f, 1.5f) * sqrtf((float)hidden);
        args->alpha = check_random_float(&c.random, 0.5f, 2);
        nmse = 10 * CHECK_PRODUCTS; /* the largest lose in size, but not in error */
    }
    float *expected = check_alloc(&c, n * row);
    float *slack = check_alloc(&c, n * row);
    if (check_run(&c)) {
        for (uint64_t pair = 0; pair < (uint64_t)n * experts.top_k; pair++) {
            const float *matrix = experts.values[experts.ids[pair]];
            if (matrix) {
                naive(args, matrix, &biases, experts.ids[pair], x + pair / experts.top_k * hidden,
                      expected + pair * ffn, slack + pair * ffn);
            }
        }
        check_compare_pairs(&c, &experts, 10, ffn, expected, slack, nmse);
    }
    check_end(&c);
}

/* gpt-oss's activation at known places (computed in double, by another program). The pairs come
 * from the matrix, or all from the biases. */
static void check_known(struct check_device *device, uint32_t n, bool from_biases)
{
    static const float gates[4] = {1, -2, 10, 0.3f}, ups[4] = {1, 0.5f, -9, 8};
    static const float values[4] = {1.6915915f, -0.0965121f, -41.9997188f, 1.4998731f};
    const struct check_experts one = {.n_experts = 1, .top_k = 1, .tile_pairs = 16};
    const struct dtype_info *type = dtype_info(DTYPE_F32);
    struct check_case c;
    if (!check_begin(&c, device, OP_expert_gate_up, DTYPE_F32, n, "known values%s",
                     from_biases ? " as biases" : "")) {
        return;
    }
    uint8_t slab[8 * 16] = {0};
    uint32_t offsets[2] = {0, n}, pairs[7] = {0, 1, 2, 3, 4, 5, 6}, ids[7] = {0};
    uint32_t tiles[4] = {1, 0, 0, n};
    float x[7] = {1, 1, 1, 1, 1, 1, 1}, expected[4 * 7];
    for (uint64_t row = 0; row < 8 && !from_biases; row++) {
        quant_encode_matrix_row(type, row % 2 ? &ups[row / 2] : &gates[row / 2], NULL, slab, 8, 1,
                                row);
    }
    check_step(&c, 0, NULL);
    check_place_slabs(&c, slab, dtype_matrix_bytes(type, 8, 1));
    uint64_t address = check_slabs_address(&c);
    check_input(&c, 1, DTYPE_U32, 1, 2, &address, sizeof(address));
    check_input_tokens(&c, 2, DTYPE_U32, 1, ids);
    check_input_tokens(&c, 3, DTYPE_F32, 1, x);
    if (c.max_tokens > 1) {
        check_input(&c, 5, DTYPE_U32, 1, 2, offsets, sizeof(offsets));
        check_input_tokens(&c, 6, DTYPE_U32, 1, pairs);
        check_input(&c, 9, DTYPE_U32, 1, 4, tiles, sizeof(tiles));
    }
    if (from_biases) {
        check_input(&c, 7, DTYPE_F32, 1, 4, gates, sizeof(gates));
        check_input(&c, 8, DTYPE_F32, 1, 4, ups, sizeof(ups));
    }
    check_output_floats(&c, 10, c.max_tokens, 4);
    struct expert_gate_up_args *args = set_args(&c, 1, 4, &one);
    args->activation = ACTIVATION_SWIGLU_CLAMPED;
    args->limit = 7;
    args->alpha = 1.702f;
    for (uint32_t i = 0; i < 4 * n; i++) {
        expected[i] = values[i % 4];
    }
    if (check_run(&c)) {
        const float *h = check_result(&c, 10);
        check_compare(&c, 10, expected, 4 * (uint64_t)n, 1e-12);
        for (uint32_t i = 0; i < 4 * n; i++) {
            if (!(fabsf(h[i] - expected[i]) <= 3e-6f * fmaxf(1, fabsf(expected[i])))) {
                check_fail(&c, "h[%u] is %.9g, should be %.9g", i, (double)h[i],
                           (double)expected[i]);
            }
        }
    }
    check_end(&c);
}

void check_expert_gate_up(struct check_device *device)
{
    check_experts_shapes(device, check_one);
    for (uint32_t i = 0; i < 3; i++) {
        check_known(device, check_token_counts[i], false);
        check_known(device, check_token_counts[i], true);
    }
}
