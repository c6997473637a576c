/* iq4_nl, blocks of 32: plane 0 nibbles[16], plane 1 f16 d; y = d value(n). */
#include "../lib/unpack.glsl"
#include "../lib/iq4_values.glsl"

struct block_head {
    float d;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST CODES_INT8

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    uint plane1 = rows * blocks + row * plane_stride16(blocks, 2u);
    return block_head(unpack_half(w, plane1 * 4u, block));
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
