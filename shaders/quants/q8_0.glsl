/* q8_0, blocks of 32: plane 0 int8 quants[32], plane 1 f16 d; y = d q. A piece is half a block. */
#include "../lib/unpack.glsl"

#define PIECE_FOURS 4u
#define WEIGHTS_SCALE_COLUMNS 32u
#define CODES_SCALES 1u
#define CODES_SPAN 32u
#define CODES_LARGEST CODES_INT8
#define CODES_SCALE_BITS 16u

uint piece_column(uint piece, uint i)
{
    return piece * 16u + i * 4u;
}

uint codes_scales_unit(uint rows, uint cols, uint row)
{
    uint blocks = cols >> 5;
    return rows * plane_stride16(blocks, 32u) + row * plane_stride16(blocks, 2u);
}

float block_scale(words w, uint rows, uint cols, uint row, uint block)
{
    return unpack_half(w, codes_scales_unit(rows, cols, row) * 4u, block);
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    uvec4 quants = load16(w, row * (cols >> 4) + piece);
    float d = block_scale(w, rows, cols, row, piece >> 1);
    fours[0] = d * unpack_s8x4(quants.x);
    fours[1] = d * unpack_s8x4(quants.y);
    fours[2] = d * unpack_s8x4(quants.z);
    fours[3] = d * unpack_s8x4(quants.w);
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uvec2 quants = load8(w, row * (cols >> 3) + (column >> 3));
    float d = block_scale(w, rows, cols, row, column >> 5);
    low = d * unpack_s8x4(quants.x);
    high = d * unpack_s8x4(quants.y);
}

uint codes_column(uint piece, uint eight)
{
    return piece * 32u + eight * 8u;
}

void weights_piece_codes_scaled(words w, uint rows, uint cols, uint row, uint piece, uint bits,
                                out uvec2 codes[4], out vec2 scales[4])
{
    uint unit = row * (cols >> 4) + piece * 2u;
    uvec4 first = load16(w, unit);
    uvec4 second = load16(w, unit + 1u);
    codes[0] = first.xy;
    codes[1] = first.zw;
    codes[2] = second.xy;
    codes[3] = second.zw;
    scales[0] = vec2(unpackHalf2x16(bits).x, 0.0);
}

void weights_piece_codes(words w, uint rows, uint cols, uint row, uint piece, out uvec2 codes[4],
                         out vec2 scales[4])
{
    weights_piece_codes_scaled(w, rows, cols, row, piece, 0u, codes, scales);
    scales[0].x = block_scale(w, rows, cols, row, piece);
}
