/* h[pair] = activation(gate norm(x) + gate_bias, up norm(x) + up_bias) with the gate/up matrix at
 * the start of the expert's slab. */
#include "engine/cpu/cpu_expert_product.h"

/* Every processor has instructions for four floats at a time; calls of expf took a seventh of the
 * time in which the op reads q4_k. */
#define LANES 4
#include "engine/cpu/cpu_vectors.h"

/* `limit` where the mask is set, else x. Masks, not minima: a NaN must show itself. */
ALWAYS_INLINE vector limit_where(vector_bits mask, vector limit, vector x)
{
    return (vector)((mask & (vector_bits)limit) | (~mask & (vector_bits)x));
}

/* 1 / (1 + e^-x), for x beyond 87 in size as at 87. */
ALWAYS_INLINE vector sigmoid(vector x)
{
    x = limit_where((vector_bits)(x < -87.0f), splat(-87), x);
    x = limit_where((vector_bits)(x > 87.0f), splat(87), x);
    return 1 / (1 + exponential(-x));
}

ALWAYS_INLINE vector activate(const struct expert_gate_up_args *args, vector gate, vector up)
{
    if (args->activation == ACTIVATION_SILU) {
        return gate * sigmoid(gate) * up;
    }
    const vector limit = splat(args->limit);
    gate = limit_where((vector_bits)(gate > limit), limit, gate);
    up = limit_where((vector_bits)(up > limit), limit, up);
    up = limit_where((vector_bits)(up < -limit), -limit, up);
    return (up + 1) * (gate * sigmoid(args->alpha * gate));
}

ALWAYS_INLINE vector activate_pairs(const struct expert_gate_up_args *args, const float *p)
{
    return activate(args, (vector){p[0], p[2], p[4], p[6]}, (vector){p[1], p[3], p[5], p[7]});
}

/* h[i] of n pairs (gate, up). */
static void activate_all(const struct expert_gate_up_args *args, const float *pairs, uint64_t n,
                         float *h)
{
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        store(h + i, activate_pairs(args, pairs + 2 * i));
    }
    if (i < n) {
        float last[2 * LANES] = {0};
        memcpy(last, pairs + 2 * i, 2 * (n - i) * sizeof(*last));
        vector y = activate_pairs(args, last);
        memcpy(h + i, &y, (n - i) * sizeof(*h));
    }
}

/* Rows [first, end) of h[pair] from products of gate and up in turn. */
static void write_rows(const void *context, uint32_t expert, uint32_t pair, uint64_t first,
                       uint64_t end, float *products)
{
    const struct expert_gate_up_args *args = context;
    const float *gate_bias = cpu_pointer(args->gate_bias);
    const float *up_bias = cpu_pointer(args->up_bias);
    uint64_t bias_stride = ((uint64_t)args->ffn + 3) / 4 * 4; /* rows are padded to 16 bytes */
    uint64_t biases = expert * bias_stride;
    float *h = (float *)cpu_pointer(args->h) + (uint64_t)pair * args->ffn;
    for (uint64_t row = first; gate_bias && row < end; row++) {
        products[2 * (row - first)] += gate_bias[biases + row];
        products[2 * (row - first) + 1] += up_bias[biases + row];
    }
    activate_all(args, products, end - first, h + first);
}

static struct cpu_input input_of(const struct expert_gate_up_args *args, uint64_t n)
{
    return (struct cpu_input){
        .x = cpu_pointer(args->x),
        .norm = cpu_pointer(args->norm),
        .epsilon = args->epsilon,
        .n = n,
        .cols = args->hidden,
    };
}

void cpu_expert_gate_up(const struct cpu_run *run, const struct op *op)
{
    const struct expert_gate_up_args *args = &op->args.expert_gate_up;
    uint32_t n = cpu_step(op, args->step)->n_tokens;
    assert(args->activation == ACTIVATION_SILU || args->activation == ACTIVATION_SWIGLU_CLAMPED);
    assert(!args->gate_bias == !args->up_bias);
    struct cpu_expert_product product = {
        .groups =
            {
                .slabs = cpu_pointer(args->slabs),
                .ids = cpu_pointer(args->ids),
                .offsets = cpu_pointer(args->offsets),
                .pairs = cpu_pointer(args->pairs),
                .n_experts = args->n_experts,
                .n_pairs = n * args->top_k,
            },
        .rows = args->ffn,
        .cols = args->hidden,
        .matrix_rows = 2,
        .pairs_per_vector = args->top_k,
        .args = args,
        .write = write_rows,
    };
    struct cpu_input input = input_of(args, n);
    cpu_expert_product_add(run, op, &product, &input, n);
}

uint64_t cpu_expert_gate_up_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.expert_gate_up, op->max_tokens);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
