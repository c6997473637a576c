/* Fetches the weights and the packed vectors (lib/packed.glsl) of a tile, 32 columns at a time, to
 * shared memory as pairs of f16, neighbouring columns in a pair. The file of the tier says first
 *
 *   TILE_PLACE(pair, row, n)   where a pair of a row lies, or of a vector, of which there are n
 *   TILE_PLACES(n)             pairs that n rows or vectors take
 *   TILE_LARGEST               weights beyond it count as it
 */
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

#include "tile_fetch.glsl"
#include "packed.glsl"

#define TILE_PAIRS (TILE_COLUMNS / 2u)

shared f16vec2 tile_weights[TILE_PLACES(TILE_ROWS)];
shared f16vec2 tile_x[TILE_PLACES(TILE_TOKENS)];
shared float tile_scales[TILE_TOKENS];

void tile_keep_weights(uint row, uint column, vec4 low, vec4 high)
{
    vec2 pairs[4] = vec2[4](low.xy, low.zw, high.xy, high.zw);
    for (uint i = 0u; i < 4u; i++) {
        tile_weights[TILE_PLACE(column / 2u + i, row, TILE_ROWS)] =
            f16vec2(clamp(pairs[i], vec2(-TILE_LARGEST), vec2(TILE_LARGEST)));
    }
}

/* Keeps the scale of this invocation's vector; returns where its columns begin, in units of 16
 * bytes, or NO_VECTOR. */
uint tile_begin_x(f32s x, uint x_row, uint cols)
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
    return x_unit;
}

/* x_unit: what tile_begin_x returned. */
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
            tile_x[TILE_PLACE(unit * 4u + i, vector, TILE_TOKENS)] = unpackFloat2x16(eight[i]);
        }
    }
}
