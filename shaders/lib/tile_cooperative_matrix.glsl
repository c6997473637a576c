/* Matrix times many vectors (lib/tile.glsl) by matrices that a subgroup multiplies together, f16
 * times f16 summed in f32 (VK_KHR_cooperative_matrix).
 *
 * 64 columns at a time, weights and packed vectors go to shared memory (lib/tile_fetch_float16.glsl),
 * row by row and vector by vector. A matrix A is MATRIX_M rows of MATRIX_K columns, a matrix B
 * MATRIX_K columns of MATRIX_N vectors: what the device has. The subgroups share the tile out:
 * MATRIX_DOWN of them its rows, MATRIX_ACROSS its vectors; there may be more subgroups, which only
 * fetch. In the end the sums go through shared memory, a quarter of the rows at a time, to the
 * invocations that want them.
 *
 * All of these are powers of two; M and N are at most 16, K at most 32, and as many rows and
 * vectors fall to a subgroup as its matrices have at least. Shared memory: 9 KiB + 212 bytes a vector,
 * more than the floor has.
 *
 * The matrices themselves are lib/matrix_subgroup.glsl, or lib/matrix_emulated.glsl, which shows on
 * any device that all the rest is right.
 */
#extension GL_EXT_control_flow_attributes : require

#define TILE_LARGEST 65504.0

#include "tile_fetch_float16.glsl"

/* Units of eight columns from one row or vector to the next: one more than there are, so that
 * neighbours lie in other banks. */
#define TILE_STRIDE (STEP_EIGHTS + 1u)

shared uvec4 tile_weights[TILE_ROWS * TILE_STRIDE];
shared uvec4 tile_x[TILE_TOKENS * TILE_STRIDE];
shared float tile_scales[TILE_TOKENS];

void tile_keep_weights(uint row, uint eight, f16vec2 pairs[4])
{
    tile_weights[row * TILE_STRIDE + eight] =
        uvec4(packFloat2x16(pairs[0]), packFloat2x16(pairs[1]), packFloat2x16(pairs[2]),
              packFloat2x16(pairs[3]));
}

void tile_keep_x(uint vector, uint eight, uvec4 pairs)
{
    tile_x[vector * TILE_STRIDE + eight] = pairs;
}

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

/* MATRIX_K columns, from eight `eight` on. */
void tile_multiply(uint eight, inout MATRIX_SUMS sums[TILE_SUMS])
{
    MATRIX_A a[TILE_BLOCKS];
    [[unroll]] for (uint block = 0u; block < TILE_BLOCKS; block++) {
        MATRIX_LOAD_A(a[block], tile_block_row(block) * TILE_STRIDE + eight);
    }
    [[unroll]] for (uint strip = 0u; strip < TILE_STRIPS; strip++) {
        MATRIX_B b;
        MATRIX_LOAD_B(b, tile_strip_vector(strip) * TILE_STRIDE + eight);
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
    float scale;
    uvec2 columns = tile_begin_x(x, x_row, cols, scale);
    if (gl_LocalInvocationIndex < TILE_TOKENS) {
        tile_scales[gl_LocalInvocationIndex] = scale;
    }
    MATRIX_SUMS sums[TILE_SUMS];
    [[unroll]] for (uint i = 0u; i < TILE_SUMS; i++) {
        MATRIX_ZERO(sums[i]);
    }
    uint steps = steps_of(cols);
    for (uint step = 0u; step < steps; step++) {
        barrier();
        tile_fetch(w, rows, cols, first_row, columns, step);
        barrier();
        if (tile_takes_part()) {
            [[unroll]] for (uint eight = 0u; eight < STEP_EIGHTS; eight += MATRIX_K / 8u) {
                tile_multiply(eight, sums);
            }
        }
    }
    tile_hand_over(0u, sums, low);
    tile_hand_over(1u, sums, low);
    tile_hand_over(2u, sums, high);
    tile_hand_over(3u, sums, high);
}
