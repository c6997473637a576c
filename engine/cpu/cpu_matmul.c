/* y[t] = W norm(x[t]) + bias + residual[t]: every weight row against every token. */
#include "engine/cpu/cpu_item.h"

struct matmul_share {
    struct cpu_matrix matrix;
    struct cpu_vectors x;
    const float *bias, *residual; /* or NULL */
    float *y;
    uint64_t n, item_rows;
};

static_assert(sizeof(struct matmul_share) <= CPU_SHARE_CONTEXT_BYTES, "a share's context is small");

static struct cpu_input input_of(const struct matmul_args *args, uint64_t n)
{
    return (struct cpu_input){
        .x = cpu_pointer(args->x),
        .norm = cpu_pointer(args->norm),
        .epsilon = args->epsilon,
        .n = n,
        .cols = args->cols,
    };
}

static uint64_t matmul_cost(const void *context, uint64_t group)
{
    const struct matmul_share *share = context;
    return cpu_item_cost(&share->matrix, share->item_rows, share->n);
}

/* Rows [first, end) of y[t] from their products. */
static void write_rows(const struct matmul_share *share, uint64_t t, uint64_t first, uint64_t end,
                       const float *products)
{
    uint64_t row_0 = t * share->matrix.rows;
    for (uint64_t row = first; row < end; row++) {
        float product = products[row - first];
        product += share->bias ? share->bias[row] : 0;
        product += share->residual ? share->residual[row_0 + row] : 0;
        share->y[row_0 + row] = product;
    }
}

static void matmul_item(const struct cpu_level *level, const void *context, uint64_t group,
                        uint64_t block, const struct cpu_item_memory *memory)
{
    const struct matmul_share *share = context;
    uint64_t first = block * share->item_rows, end = first + share->item_rows;
    end = end < share->matrix.rows ? end : share->matrix.rows;
    for (uint64_t t = 0; t < share->n; t += CPU_ITEM_VECTORS) {
        const uint8_t *x[CPU_ITEM_VECTORS];
        uint64_t n = share->n - t < CPU_ITEM_VECTORS ? share->n - t : CPU_ITEM_VECTORS;
        for (uint64_t i = 0; i < n; i++) {
            x[i] = share->x.first + (t + i) * share->x.stride;
        }
        cpu_item_multiply(level, &share->matrix, first, end, x, n, memory);
        for (uint64_t i = 0; i < n; i++) {
            write_rows(share, t + i, first, end, memory->products + i * (end - first));
        }
    }
}

void cpu_matmul(const struct cpu_run *run, const struct op *op)
{
    const struct matmul_args *args = &op->args.matmul;
    struct matmul_share share = {
        .matrix = cpu_matrix_of(op->dtype, cpu_pointer(args->weight), args->rows, args->cols),
        .bias = cpu_pointer(args->bias),
        .residual = cpu_pointer(args->residual),
        .y = cpu_pointer(args->y),
        .n = args->one_row ? 1 : cpu_step(op, args->step)->n_tokens,
    };
    struct cpu_input input = input_of(args, share.n);
    share.x =
        cpu_phase_prepare(run->phase, cpu_dot_of(run->level, op->dtype), &input, run->scratch);
    share.item_rows = cpu_item_rows(cpu_matrix_row_bytes(&share.matrix), share.n);
    struct cpu_share items = {
        .n_groups = 1,
        .n_blocks = (args->rows + share.item_rows - 1) / share.item_rows,
        .cost = matmul_cost,
        .run = matmul_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_matmul_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct matmul_args *args = &op->args.matmul;
    uint64_t n = args->one_row ? 1 : op->max_tokens;
    struct cpu_input input = input_of(args, n);
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), &input);
}
