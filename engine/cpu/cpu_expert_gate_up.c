/* h[pair] = silu(gate x) * (up x) with the gate/up matrix at the start of the expert's slab. */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

struct gate_up_context {
    const struct expert_gate_up_args *args;
    const struct cpu_dot *dot;
    enum dtype dtype;
    struct cpu_vectors x;
};

static float silu(float x)
{
    return x / (1 + expf(-x));
}

static void gate_up_rows(const void *context, const struct cpu_expert_task *task)
{
    const struct gate_up_context *gate_up = context;
    const struct expert_gate_up_args *args = gate_up->args;
    struct cpu_matrix matrix =
        cpu_matrix_of(gate_up->dtype, task->slab, 2 * (uint64_t)args->ffn, args->hidden);
    const uint8_t *x = gate_up->x.first + task->pair / args->top_k * gate_up->x.stride;
    float *h = (float *)cpu_pointer(args->h) + (uint64_t)task->pair * args->ffn;
    for (uint64_t row = task->first_row; row < task->end_row; row++) {
        const uint8_t *planes[DTYPE_MAX_PLANES];
        cpu_matrix_row(&matrix, 2 * row, planes);
        float gate = gate_up->dot->dot(planes, x, args->hidden);
        cpu_matrix_row(&matrix, 2 * row + 1, planes);
        float up = gate_up->dot->dot(planes, x, args->hidden);
        h[row] = silu(gate) * up;
    }
}

void cpu_expert_gate_up(const struct cpu_run *run, const struct op *op)
{
    const struct expert_gate_up_args *args = &op->args.expert_gate_up;
    uint64_t n = cpu_step(op, args->step)->n_tokens;
    assert(args->activation == ACTIVATION_SILU);
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
