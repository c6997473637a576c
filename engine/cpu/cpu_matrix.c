/* Loops over weight rows: where a matrix's rows lie, activations prepared for the dot product, and
 * blocks of rows handed to threads.
 */
#include <stddef.h>

#include "engine/cpu/cpu_internal.h"

struct cpu_matrix cpu_matrix_of(enum dtype dtype, const void *bytes, uint64_t rows, uint64_t cols)
{
    struct cpu_matrix matrix = {.type = dtype_info(dtype), .rows = rows, .cols = cols};
    assert(matrix.type && cols % matrix.type->block_elements == 0);
    for (uint32_t p = 0; p < matrix.type->n_planes; p++) {
        matrix.planes[p] = (const uint8_t *)bytes + dtype_plane_offset(matrix.type, p, rows, cols);
        matrix.strides[p] = dtype_row_stride(matrix.type, p, cols);
    }
    return matrix;
}

uint64_t cpu_prepared_bytes(const struct cpu_dot *dot, uint64_t n, uint64_t cols)
{
    return dot->prepared_bytes ? n * dot->prepared_bytes(cols) : 0;
}

struct prepare_loop {
    const struct cpu_dot *dot;
    const float *x;
    uint64_t cols, stride;
    uint8_t *prepared;
};

static void prepare_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct prepare_loop *loop = context;
    for (uint64_t i = begin; i < end; i++) {
        loop->dot->prepare(loop->x + i * loop->cols, loop->cols, loop->prepared + i * loop->stride);
    }
}

struct cpu_vectors cpu_prepare(const struct cpu_run *run, const struct cpu_dot *dot, const float *x,
                               uint64_t n, uint64_t cols, void *scratch)
{
    if (!dot->prepare) {
        return (struct cpu_vectors){(const uint8_t *)x, cols * sizeof(float)};
    }
    uint64_t stride = dot->prepared_bytes(cols);
    struct prepare_loop loop = {dot, x, cols, stride, scratch};
    thread_pool_for(run->pool, n, 8, prepare_range, &loop);
    return (struct cpu_vectors){scratch, stride};
}

struct matrix_loop {
    const struct cpu_matrix *matrix;
    const struct cpu_dot *dot;
    struct cpu_vectors x;
    uint64_t n;
    float *y;
};

static void matrix_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct matrix_loop *loop = context;
    const struct cpu_matrix *matrix = loop->matrix;
    for (uint64_t t = 0; t < loop->n; t++) {
        const uint8_t *x = loop->x.first + t * loop->x.stride;
        float *y = loop->y + t * matrix->rows;
        for (uint64_t row = begin; row < end; row++) {
            const uint8_t *planes[DTYPE_MAX_PLANES];
            cpu_matrix_row(matrix, row, planes);
            float product = loop->dot->dot(planes, x, matrix->cols);
            y[row] = matrix->bias ? product + matrix->bias[row] : product;
        }
    }
}

void cpu_matrix_vectors(const struct cpu_run *run, const struct cpu_matrix *matrix,
                        const struct cpu_dot *dot, struct cpu_vectors x, uint64_t n, float *y)
{
    struct matrix_loop loop = {matrix, dot, x, n, y};
    thread_pool_for(run->pool, matrix->rows, CPU_ROWS_PER_TASK, matrix_range, &loop);
}
