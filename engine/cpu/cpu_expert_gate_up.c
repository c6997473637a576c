/* h[pair] = activation(gate x + gate_bias, up x + up_bias) with the gate/up matrix at the start of
 * the expert's slab. */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

struct gate_up_context {
    const struct expert_gate_up_args *args;
    const struct cpu_dot *dot;
    enum dtype dtype;
    struct cpu_vectors x;
};

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

static void gate_up_rows(const void *context, const struct cpu_expert_task *task)
{
    const struct gate_up_context *gate_up = context;
    const struct expert_gate_up_args *args = gate_up->args;
    struct cpu_matrix matrix =
        cpu_matrix_of(gate_up->dtype, task->slab, 2 * (uint64_t)args->ffn, args->hidden);
    const uint8_t *x = gate_up->x.first + task->pair / args->top_k * gate_up->x.stride;
    const float *gate_bias = cpu_pointer(args->gate_bias);
    const float *up_bias = cpu_pointer(args->up_bias);
    uint64_t bias_stride = ((uint64_t)args->ffn + 3) / 4 * 4; /* rows are padded to 16 bytes */
    uint64_t biases = task->expert * bias_stride;
    float *h = (float *)cpu_pointer(args->h) + (uint64_t)task->pair * args->ffn;
    for (uint64_t row = task->first_row; row < task->end_row; row++) {
        const uint8_t *planes[DTYPE_MAX_PLANES];
        cpu_matrix_row(&matrix, 2 * row, planes);
        float gate = gate_up->dot->dot(planes, x, args->hidden);
        cpu_matrix_row(&matrix, 2 * row + 1, planes);
        float up = gate_up->dot->dot(planes, x, args->hidden);
        if (gate_bias) {
            gate += gate_bias[biases + row];
            up += up_bias[biases + row];
        }
        h[row] = activate(args, gate, up);
    }
}

void cpu_expert_gate_up(const struct cpu_run *run, const struct op *op)
{
    const struct expert_gate_up_args *args = &op->args.expert_gate_up;
    uint64_t n = cpu_step(op, args->step)->n_tokens;
    assert(args->activation == ACTIVATION_SILU || args->activation == ACTIVATION_SWIGLU_CLAMPED);
    assert(!args->gate_bias == !args->up_bias);
    struct gate_up_context context = {args, cpu_dot_of(run->level, op->dtype), op->dtype, {0}};
    context.x = cpu_prepare(run, context.dot, cpu_pointer(args->x), n, args->hidden, run->scratch);
    struct cpu_expert_loop loop = {
        .slabs = cpu_pointer(args->slabs),
        .ids = cpu_pointer(args->ids),
        .offsets = cpu_pointer(args->offsets),
        .pairs = cpu_pointer(args->pairs),
        .n_experts = args->n_experts,
        .n_pairs = n * args->top_k,
        .rows = args->ffn,
        .fn = gate_up_rows,
        .context = &context,
    };
    cpu_expert_for(run, &loop);
}

uint64_t cpu_expert_gate_up_scratch(const struct cpu_level *level, const struct op *op)
{
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), op->max_tokens,
                              op->args.expert_gate_up.hidden);
}
