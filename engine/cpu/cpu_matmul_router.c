/* logits = W norm(x) + bias of one token, and the choice that is made of them: by whoever has done
 * the last of the rows.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "engine/cpu/cpu_item.h"

/* Of the scratch memory; the input follows. */
#define COUNTER_BYTES 64

struct matmul_router_share {
    const struct matmul_router_args *args;
    struct cpu_matrix matrix;
    struct cpu_vectors x;
    atomic_uint *arrived; /* blocks of rows that are done */
    uint64_t item_rows, n_blocks;
};

static_assert(sizeof(struct matmul_router_share) <= CPU_SHARE_CONTEXT_BYTES,
              "a share's context is small");

static uint64_t matmul_router_cost(const void *context, uint64_t group)
{
    const struct matmul_router_share *share = context;
    return cpu_item_cost(&share->matrix, share->item_rows, 1);
}

static void matmul_router_item(const struct cpu_level *level, const void *context, uint64_t group,
                               uint64_t block, const struct cpu_item_memory *memory)
{
    const struct matmul_router_share *share = context;
    const struct matmul_router_args *args = share->args;
    const float *bias = cpu_pointer(args->bias);
    float *logits = cpu_pointer(args->logits);
    uint64_t first = block * share->item_rows, end = first + share->item_rows;
    end = end < share->matrix.rows ? end : share->matrix.rows;
    cpu_item_multiply(level, &share->matrix, first, end, &share->x.first, 1, memory);
    for (uint64_t row = first; row < end; row++) {
        logits[row] = memory->products[row - first] + (bias ? bias[row] : 0);
    }
    /* Acquire and release: the last one sees what the others have written. */
    if (atomic_fetch_add(share->arrived, 1) + 1 == share->n_blocks) {
        cpu_router_choose(&args->rule, cpu_pointer(args->correction), logits,
                          cpu_pointer(args->ids), cpu_pointer(args->weights));
    }
}

static struct cpu_input input_of(const struct matmul_router_args *args)
{
    return (struct cpu_input){
        .x = cpu_pointer(args->x),
        .norm = cpu_pointer(args->norm),
        .epsilon = args->epsilon,
        .n = 1,
        .cols = args->cols,
    };
}

void cpu_matmul_router(const struct cpu_run *run, const struct op *op)
{
    const struct matmul_router_args *args = &op->args.matmul_router;
    const struct cpu_input input = input_of(args);
    struct matmul_router_share share = {
        .args = args,
        .matrix =
            cpu_matrix_of(op->dtype, cpu_pointer(args->weight), args->rule.n_experts, args->cols),
        .arrived = (atomic_uint *)(void *)run->scratch,
    };
    assert(cpu_step(op, args->step)->n_tokens == 1);
    op_assert_router(&args->rule);
    atomic_init(share.arrived, 0);
    share.x = cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), &input,
                                run->scratch + COUNTER_BYTES);
    share.item_rows = cpu_item_rows(cpu_matrix_row_bytes(&share.matrix), 1);
    share.n_blocks = (args->rule.n_experts + share.item_rows - 1) / share.item_rows;
    struct cpu_share items = {
        .n_groups = 1,
        .n_blocks = share.n_blocks,
        .cost = matmul_router_cost,
        .run = matmul_router_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_matmul_router_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.matmul_router);
    return COUNTER_BYTES + cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
