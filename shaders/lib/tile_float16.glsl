/* Matrix times many vectors (lib/tile.glsl) in floats of 16 bits, two at a time.
 *
 * As lib/tile_float32.glsl, but weights and vectors lie in shared memory as pairs of f16, 64
 * columns at a time (lib/tile_fetch_float16.glsl), and pairs are multiplied and summed at once. The
 * 16 products that meet in one f16 are the only ones summed there: then they join a float. Packed
 * vectors are below 1/2, so that with weights up to TILE_LARGEST no sum overflows. Shared memory: 8 KiB + 128 bytes a vector.
 */
#extension GL_EXT_control_flow_attributes : require

#define TILE_LARGEST 8160.0

#include "tile_fetch_float16.glsl"

shared f16vec2 tile_weights[TILE_PAIRS * TILE_ROWS];
shared f16vec2 tile_x[TILE_PAIRS * TILE_TOKENS];

void tile_keep_weights(uint row, uint eight, f16vec2 pairs[4])
{
    for (uint i = 0u; i < 4u; i++) {
        tile_weights[(eight * 4u + i) * TILE_ROWS + row] = pairs[i];
    }
}

void tile_keep_x(uint vector, uint eight, uvec4 pairs)
{
    for (uint i = 0u; i < 4u; i++) {
        tile_x[(eight * 4u + i) * TILE_TOKENS + vector] = unpackFloat2x16(pairs[i]);
    }
}

/* After the last step: every invocation gives its vector's scale, and may ask for those of others. */
void tile_share_scale(float scale)
{
    barrier();
    if (gl_LocalInvocationIndex < TILE_TOKENS) {
        tile_x[gl_LocalInvocationIndex] = unpackFloat2x16(floatBitsToUint(scale));
    }
    barrier();
}
float tile_scale(uint vector)
{
    return uintBitsToFloat(packFloat2x16(tile_x[vector]));
}

#define TILE_SUMMED_PAIRS 16u

/* The pair's rows and vectors: sums[j][i] += row i times vector j. */
void tile_multiply(uint pair, inout f16vec2 sums[4][8])
{
    uint a = pair * TILE_ROWS + tile_row();
    uint b = pair * TILE_TOKENS + tile_vector();
    f16vec2 rows[8];
    for (uint i = 0u; i < 4u; i++) {
        rows[i] = tile_weights[a + i];
        rows[4u + i] = tile_weights[a + 32u + i];
    }
    for (uint j = 0u; j < 4u; j++) {
        f16vec2 vector = tile_x[b + j];
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] = fma(rows[i], vector, sums[j][i]);
        }
    }
}

/* The pairs that are summed in f16, from `first` on. */
void tile_add(uint first, inout vec4 low[4], inout vec4 high[4])
{
    f16vec2 sums[4][8];
    for (uint j = 0u; j < 4u; j++) {
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] = f16vec2(0.0);
        }
    }
    /* Halves that live across rounds of a loop are moved about by compilers (RADV: twice as many
     * instructions as the products take). */
    [[unroll]] for (uint pair = 0u; pair < TILE_SUMMED_PAIRS; pair++) {
        tile_multiply(first + pair, sums);
    }
    for (uint j = 0u; j < 4u; j++) {
        for (uint i = 0u; i < 4u; i++) {
            vec2 first = vec2(sums[j][i]);
            vec2 second = vec2(sums[j][4u + i]);
            low[j][i] += first.x + first.y;
            high[j][i] += second.x + second.y;
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    float scale;
    uvec2 columns = tile_begin_x(x, x_row, cols, scale);
    for (uint j = 0u; j < 4u; j++) {
        low[j] = vec4(0.0);
        high[j] = vec4(0.0);
    }
    uint steps = steps_of(cols);
    for (uint step = 0u; step < steps; step++) {
        barrier();
        tile_fetch(w, rows, cols, first_row, columns, step);
        barrier();
        for (uint pair = 0u; pair < TILE_PAIRS; pair += TILE_SUMMED_PAIRS) {
            tile_add(pair, low, high);
        }
    }
    tile_share_scale(scale);
    for (uint j = 0u; j < 4u; j++) {
        low[j] *= tile_scale(tile_vector() + j);
        high[j] *= tile_scale(tile_vector() + j);
    }
}
