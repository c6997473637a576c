/* iq4_nl, blocks of 32: plane 0 nibbles[16], plane 1 f16 d; y = d value(n). */
#include "../lib/unpack.glsl"
#include "../lib/iq4_values.glsl"

struct block_head {
    float d;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST CODES_INT8

#define CODES_SCALE_BITS 16u

uint codes_scales_unit(uint rows, uint cols, uint row)
{
    uint blocks = cols >> 5;
    return rows * blocks + row * plane_stride16(blocks, 2u);
}

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    return block_head(unpack_half(w, codes_scales_unit(rows, cols, row) * 4u, block));
}

vec4 block_four(block_head head, uint codes, uint i)
{
    return head.d * iq4_values(codes);
}

uint block_codes(block_head head, uint codes, uint i)
{
    return iq4_bytes(codes);
}

vec2 block_scale(block_head head)
{
    return vec2(head.d, 0.0);
}

void weights_piece_codes_scaled(words w, uint rows, uint cols, uint row, uint piece, uint bits,
                                out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes_of(block_head(unpackHalf2x16(bits).x), w, cols, row, piece, codes, scales);
}
