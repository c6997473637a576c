/* Where the rows of a weight matrix lie. */
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

uint64_t cpu_matrix_row_bytes(const struct cpu_matrix *matrix)
{
    uint64_t bytes = 0;
    for (uint32_t p = 0; p < matrix->type->n_planes; p++) {
        bytes += matrix->strides[p];
    }
    return bytes;
}
