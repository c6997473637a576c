/* Matrix times many vectors (lib/tile.glsl) in floats of 16 bits, two at a time.
 *
 * As lib/tile_float32.glsl, but weights and vectors lie in shared memory as pairs of f16,
 * neighbouring columns in a pair, and pairs are multiplied and summed at once. The 16 products that
 * meet in one f16 are the only ones summed there: then they join a float. x is packed
 * (lib/packed.glsl): below 4, so that with weights up to TILE_LARGEST no sum overflows; larger
 * weights count as that. Shared memory: 4 KiB + 68 bytes a vector.
 */
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

#include "tile_group.glsl"
#include "quant.glsl"
#include "packed.glsl"

#define TILE_PAIRS (TILE_COLUMNS / 2u)
#define TILE_LARGEST 1020.0

shared f16vec2 tile_weights[TILE_PAIRS * TILE_ROWS];
shared f16vec2 tile_x[TILE_PAIRS * TILE_TOKENS];
shared float tile_scales[TILE_TOKENS];

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
        uint pair = column / 2u * TILE_ROWS + row;
        tile_weights[pair] = tile_pair(low.xy);
        tile_weights[pair + TILE_ROWS] = tile_pair(low.zw);
        tile_weights[pair + 2u * TILE_ROWS] = tile_pair(high.xy);
        tile_weights[pair + 3u * TILE_ROWS] = tile_pair(high.zw);
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
            tile_x[(unit * 4u + i) * TILE_TOKENS + vector] = unpackFloat2x16(eight[i]);
        }
    }
}

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
    for (uint j = 0u; j < 4u; j++) {
        low[j] = vec4(0.0);
        high[j] = vec4(0.0);
    }
    for (uint first_column = 0u; first_column < cols; first_column += TILE_COLUMNS) {
        barrier();
        tile_fetch_weights(w, rows, cols, first_row, first_column);
        tile_fetch_x(x, x_unit, first_column);
        barrier();
        f16vec2 sums[4][8];
        for (uint j = 0u; j < 4u; j++) {
            for (uint i = 0u; i < 8u; i++) {
                sums[j][i] = f16vec2(0.0);
            }
        }
        for (uint pair = 0u; pair < TILE_PAIRS; pair++) {
            tile_multiply(pair, sums);
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
    for (uint j = 0u; j < 4u; j++) {
        low[j] *= tile_scales[tile_vector() + j];
        high[j] *= tile_scales[tile_vector() + j];
    }
}
