/* Matrix times many vectors (lib/tile.glsl) as dot products of four int8 at a time.
 *
 * 32 columns at a time, the codes of the weights and the packed vectors (lib/packed.glsl) go to
 * shared memory as [four columns][row] and [four columns][vector], beside their scales. Weights that
 * share a scale, 16 or 32 columns, are multiplied and summed as integers, then become a float:
 *
 *     sum of (s code + m) (t q) = s t (sum of code q) + m (sum of t q)
 *
 * x is rounded to int8, 32 columns to a scale; the weights are as they are. Shared memory: 3 KiB +
 * 48 bytes a vector.
 */
#extension GL_EXT_spirv_intrinsics : require

#include "tile_group.glsl"
#include "quant.glsl"
#include "packed.glsl"

/* OpSDotKHR of two words, PackedVectorFormat4x8Bit (0); capabilities DotProduct and
 * DotProductInput4x8BitPacked: the language has no word for it (SPV_KHR_integer_dot_product). */
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018],
                  id = 4450) int tile_dot4(int a, int b, spirv_literal int packed_format);

#define TILE_FOURS (TILE_COLUMNS / 4u)
#define TILE_SCALES (TILE_COLUMNS / WEIGHTS_SCALE_COLUMNS)

shared int tile_codes[TILE_FOURS * TILE_ROWS];
shared vec2 tile_scales[TILE_SCALES * TILE_ROWS];
shared int tile_x[TILE_FOURS * TILE_TOKENS];
shared vec4 tile_x_scales[TILE_TOKENS];

void tile_fetch_weights(words w, uint rows, uint cols, uint first_row, uint first_column)
{
    for (uint item = gl_LocalInvocationIndex; item < TILE_ROWS * TILE_COLUMNS / 8u;
         item += GROUP_SIZE) {
        uint row = item % TILE_ROWS;
        uint column = item / TILE_ROWS * 8u;
        uvec2 codes = uvec2(0u);
        vec2 scale = vec2(0.0);
        if (first_row + row < rows && first_column + column < cols) {
            weights_codes8(w, rows, cols, first_row + row, first_column + column, codes, scale);
        }
        tile_codes[column / 4u * TILE_ROWS + row] = int(codes.x);
        tile_codes[(column / 4u + 1u) * TILE_ROWS + row] = int(codes.y);
        if (column % WEIGHTS_SCALE_COLUMNS == 0u) {
            tile_scales[column / WEIGHTS_SCALE_COLUMNS * TILE_ROWS + row] = scale;
        }
    }
}

/* x_unit: where the 32 columns of the packed vector begin, in units of 16 bytes, or NO_VECTOR. */
void tile_fetch_x(f32s x, uint x_unit)
{
    uint vector = tile_fetched_vector();
    uint unit = gl_LocalInvocationIndex / TILE_TOKENS; /* 0 or 1 */
    uvec4 codes = uvec4(0u);
    vec4 scales = vec4(0.0);
    if (x_unit != NO_VECTOR) {
        codes = words4(uvec2(x)).v[x_unit + unit];
        scales = uintBitsToFloat(words4(uvec2(x)).v[x_unit + 2u]);
    }
    for (uint i = 0u; i < 4u; i++) {
        tile_x[(unit * 4u + i) * TILE_TOKENS + vector] = int(codes[i]);
    }
    if (unit == 0u) {
        tile_x_scales[vector] = scales;
    }
}

/* The four columns: sums[j][i] += row i times vector j. */
void tile_multiply(uint four, inout int sums[4][8])
{
    uint a = four * TILE_ROWS + tile_row();
    uint b = four * TILE_TOKENS + tile_vector();
    int rows[8];
    for (uint i = 0u; i < 4u; i++) {
        rows[i] = tile_codes[a + i];
        rows[4u + i] = tile_codes[a + 32u + i];
    }
    for (uint j = 0u; j < 4u; j++) {
        int vector = tile_x[b + j];
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] += tile_dot4(rows[i], vector, 0);
        }
    }
}

/* The columns of a scale. */
void tile_multiply_scale(uint number, inout vec4 low[4], inout vec4 high[4])
{
    int sums[4][8];
    for (uint j = 0u; j < 4u; j++) {
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] = 0;
        }
    }
    for (uint four = 0u; four < WEIGHTS_SCALE_COLUMNS / 4u; four++) {
        tile_multiply(number * (WEIGHTS_SCALE_COLUMNS / 4u) + four, sums);
    }
    for (uint i = 0u; i < 4u; i++) {
        vec2 first = tile_scales[number * TILE_ROWS + tile_row() + i];
        vec2 second = tile_scales[number * TILE_ROWS + tile_row() + 32u + i];
        for (uint j = 0u; j < 4u; j++) {
            vec4 x = tile_x_scales[tile_vector() + j];
            float x_sum = TILE_SCALES == 1u ? x.w : number == 0u ? x.y : x.z;
            low[j][i] += x.x * first.x * float(sums[j][i]) + first.y * x_sum;
            high[j][i] += x.x * second.x * float(sums[j][4u + i]) + second.y * x_sum;
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    uint x_unit = NO_VECTOR;
    if (x_row != NO_VECTOR) {
        x_unit = x_row / cols * PACK_INT8_UNITS(cols);
    }
    for (uint j = 0u; j < 4u; j++) {
        low[j] = vec4(0.0);
        high[j] = vec4(0.0);
    }
    for (uint first_column = 0u; first_column < cols; first_column += TILE_COLUMNS) {
        barrier();
        tile_fetch_weights(w, rows, cols, first_row, first_column);
        tile_fetch_x(x, x_unit);
        barrier();
        for (uint number = 0u; number < TILE_SCALES; number++) {
            tile_multiply_scale(number, low, high);
        }
        x_unit += x_unit == NO_VECTOR ? 0u : 3u;
    }
}
