/* h[pair] = activation(gate norm(x) + gate_bias, up norm(x) + up_bias) with the gate/up matrix at
 * the start of the expert's slab. */
#include <math.h>

#include "engine/cpu/cpu_item.h"

struct gate_up_share {
    const struct expert_gate_up_args *args;
    struct cpu_expert_groups groups;
    struct cpu_vectors x;
    enum dtype dtype;
    uint64_t item_rows; /* of h: each is a row of gate and one of up */
};

static_assert(sizeof(struct gate_up_share) <= CPU_SHARE_CONTEXT_BYTES,
              "a share's context is small");

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

static struct cpu_matrix matrix_of(const struct gate_up_share *share, const uint8_t *slab)
{
    return cpu_matrix_of(share->dtype, slab, 2 * (uint64_t)share->args->ffn, share->args->hidden);
}

static uint64_t gate_up_cost(const void *context, uint64_t index)
{
    const struct gate_up_share *share = context;
    struct cpu_expert_group group = cpu_expert_group_at(&share->groups, index);
    struct cpu_matrix matrix = matrix_of(share, group.slab);
    return group.slab ? cpu_item_cost(&matrix, 2 * share->item_rows, group.n) : 0;
}

/* Rows [first, end) of h[pair] from products of gate and up in turn. */
static void write_rows(const struct expert_gate_up_args *args, uint32_t expert, uint32_t pair,
                       uint64_t first, uint64_t end, const float *products)
{
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

static void prefetch_group(const struct gate_up_share *share, uint64_t index)
{
    if (index < cpu_expert_groups_count(&share->groups)) {
        struct cpu_expert_group group = cpu_expert_group_at(&share->groups, index);
        if (group.slab) {
            struct cpu_matrix matrix = matrix_of(share, group.slab);
            cpu_item_prefetch(&matrix, 0);
        }
    }
}

static void gate_up_item(const struct cpu_level *level, const void *context, uint64_t index,
                         uint64_t block, const struct cpu_item_memory *memory)
{
    const struct gate_up_share *share = context;
    const struct expert_gate_up_args *args = share->args;
    struct cpu_expert_group group = cpu_expert_group_at(&share->groups, index);
    if (!group.slab) {
        return;
    }
    struct cpu_matrix matrix = matrix_of(share, group.slab);
    uint64_t first = block * share->item_rows, end = first + share->item_rows;
    if (end >= args->ffn) {
        end = args->ffn;
        prefetch_group(share, index + 1);
    }
    for (uint64_t done = 0; done < group.n; done += CPU_ITEM_VECTORS) {
        const uint8_t *x[CPU_ITEM_VECTORS];
        uint64_t n = group.n - done < CPU_ITEM_VECTORS ? group.n - done : CPU_ITEM_VECTORS;
        for (uint64_t i = 0; i < n; i++) {
            uint32_t pair = cpu_expert_group_pair(&group, done + i);
            x[i] = share->x.first + pair / args->top_k * share->x.stride;
        }
        cpu_item_multiply(level, &matrix, 2 * first, 2 * end, x, n, memory);
        for (uint64_t i = 0; i < n; i++) {
            write_rows(args, group.expert, cpu_expert_group_pair(&group, done + i), first, end,
                       memory->products + i * 2 * (end - first));
        }
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
    struct gate_up_share share = {
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
    share.x =
        cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), &input, run->scratch);
    share.item_rows = cpu_item_rows(2 * cpu_matrix_row_bytes(&matrix), n);
    struct cpu_share items = {
        .n_groups = cpu_expert_groups_count(&share.groups),
        .n_blocks = (args->ffn + share.item_rows - 1) / share.item_rows,
        .cost = gate_up_cost,
        .run = gate_up_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_expert_gate_up_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.expert_gate_up, op->max_tokens);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
