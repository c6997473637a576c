/* Matrix times many vectors (lib/tile.glsl) by matrices of 16 x 16 that a subgroup multiplies
 * together, f16 times f16 summed in f32 (VK_KHR_cooperative_matrix).
 *
 * 32 columns at a time, weights and packed vectors (lib/packed.glsl) go to shared memory as pairs of
 * f16, row by row and vector by vector. A subgroup makes all 64 rows of one or two strips of 16
 * vectors: subgroups have 32 or 64 invocations, so there are enough. In the end the sums go through
 * shared memory, half of the rows at a time, to the invocations that want them. Weights beyond f16
 * count as the largest. Shared memory: 5 KiB + 212 bytes a vector.
 *
 * The matrices themselves are lib/matrix_subgroup.glsl, or lib/matrix_emulated.glsl, which shows on
 * any device that all the rest is right.
 */
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require

#include "tile_group.glsl"
#include "quant.glsl"
#include "packed.glsl"

/* Pairs from one row or vector to the next: more than there are, so that neighbours lie in other
 * banks. */
#define TILE_STRIDE (TILE_COLUMNS / 2u + 4u)
#define TILE_LARGEST 65504.0
#define TILE_HALF (TILE_ROWS / 2u)
#define TILE_STRIPS 2u

shared f16vec2 tile_weights[TILE_ROWS * TILE_STRIDE];
shared f16vec2 tile_x[TILE_TOKENS * TILE_STRIDE];
shared float tile_products[TILE_TOKENS * TILE_HALF]; /* [vector][row] */
shared float tile_scales[TILE_TOKENS];

#if defined(TILE_EMULATED)
#include "matrix_emulated.glsl"
#else
#include "matrix_subgroup.glsl"
#endif

f16vec2 tile_pair(vec2 two)
{
    return f16vec2(clamp(two, vec2(-TILE_LARGEST), vec2(TILE_LARGEST)));
}

void tile_fetch_weights(words w, uint rows, uint cols, uint first_row, uint first_column)
{
    for (uint item = gl_LocalInvocationIndex; item < TILE_ROWS * TILE_COLUMNS / 8u;
         item += GROUP_SIZE) {
        uint row = item % TILE_ROWS;
        uint column = item / TILE_ROWS * 8u;
        vec4 low = vec4(0.0);
        vec4 high = vec4(0.0);
        if (first_row + row < rows && first_column + column < cols) {
            weights_load8(w, rows, cols, first_row + row, first_column + column, low, high);
        }
        uint pair = row * TILE_STRIDE + column / 2u;
        tile_weights[pair] = tile_pair(low.xy);
        tile_weights[pair + 1u] = tile_pair(low.zw);
        tile_weights[pair + 2u] = tile_pair(high.xy);
        tile_weights[pair + 3u] = tile_pair(high.zw);
    }
}

/* x_unit: where the columns of the packed vector begin, in units of 16 bytes, or NO_VECTOR. */
void tile_fetch_x(f32s x, uint x_unit, uint first_column)
{
    uint vector = tile_fetched_vector();
    for (uint unit = gl_LocalInvocationIndex / TILE_TOKENS; unit < TILE_COLUMNS / 8u;
         unit += GROUP_SIZE / TILE_TOKENS) {
        uvec4 eight = uvec4(0u);
        if (x_unit != NO_VECTOR) {
            eight = words4(uvec2(x)).v[x_unit + first_column / 8u + unit];
        }
        for (uint i = 0u; i < 4u; i++) {
            tile_x[vector * TILE_STRIDE + unit * 4u + i] = unpackFloat2x16(eight[i]);
        }
    }
}

/* The strip-th strip of this subgroup; TILE_TOKENS / 16 or more: it has no such. */
uint tile_strip(uint strip)
{
    return matrix_group() + strip * matrix_groups();
}

/* Sixteen columns, from pair `pair` on. */
void tile_multiply(uint pair, inout MATRIX_SUMS sums[TILE_STRIPS * 4u])
{
    MATRIX_A a[4];
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        MATRIX_LOAD_A(a[i], i * 16u * TILE_STRIDE + pair);
    }
    [[unroll]] for (uint strip = 0u; strip < TILE_STRIPS; strip++) {
        if (tile_strip(strip) < TILE_TOKENS / 16u) {
            MATRIX_B b;
            MATRIX_LOAD_B(b, tile_strip(strip) * 16u * TILE_STRIDE + pair);
            [[unroll]] for (uint i = 0u; i < 4u; i++) {
                MATRIX_MULTIPLY(a[i], b, sums[strip * 4u + i]);
            }
        }
    }
}

/* Half of the rows, for the invocation's four vectors. */
void tile_hand_over(uint upper, MATRIX_SUMS sums[TILE_STRIPS * 4u], out vec4 values[4])
{
    barrier();
    [[unroll]] for (uint strip = 0u; strip < TILE_STRIPS; strip++) {
        if (tile_strip(strip) < TILE_TOKENS / 16u) {
            [[unroll]] for (uint i = 0u; i < 2u; i++) {
                MATRIX_STORE(sums[strip * 4u + upper * 2u + i],
                             tile_strip(strip) * 16u * TILE_HALF + i * 16u);
            }
        }
    }
    barrier();
    for (uint j = 0u; j < 4u; j++) {
        uint first = (tile_vector() + j) * TILE_HALF + tile_row();
        for (uint i = 0u; i < 4u; i++) {
            values[j][i] = tile_products[first + i] * tile_scales[tile_vector() + j];
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    uint x_unit = NO_VECTOR;
    float scale = 0.0;
    if (x_row != NO_VECTOR) {
        uint first = x_row / cols * PACK_FLOAT16_UNITS(cols);
        scale = x.v[first * 4u];
        x_unit = first + 1u;
    }
    if (gl_LocalInvocationIndex < TILE_TOKENS) {
        tile_scales[gl_LocalInvocationIndex] = scale;
    }
    MATRIX_SUMS sums[TILE_STRIPS * 4u];
    [[unroll]] for (uint i = 0u; i < TILE_STRIPS * 4u; i++) {
        MATRIX_ZERO(sums[i]);
    }
    for (uint first_column = 0u; first_column < cols; first_column += TILE_COLUMNS) {
        barrier();
        tile_fetch_weights(w, rows, cols, first_row, first_column);
        tile_fetch_x(x, x_unit, first_column);
        barrier();
        tile_multiply(0u, sums);
        tile_multiply(8u, sums);
    }
    tile_hand_over(0u, sums, low);
    tile_hand_over(1u, sums, high);
}
