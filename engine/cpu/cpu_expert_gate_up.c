/* h[pair] = activation(gate norm(x) + gate_bias, up norm(x) + up_bias) with the gate/up matrix at
 * the start of the expert's slab. */
#include <math.h>

#include "engine/cpu/cpu_expert_product.h"

/* Comparisons, not fminf: a NaN must show itself. */
static float activate(const struct expert_gate_up_args *args, float gate, float up)
{
    if (args->activation == ACTIVATION_SILU) {
        return gate / (1 + expf(-gate)) * up;
    }
    gate = gate > args->limit ? args->limit : gate;
    up = up > args->limit ? args->limit : up < -args->limit ? -args->limit : up;
    return (up + 1) * (gate / (1 + expf(-args->alpha * gate)));
}

/* Rows [first, end) of h[pair] from products of gate and up in turn. */
static void write_rows(const void *context, uint32_t expert, uint32_t pair, uint64_t first,
                       uint64_t end, const float *products)
{
    const struct expert_gate_up_args *args = context;
    const float *gate_bias = cpu_pointer(args->gate_bias);
    const float *up_bias = cpu_pointer(args->up_bias);
    uint64_t bias_stride = ((uint64_t)args->ffn + 3) / 4 * 4; /* rows are padded to 16 bytes */
    uint64_t biases = expert * bias_stride;
    float *h = (float *)cpu_pointer(args->h) + (uint64_t)pair * args->ffn;
    for (uint64_t row = first; row < end; row++) {
        float gate = products[2 * (row - first)], up = products[2 * (row - first) + 1];
        if (gate_bias) {
            gate += gate_bias[biases + row];
            up += up_bias[biases + row];
        }
        h[row] = activate(args, gate, up);
    }
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
