/* parts[pair] = down h[pair] + bias with the down matrix inside the expert's slab. */
#include "engine/cpu/cpu_internal.h"

struct down_context {
    const struct expert_down_args *args;
    const struct cpu_dot *dot;
    enum dtype dtype;
    struct cpu_vectors h;
};

static void down_rows(const void *context, const struct cpu_expert_task *task)
{
    const struct down_context *down = context;
    const struct expert_down_args *args = down->args;
    struct cpu_matrix matrix =
        cpu_matrix_of(down->dtype, task->slab + args->down_offset, args->hidden, args->ffn);
    const uint8_t *h = down->h.first + task->pair * down->h.stride;
    const float *bias = cpu_pointer(args->bias);
    float *part = (float *)cpu_pointer(args->parts) + (uint64_t)task->pair * args->hidden;
    for (uint64_t row = task->first_row; row < task->end_row; row++) {
        const uint8_t *planes[DTYPE_MAX_PLANES];
        cpu_matrix_row(&matrix, row, planes);
        part[row] = down->dot->dot(planes, h, args->ffn);
        if (bias) {
            part[row] += bias[(uint64_t)task->expert * args->hidden + row];
        }
    }
}

void cpu_expert_down(const struct cpu_run *run, const struct op *op)
{
    const struct expert_down_args *args = &op->args.expert_down;
    uint64_t n_pairs = (uint64_t)cpu_step(op, args->step)->n_tokens * args->top_k;
    struct down_context context = {args, cpu_dot_of(run->level, op->dtype), op->dtype, {0}};
    context.h =
        cpu_prepare(run, context.dot, cpu_pointer(args->h), n_pairs, args->ffn, run->scratch);
    struct cpu_expert_loop loop = {
        .slabs = cpu_pointer(args->slabs),
        .ids = cpu_pointer(args->ids),
        .offsets = cpu_pointer(args->offsets),
        .pairs = cpu_pointer(args->pairs),
        .n_experts = args->n_experts,
        .n_pairs = n_pairs,
        .rows = args->hidden,
        .fn = down_rows,
        .context = &context,
    };
    cpu_expert_for(run, &loop);
}

uint64_t cpu_expert_down_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct expert_down_args *args = &op->args.expert_down;
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), (uint64_t)op->max_tokens * args->top_k,
                              args->ffn);
}
