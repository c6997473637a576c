/* Fetches the weights and the packed vectors (lib/packed.glsl) of a tile, a step of columns at a
 * time (lib/tile_step.glsl), as pairs of f16 in the order of packed vectors. The file of the tier
 * keeps them in shared memory; it says first
 *
 *   TILE_LARGEST   of what is kept of weights: scales that exceed it are cut
 *
 * Weights are unpacked in f16, two at a time: codes are exact there, scales are rounded. So that
 * small scales keep their bits, all are multiplied by TILE_UNIT, which the vectors' scales take back.
 */
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

#include "packed.glsl"
#include "tile_step.glsl"

#define TILE_PAIRS (STEP_COLUMNS / 2u)

/* Keeps eight columns of a row, and of a vector. */
void tile_keep_weights(uint row, uint eight, f16vec2 pairs[4]);
void tile_keep_x(uint vector, uint eight, uvec4 pairs);

#ifdef CODES_SCALES

#define TILE_UNIT 8.0

/* The codes in the lower bytes of both halves: on top of 0x6400 a byte is 1024 more, exactly. */
f16vec2 tile_code_pair(uint bytes)
{
    uint bits = bytes & 0x00FF00FFu | 0x64006400u;
    return unpackFloat2x16(bits) - f16vec2(float16_t(1024u + STEP_CENTER));
}

/* Scale and offset, such that no weight exceeds the largest, though they are rounded. */
f16vec2 tile_scale_of(vec2 scale)
{
    float largest = TILE_LARGEST * 0.999;
    vec2 limits = STEP_OFFSETS ? vec2(0.5 * largest / float(STEP_FARTHEST), 0.5 * largest)
                               : vec2(largest / float(STEP_FARTHEST), 0.0);
    return f16vec2(clamp(scale * TILE_UNIT, -limits, limits));
}

void tile_keep_codes(uint row, uint eight, uvec2 codes, f16vec2 scale)
{
    uvec2 bytes = uvec2(step_unsigned(codes.x), step_unsigned(codes.y));
    f16vec2 pairs[4] = f16vec2[4](tile_code_pair(bytes.x), tile_code_pair(bytes.x >> 8),
                                  tile_code_pair(bytes.y), tile_code_pair(bytes.y >> 8));
    for (uint i = 0u; i < 4u; i++) {
        pairs[i] = STEP_OFFSETS ? fma(pairs[i], scale.xx, scale.yy) : pairs[i] * scale.xx;
    }
    tile_keep_weights(row, eight, pairs);
}

void tile_fetch_weights(words w, uint rows, uint cols, uint first_row, uint step)
{
    bool cut = step_is_cut(step, cols);
    for (uint i = 0u; i < STEP_ITEMS; i++) {
        uint row = step_row(i);
        uint second = step_second(i);
        uint piece = step * 2u + second;
        uvec2 codes[4];
        vec2 scales[4];
        weights_piece_codes(w, rows, cols, step_matrix_row(first_row, row, rows),
                            cut ? min(piece, cols / 32u - 1u) : piece, codes, scales);
        f16vec2 halves[CODES_SCALES];
        for (uint k = 0u; k < CODES_SCALES; k++) {
            halves[k] = tile_scale_of(cut && piece >= cols / 32u ? vec2(0.0) : scales[k]);
        }
        for (uint eight = 0u; eight < 4u; eight++) {
            tile_keep_codes(row, step_place(second, eight), codes[eight],
                            halves[eight / STEP_TOGETHER]);
        }
    }
}

#else

#define TILE_UNIT 1.0

f16vec2 tile_pair(vec2 pair)
{
    const f16vec2 largest = f16vec2(float16_t(TILE_LARGEST));
    return clamp(f16vec2(pair), -largest, largest);
}

void tile_fetch_weights(words w, uint rows, uint cols, uint first_row, uint step)
{
    bool cut = step_is_cut(step, cols);
    for (uint i = 0u; i < TILE_ROWS * STEP_EIGHTS / GROUP_SIZE; i++) {
        uint item = gl_LocalInvocationIndex + i * GROUP_SIZE;
        uint row = item % TILE_ROWS;
        uint eight = item / TILE_ROWS;
        uint column = step_column(step, eight);
        bool past = cut && column >= cols;
        vec4 low;
        vec4 high;
        weights_load8(w, rows, cols, step_matrix_row(first_row, row, rows), past ? 0u : column, low,
                      high);
        low = past ? vec4(0.0) : low;
        high = past ? vec4(0.0) : high;
        tile_keep_weights(row, eight,
                          f16vec2[4](tile_pair(low.xz), tile_pair(low.yw), tile_pair(high.xz),
                                     tile_pair(high.yw)));
    }
}

#endif

/* Where the columns of this invocation's vector begin; and by what its products are to be
 * multiplied. */
uvec2 tile_begin_x(f32s x, uint x_row, uint cols, out float scale)
{
    uint first = x_row == NO_VECTOR ? 0u : x_row / cols * PACK_FLOAT16_UNITS(cols);
    scale = x.v[first * 4u] * (1.0 / TILE_UNIT);
    return step_unit(uvec2(x), first + 1u);
}

/* Loads four eights of the vector, for tile_keep_x. */
void tile_load_x(uvec2 columns, uint cols, uint step, out uvec4 eights[4])
{
    bool cut = step_is_cut(step, cols);
    for (uint i = 0u; i < 4u; i++) {
        uint column = step_column(step, step_first_eight() + i);
        bool past = cut && column >= cols;
        eights[i] = words4(step_unit(columns, (past ? 0u : column) / 8u)).v[0];
        eights[i] = past ? uvec4(0u) : eights[i];
    }
}

/* A step of the weights and of the packed vectors. Every invocation must call. */
void tile_fetch(words w, uint rows, uint cols, uint first_row, uvec2 columns, uint step)
{
    uvec4 eights[4];
    tile_load_x(columns, cols, step, eights); /* on the way while weights are loaded and unpacked */
    tile_fetch_weights(w, rows, cols, first_row, step);
    for (uint i = 0u; i < 4u; i++) {
        tile_keep_x(tile_fetched_vector(), step_first_eight() + i, eights[i]);
    }
}
