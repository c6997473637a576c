/* Matrix times many vectors (lib/tile.glsl) by matrices that a subgroup multiplies together, f16
 * times f16 summed in f32 (VK_KHR_cooperative_matrix).
 *
 * 32 columns at a time, weights and packed vectors go to shared memory (lib/tile_fetch_float16.glsl),
 * row by row and vector by vector. A matrix A is MATRIX_M rows of MATRIX_K columns, a matrix B
 * MATRIX_K columns of MATRIX_N vectors: what the device has. The subgroups share the tile out:
 * MATRIX_DOWN of them its rows, MATRIX_ACROSS its vectors; there may be more subgroups, which only
 * fetch. In the end the sums go through shared memory, a quarter of the rows at a time, to the
 * invocations that want them. Weights beyond f16 count as the largest.
 *
 * All of these are powers of two; M and N are at most 16, K at most 32, and as many rows and
 * vectors fall to a subgroup as its matrices have at least. Shared memory: 5 KiB + 148 bytes a vector.
 *
 * The matrices themselves are lib/matrix_subgroup.glsl, or lib/matrix_emulated.glsl, which shows on
 * any device that all the rest is right.
 */
#extension GL_EXT_control_flow_attributes : require

/* Pairs from one row or vector to the next: more than there are, so that neighbours lie in other
 * banks. */
#define TILE_STRIDE (TILE_COLUMNS / 2u + 4u)
#define TILE_PLACE(pair, row, n) ((row) * TILE_STRIDE + (pair))
#define TILE_PLACES(n) ((n) * TILE_STRIDE)
#define TILE_LARGEST 65504.0

#include "tile_fetch_float16.glsl"

#define TILE_PART (TILE_ROWS / 4u)

layout(constant_id = 2) const uint MATRIX_M = 16u;
layout(constant_id = 3) const uint MATRIX_N = 16u;
layout(constant_id = 4) const uint MATRIX_K = 16u;
layout(constant_id = 5) const uint MATRIX_DOWN = 1u;
layout(constant_id = 6) const uint MATRIX_ACROSS = 2u;

shared float tile_products[TILE_TOKENS * TILE_PART]; /* [vector][row] */

#if defined(TILE_EMULATED)
#include "matrix_emulated.glsl"
#else
#include "matrix_subgroup.glsl"
#endif

/* What falls to a subgroup: matrices one below the other, and side by side. */
const uint TILE_BLOCKS = TILE_ROWS / MATRIX_DOWN / MATRIX_M;
const uint TILE_STRIPS = TILE_TOKENS / MATRIX_ACROSS / MATRIX_N;
const uint TILE_SUMS = TILE_BLOCKS * TILE_STRIPS;

bool tile_takes_part()
{
    return matrix_group() < MATRIX_DOWN * MATRIX_ACROSS;
}
/* First row and vector of a matrix of this subgroup. */
uint tile_block_row(uint block)
{
    return (matrix_group() / MATRIX_ACROSS * TILE_BLOCKS + block) * MATRIX_M;
}
uint tile_strip_vector(uint strip)
{
    return (matrix_group() % MATRIX_ACROSS * TILE_STRIPS + strip) * MATRIX_N;
}

/* MATRIX_K columns, from pair `pair` on. */
void tile_multiply(uint pair, inout MATRIX_SUMS sums[TILE_SUMS])
{
    MATRIX_A a[TILE_BLOCKS];
    [[unroll]] for (uint block = 0u; block < TILE_BLOCKS; block++) {
        MATRIX_LOAD_A(a[block], tile_block_row(block) * TILE_STRIDE + pair);
    }
    [[unroll]] for (uint strip = 0u; strip < TILE_STRIPS; strip++) {
        MATRIX_B b;
        MATRIX_LOAD_B(b, tile_strip_vector(strip) * TILE_STRIDE + pair);
        [[unroll]] for (uint block = 0u; block < TILE_BLOCKS; block++) {
            MATRIX_MULTIPLY(a[block], b, sums[strip * TILE_BLOCKS + block]);
        }
    }
}

/* A part of the rows, for the invocations that want them: four of each of their vectors. */
void tile_hand_over(uint part, MATRIX_SUMS sums[TILE_SUMS], inout vec4 values[4])
{
    barrier();
    [[unroll]] for (uint i = 0u; i < TILE_SUMS; i++) {
        uint row = tile_block_row(i % TILE_BLOCKS);
        if (tile_takes_part() && row / TILE_PART == part) {
            MATRIX_STORE(sums[i],
                         tile_strip_vector(i / TILE_BLOCKS) * TILE_PART + row % TILE_PART);
        }
    }
    barrier();
    if (tile_row() / TILE_PART != part % 2u) {
        return;
    }
    for (uint j = 0u; j < 4u; j++) {
        uint first = (tile_vector() + j) * TILE_PART + tile_row() % TILE_PART;
        for (uint i = 0u; i < 4u; i++) {
            values[j][i] = tile_products[first + i] * tile_scales[tile_vector() + j];
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    uint x_unit = tile_begin_x(x, x_row, cols);
    MATRIX_SUMS sums[TILE_SUMS];
    [[unroll]] for (uint i = 0u; i < TILE_SUMS; i++) {
        MATRIX_ZERO(sums[i]);
    }
    for (uint first_column = 0u; first_column < cols; first_column += TILE_COLUMNS) {
        barrier();
        tile_fetch_weights(w, rows, cols, first_row, first_column);
        tile_fetch_x(x, x_unit, first_column);
        barrier();
        if (tile_takes_part()) {
            [[unroll]] for (uint pair = 0u; pair < TILE_PAIRS; pair += MATRIX_K / 2u) {
                tile_multiply(pair, sums);
            }
        }
    }
    tile_hand_over(0u, sums, low);
    tile_hand_over(1u, sums, low);
    tile_hand_over(2u, sums, high);
    tile_hand_over(3u, sums, high);
}
