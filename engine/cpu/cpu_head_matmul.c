/* y[t][h] = W_h x[t][h]: every weight row against the vector of its head, for every token. */
#include "engine/cpu/cpu_item.h"

struct head_matmul_share {
    struct cpu_matrix matrix; /* of all heads */
    struct cpu_vectors x;     /* one for each head of each token */
    float *y;
    uint64_t n, heads, rows, item_rows;
};

static_assert(sizeof(struct head_matmul_share) <= CPU_SHARE_CONTEXT_BYTES,
              "a share's context is small");

static uint64_t head_matmul_cost(const void *context, uint64_t head)
{
    const struct head_matmul_share *share = context;
    return cpu_item_cost(&share->matrix, share->item_rows, share->n);
}

static void head_matmul_item(const struct cpu_level *level, const void *context, uint64_t head,
                             uint64_t block, const struct cpu_item_memory *memory)
{
    const struct head_matmul_share *share = context;
    uint64_t first = block * share->item_rows, end = first + share->item_rows;
    end = end < share->rows ? end : share->rows;
    for (uint64_t t = 0; t < share->n; t += CPU_ITEM_VECTORS) {
        const uint8_t *x[CPU_ITEM_VECTORS];
        uint64_t n = share->n - t < CPU_ITEM_VECTORS ? share->n - t : CPU_ITEM_VECTORS;
        for (uint64_t i = 0; i < n; i++) {
            x[i] = share->x.first + ((t + i) * share->heads + head) * share->x.stride;
        }
        cpu_item_multiply(level, &share->matrix, head * share->rows + first,
                          head * share->rows + end, x, n, memory);
        for (uint64_t i = 0; i < n; i++) {
            float *y = share->y + ((t + i) * share->heads + head) * share->rows;
            for (uint64_t row = first; row < end; row++) {
                y[row] = memory->products[i * (end - first) + row - first];
            }
        }
    }
}

static struct cpu_input input_of(const struct head_matmul_args *args, uint64_t n)
{
    return (struct cpu_input){.x = cpu_pointer(args->x), .n = n * args->heads, .cols = args->cols};
}

void cpu_head_matmul(const struct cpu_run *run, const struct op *op)
{
    const struct head_matmul_args *args = &op->args.head_matmul;
    uint64_t rows = (uint64_t)args->heads * args->rows;
    struct head_matmul_share share = {
        .matrix = cpu_matrix_of(op->dtype, cpu_pointer(args->weight), rows, args->cols),
        .y = cpu_pointer(args->y),
        .n = cpu_step(op, args->step)->n_tokens,
        .heads = args->heads,
        .rows = args->rows,
    };
    struct cpu_input input = input_of(args, share.n);
    share.x =
        cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), &input, run->scratch);
    share.item_rows = cpu_item_rows(cpu_matrix_row_bytes(&share.matrix), share.n);
    struct cpu_share items = {
        .n_groups = args->heads,
        .n_blocks = (args->rows + share.item_rows - 1) / share.item_rows,
        .cost = head_matmul_cost,
        .run = head_matmul_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_head_matmul_scratch(const struct cpu_level *level, const struct op *op)
{
    struct cpu_input input = input_of(&op->args.head_matmul, op->max_tokens);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
