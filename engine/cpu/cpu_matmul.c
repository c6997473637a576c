/* y[t] = W x[t] + bias: every weight row against every token. */
#include "engine/cpu/cpu_internal.h"

void cpu_matmul(const struct cpu_run *run, const struct op *op)
{
    const struct matmul_args *args = &op->args.matmul;
    uint64_t n = args->one_row ? 1 : cpu_step(op, args->step)->n_tokens;
    struct cpu_matrix matrix =
        cpu_matrix_of(op->dtype, cpu_pointer(args->weight), args->rows, args->cols);
    matrix.bias = cpu_pointer(args->bias);
    const struct cpu_dot *dot = cpu_dot_of(run->level, op->dtype);
    struct cpu_vectors x = cpu_prepare(run, dot, cpu_pointer(args->x), n, args->cols, run->scratch);
    cpu_matrix_vectors(run, &matrix, dot, x, n, cpu_pointer(args->y));
}

uint64_t cpu_matmul_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct matmul_args *args = &op->args.matmul;
    uint64_t n = args->one_row ? 1 : op->max_tokens;
    return cpu_prepared_bytes(cpu_dot_of(level, op->dtype), n, args->cols);
}
