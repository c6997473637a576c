/* parts[pair] = down h[pair] + bias with the down matrix inside the expert's slab. */
#include "engine/cpu/cpu_expert_product.h"

static void write_rows(const void *context, uint32_t expert, uint32_t pair, uint64_t first,
                       uint64_t end, float *products)
{
    const struct expert_down_args *args = context;
    const float *bias = cpu_pointer(args->bias);
    float *part = (float *)cpu_pointer(args->parts) + (uint64_t)pair * args->hidden;
    for (uint64_t row = first; row < end; row++) {
        part[row] = products[row - first];
        if (bias) {
            part[row] += bias[(uint64_t)expert * args->hidden + row];
        }
    }
}

static struct cpu_input input_of(const struct expert_down_args *args, uint64_t n)
{
    return (struct cpu_input){.x = cpu_pointer(args->h), .n = n * args->top_k, .cols = args->ffn};
}

void cpu_expert_down(const struct cpu_run *run, const struct op *op)
{
    const struct expert_down_args *args = &op->args.expert_down;
    uint32_t n = cpu_step(op, args->step)->n_tokens;
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
        .slab_offset = args->down_offset,
        .rows = args->hidden,
        .cols = args->ffn,
        .matrix_rows = 1,
        .pairs_per_vector = 1,
        .args = args,
        .write = write_rows,
    };
    struct cpu_input input = input_of(args, n);
    cpu_expert_product_add(run, op, &product, &input, n);
}

uint64_t cpu_expert_down_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.expert_down, op->max_tokens);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
