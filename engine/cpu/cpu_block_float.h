/* Products of rows of float types with vectors: dot products of a few rows with a few vectors at a
 * time, so that what is loaded serves several, and all sums stay in registers. The including file
 * defines
 *
 *     BLOCK_VECTORS, block_floats           how many vectors at a time; a vector of floats
 *     load_<type>(w), load_<type>_last(w, n)    as floats; the first n, zeros behind them
 *     sum_lanes(a, b, c, d)                 the sum of the lanes of each
 *     BLOCK_LIST(X, type)                   X(type, n) for n of 1 to BLOCK_VECTORS
 */
#pragma once

#include <immintrin.h>

#include "engine/cpu/cpu_internal.h"
#include "engine/cpu/cpu_tile.h"

#define BLOCK_ROWS 4
#define BLOCK_LANES (sizeof(block_floats) / sizeof(float))

/* Columns at a time where there are many vectors: those of a block stay in the L1 cache while rows
 * pass; and so many rows, which stay in the L2 cache while vectors pass. */
#define PANEL_COLUMNS 1024
#define PANEL_ROWS 128

/* Columns [k, end) of rows of weights and vectors. */
struct block {
    const uint8_t *rows[BLOCK_ROWS];
    const float *x[BLOCK_VECTORS];
    float *y[BLOCK_VECTORS]; /* the products go here, or are added if k > 0 */
    uint64_t k, end;
    uint64_t n_rows; /* whose products are wanted; the rows behind repeat the first */
};

typedef void (*const *block_functions)(const struct block *block);

static inline void block_multiply(const struct cpu_tile_call *call, struct block *block,
                                  uint64_t row, uint64_t end, uint32_t first, uint32_t n,
                                  block_functions multiply)
{
    for (uint32_t i = 0; i < n; i++) {
        block->x[i] = (const float *)(const void *)call->x[first + i];
    }
    for (; row < end; row += BLOCK_ROWS) {
        block->n_rows = end - row < BLOCK_ROWS ? end - row : BLOCK_ROWS;
        for (uint64_t r = 0; r < BLOCK_ROWS; r++) {
            uint64_t at = r < block->n_rows ? row + r : row;
            block->rows[r] = call->matrix->planes[0] + at * call->matrix->strides[0];
        }
        for (uint32_t i = 0; i < n; i++) {
            block->y[i] = call->y[first + i] + (row - call->first);
        }
        multiply[n - 1](block);
    }
}

/* multiply[n - 1] is for n vectors. */
static inline void block_walk(const struct cpu_tile_call *call, block_functions multiply)
{
    bool many = call->n > BLOCK_VECTORS;
    uint64_t cols = call->matrix->cols, panel = many ? PANEL_COLUMNS : cols;
    uint64_t end;
    for (uint64_t row = call->first; row < call->end; row = end) {
        end = many && call->end - row > PANEL_ROWS ? row + PANEL_ROWS : call->end;
        for (uint64_t k = 0; k < cols; k += panel) {
            struct block block = {.k = k, .end = cols - k < panel ? cols : k + panel};
            uint32_t n_blocks = (call->n + BLOCK_VECTORS - 1) / BLOCK_VECTORS;
            for (uint32_t done = 0, n; done < call->n; done += n, n_blocks--) {
                n = (call->n - done + n_blocks - 1) / n_blocks; /* about the same number each */
                block_multiply(call, &block, row, end, done, n, multiply);
            }
        }
    }
}

static inline void block_store(const struct block *block, int i, __m128 products)
{
    float *y = block->y[i];
    if (block->n_rows == BLOCK_ROWS) {
        _mm_storeu_ps(y, block->k > 0 ? _mm_add_ps(products, _mm_loadu_ps(y)) : products);
        return;
    }
    for (uint64_t r = 0; r < block->n_rows; r++) {
        y[r] = block->k > 0 ? y[r] + products[r] : products[r];
    }
}

#define BLOCK_STEP(load_w, load_x) \
    do { \
        for (int r = 0; r < BLOCK_ROWS; r++) { \
            w[r] = load_w; \
        } \
        for (int i = 0; i < n; i++) { \
            block_floats x = load_x; \
            for (int r = 0; r < BLOCK_ROWS; r++) { \
                sums[r][i] += w[r] * x; \
            } \
        } \
    } while (0)

#define BLOCK_TYPE(type, bytes) \
    static inline __attribute__((always_inline)) void multiply_##type(const struct block *block, \
                                                                      const int n) \
    { \
        block_floats sums[BLOCK_ROWS][BLOCK_VECTORS], w[BLOCK_ROWS]; \
        for (int i = 0; i < n; i++) { \
            sums[0][i] = sums[1][i] = sums[2][i] = sums[3][i] = (block_floats){0}; \
        } \
        uint64_t k = block->k; \
        for (; k + BLOCK_LANES <= block->end; k += BLOCK_LANES) { \
            BLOCK_STEP(load_##type(block->rows[r] + k * bytes), \
                       load_f32((const uint8_t *)(block->x[i] + k))); \
        } \
        if (k < block->end) { \
            uint64_t last = block->end - k; \
            BLOCK_STEP(load_##type##_last(block->rows[r] + k * bytes, last), \
                       load_f32_last((const uint8_t *)(block->x[i] + k), last)); \
        } \
        for (int i = 0; i < n; i++) { \
            block_store(block, i, sum_lanes(sums[0][i], sums[1][i], sums[2][i], sums[3][i])); \
        } \
    } \
    BLOCK_LIST(BLOCK_FUNCTION, type) \
    static void (*const multiply_some_##type[BLOCK_VECTORS])(const struct block *block) = { \
        BLOCK_LIST(BLOCK_ENTRY, type)};
#define BLOCK_FUNCTION(type, n) \
    static void multiply_##type##_##n(const struct block *block) \
    { \
        multiply_##type(block, n); \
    }
#define BLOCK_ENTRY(type, n) multiply_##type##_##n,
