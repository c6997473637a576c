/* y[t][h] = W_h x[t][h]: every weight row against the vector of its head, for every token. */
#include "engine/cpu/cpu_internal.h"

struct head_matmul_loop {
    const struct head_matmul_args *args;
    struct cpu_matrix matrix;
    const struct cpu_dot *dot;
    struct cpu_vectors x; /* one for each head of each token */
    uint64_t n;
};

static void head_matmul_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct head_matmul_loop *loop = context;
    const struct head_matmul_args *args = loop->args;
    for (uint64_t t = 0; t < loop->n; t++) {
        float *y = (float *)cpu_pointer(args->y) + t * loop->matrix.rows;
        for (uint64_t row = begin; row < end; row++) {
            const uint8_t *planes[DTYPE_MAX_PLANES];
            uint64_t vector = t * args->heads + row / args->rows;
            cpu_matrix_row(&loop->matrix, row, planes);
            y[row] = loop->dot->dot(planes, loop->x.first + vector * loop->x.stride, args->cols);
        }
    }
}

void cpu_head_matmul(const struct cpu_run *run, const struct op *op)
{
    const struct head_matmul_args *args = &op->args.head_matmul;
    uint64_t rows = (uint64_t)args->heads * args->rows;
    struct head_matmul_loop loop = {
        .args = args,
        .matrix = cpu_matrix_of(op->dtype, cpu_pointer(args->weight), rows, args->cols),
        .dot = cpu_dot_of(run->level, op->dtype),
        .n = cpu_step(op, args->step)->n_tokens,
    };
    loop.x = cpu_prepare(run, loop.dot, cpu_pointer(args->x), loop.n * args->heads, args->cols,
                         run->scratch);
    thread_pool_for(run->pool, rows, CPU_ROWS_PER_TASK, head_matmul_range, &loop);
}

uint64_t cpu_head_matmul_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct head_matmul_args *args = &op->args.head_matmul;
    uint64_t vectors = (uint64_t)op->max_tokens * args->heads;
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), vectors, args->cols);
}
