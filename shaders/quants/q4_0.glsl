/* q4_0, blocks of 32: plane 0 nibbles[16], plane 1 f16 d; y = d (n - 8). */
#include "../lib/unpack.glsl"

struct block_head {
    float d;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST 15u
#define CODES_CENTER 8u
#define CODES_FARTHEST 8u

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    uint plane1 = rows * blocks + row * plane_stride16(blocks, 2u);
    return block_head(unpack_half(w, plane1 * 4u, block));
}

vec4 block_four(block_head head, uint codes, uint i)
{
    return head.d * (unpack_u8x4(codes) - 8.0);
}

uint block_codes(block_head head, uint codes, uint i)
{
    return codes;
}

vec2 block_scale(block_head head)
{
    return vec2(1.0, -8.0) * head.d;
}
