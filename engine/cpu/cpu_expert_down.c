/* parts[pair] = down h[pair] + bias with the down matrix inside the expert's slab. */
#include "engine/cpu/cpu_item.h"

struct down_share {
    const struct expert_down_args *args;
    struct cpu_expert_groups groups;
    struct cpu_vectors h;
    enum dtype dtype;
    uint64_t item_rows;
};

static_assert(sizeof(struct down_share) <= CPU_SHARE_CONTEXT_BYTES, "a share's context is small");

static struct cpu_matrix matrix_of(const struct down_share *share, const uint8_t *slab)
{
    const struct expert_down_args *args = share->args;
    return cpu_matrix_of(share->dtype, slab ? slab + args->down_offset : NULL, args->hidden,
                         args->ffn);
}

static uint64_t down_cost(const void *context, uint64_t index)
{
    const struct down_share *share = context;
    struct cpu_expert_group group = cpu_expert_group_at(&share->groups, index);
    struct cpu_matrix matrix = matrix_of(share, group.slab);
    return group.slab ? cpu_item_cost(&matrix, share->item_rows, group.n) : 0;
}

static void write_rows(const struct expert_down_args *args, uint32_t expert, uint32_t pair,
                       uint64_t first, uint64_t end, const float *products)
{
    const float *bias = cpu_pointer(args->bias);
    float *part = (float *)cpu_pointer(args->parts) + (uint64_t)pair * args->hidden;
    for (uint64_t row = first; row < end; row++) {
        part[row] = products[row - first];
        if (bias) {
            part[row] += bias[(uint64_t)expert * args->hidden + row];
        }
    }
}

static void down_item(const struct cpu_level *level, const void *context, uint64_t index,
                      uint64_t block, const struct cpu_item_memory *memory)
{
    const struct down_share *share = context;
    const struct expert_down_args *args = share->args;
    struct cpu_expert_group group = cpu_expert_group_at(&share->groups, index);
    if (!group.slab) {
        return;
    }
    struct cpu_matrix matrix = matrix_of(share, group.slab);
    uint64_t first = block * share->item_rows, end = first + share->item_rows;
    end = end < args->hidden ? end : args->hidden;
    for (uint64_t done = 0; done < group.n; done += CPU_ITEM_VECTORS) {
        const uint8_t *h[CPU_ITEM_VECTORS];
        uint64_t n = group.n - done < CPU_ITEM_VECTORS ? group.n - done : CPU_ITEM_VECTORS;
        for (uint64_t i = 0; i < n; i++) {
            h[i] = share->h.first + cpu_expert_group_pair(&group, done + i) * share->h.stride;
        }
        cpu_item_multiply(level, &matrix, first, end, h, n, memory);
        for (uint64_t i = 0; i < n; i++) {
            write_rows(args, group.expert, cpu_expert_group_pair(&group, done + i), first, end,
                       memory->products + i * (end - first));
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
    struct down_share share = {
        .args = args,
        .groups =
            {
                .slabs = cpu_pointer(args->slabs),
                .ids = cpu_pointer(args->ids),
                .offsets = cpu_pointer(args->offsets),
                .pairs = cpu_pointer(args->pairs),
                .n_experts = args->n_experts,
                .n_pairs = n * args->top_k,
            },
        .dtype = op->dtype,
    };
    struct cpu_matrix matrix = matrix_of(&share, NULL);
    struct cpu_input input = input_of(args, n);
    share.h =
        cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), &input, run->scratch);
    share.item_rows = cpu_item_rows(cpu_matrix_row_bytes(&matrix), n);
    struct cpu_share items = {
        .n_groups = cpu_expert_groups_count(&share.groups),
        .n_blocks = (args->hidden + share.item_rows - 1) / share.item_rows,
        .cost = down_cost,
        .run = down_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_expert_down_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.expert_down, op->max_tokens);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
