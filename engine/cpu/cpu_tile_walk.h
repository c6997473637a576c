/* The loops around a tile: rows, panels of columns, and passes of a few vectors each, for the
 * vectors that the including file defines (cpu_tile_unpack.h).
 */
#pragma once

#include "engine/cpu/cpu_internal.h"
#include "engine/cpu/cpu_tile.h"

#define TILE_VECTORS 2

/* Where rows begin, for each plane. Rows behind the last one repeat it. */
struct tile_rows {
    const uint8_t *planes[DTYPE_MAX_PLANES][TILE_LANES];
};

/* What one pass multiplies: columns [column, column + n_columns) of the tile's rows, with as many
 * vectors as the function called is for. */
struct tile_pass {
    const void *tile;
    uint64_t column, n_columns;
    uint64_t cols; /* of the matrix */
    const uint8_t *const *x;
    float *const *y; /* the products go to y[i] + row, or are added there if column > 0 */
    uint64_t row, n_rows;
};

/* One way of multiplying. */
struct tile_kind {
    /* Columns [column, column + n) of some rows into vector v of the tile. */
    void (*unpack)(const struct tile_rows *rows, uint64_t column, uint64_t n, void *tile,
                   uint32_t v);
    uint64_t panel; /* columns of a tile */
    uint32_t max_vectors;
    void (*const *passes)(const struct tile_pass *pass); /* for 1 to max_vectors vectors */
};

static inline struct tile_rows tile_rows_of(const struct cpu_matrix *matrix, uint64_t first,
                                            uint64_t end)
{
    struct tile_rows rows;
    for (uint64_t r = 0; r < TILE_LANES; r++) {
        uint64_t row = first + r < end ? first + r : end - 1;
        for (uint32_t p = 0; p < matrix->type->n_planes; p++) {
            rows.planes[p][r] = matrix->planes[p] + row * matrix->strides[p];
        }
    }
    return rows;
}

/* All vectors with the tile, in passes of about the same number. */
static inline void tile_multiply(struct tile_pass *pass, const struct tile_kind *kind,
                                 const struct cpu_tile_call *call)
{
    uint32_t n_passes = (call->n + kind->max_vectors - 1) / kind->max_vectors;
    uint32_t done = 0;
    for (; n_passes > 0; n_passes--) {
        uint32_t n = (call->n - done + n_passes - 1) / n_passes;
        pass->x = call->x + done;
        pass->y = call->y + done;
        kind->passes[n - 1](pass);
        done += n;
    }
}

static inline void tile_walk(const struct cpu_tile_call *call, const struct tile_kind *kind)
{
    uint64_t cols = call->matrix->cols;
    for (uint64_t row = call->first; row < call->end; row += TILE_VECTORS * TILE_LANES) {
        struct tile_rows rows[TILE_VECTORS];
        struct tile_pass pass = {
            .tile = call->scratch,
            .cols = cols,
            .row = row - call->first,
            .n_rows = call->end - row,
        };
        /* What is in the second vector does not matter if its rows are missing. */
        uint32_t n_vectors = pass.n_rows > TILE_LANES ? TILE_VECTORS : 1;
        for (uint32_t v = 0; v < n_vectors; v++) {
            rows[v] = tile_rows_of(call->matrix, row + v * TILE_LANES, call->end);
        }
        for (uint64_t column = 0; column < cols; column += kind->panel) {
            pass.column = column;
            pass.n_columns = cols - column < kind->panel ? cols - column : kind->panel;
            for (uint32_t v = 0; v < n_vectors; v++) {
                kind->unpack(rows + v, column, pass.n_columns, call->scratch, v);
            }
            tile_multiply(&pass, kind, call);
        }
    }
}

/* The sums of vector v of the tile's rows with activations i. */
static inline void tile_put(const struct tile_pass *pass, tile_floats sums, int i, uint64_t v)
{
    uint64_t row = v * TILE_LANES;
    if (pass->n_rows > row) {
        tile_store(sums, pass->y[i] + pass->row + row, pass->n_rows - row, pass->column > 0);
    }
}
