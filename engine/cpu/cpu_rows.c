/* Products of weight rows with rows of activations: by tiles where they are many, else dot product
 * by dot product.
 */
#include "engine/cpu/cpu_rows.h"

#include "engine/cpu/cpu_internal.h"
#include "engine/cpu/cpu_tile.h"

static const struct cpu_tile *tile_of(const struct cpu_level *level, enum dtype dtype)
{
    return &level->tiles[cpu_dot_of(level, dtype) - level->dots];
}

/* Where there are fewer rows than a tile has, more vectors have to make up for that. */
static bool tile_pays(const struct cpu_tile *tile, uint64_t rows, uint32_t n)
{
    uint64_t used = rows < tile->rows ? rows : tile->rows;
    return tile->multiply && n >= tile->from && n * used >= (uint64_t)tile->from * tile->rows;
}

void cpu_rows_multiply(const struct cpu_level *level, const struct cpu_matrix *matrix,
                       uint64_t first, uint64_t end, const uint8_t *const *x, float *const *y,
                       uint32_t n, void *scratch)
{
    const struct cpu_tile *tile = tile_of(level, matrix->type->dtype);
    assert(first <= end && end <= matrix->rows);
    if (tile_pays(tile, end - first, n)) {
        tile->multiply(&(struct cpu_tile_call){matrix, first, end, x, y, n, scratch});
        return;
    }
    const struct cpu_dot *dot = cpu_dot_of(level, matrix->type->dtype);
    const uint8_t *planes[DTYPE_MAX_PLANES];
    if (dot->dot_rows) {
        cpu_matrix_row(matrix, first, planes);
        for (uint32_t p = matrix->type->n_planes; p < DTYPE_MAX_PLANES; p++) {
            planes[p] = planes[0]; /* with a stride of 0 */
        }
        for (uint32_t i = 0; i < n; i++) {
            dot->dot_rows(planes, matrix->strides, end - first, x[i], matrix->cols, y[i]);
        }
        return;
    }
    for (uint64_t row = first; row < end; row++) {
        cpu_matrix_row(matrix, row, planes);
        for (uint32_t i = 0; i < n; i++) {
            y[i][row - first] = dot->dot(planes, x[i], matrix->cols);
        }
    }
}

uint64_t cpu_rows_scratch(const struct cpu_level *level, enum dtype dtype, uint64_t cols)
{
    return tile_of(level, dtype)->scratch_bytes;
}
