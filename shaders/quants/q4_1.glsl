/* q4_1, blocks of 32: plane 0 nibbles[16], plane 1 f16 d, f16 m; y = d n + m. */
#include "../lib/unpack.glsl"

struct block_head {
    vec2 d_m;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST 15u

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    uint plane1 = rows * blocks + row * plane_stride16(blocks, 4u);
    return block_head(unpackHalf2x16(w.v[plane1 * 4u + block]));
}

vec4 block_four(block_head head, uint codes, uint i)
{
    return head.d_m.x * unpack_u8x4(codes) + head.d_m.y;
}

uint block_codes(block_head head, uint codes, uint i)
{
    return codes;
}

vec2 block_scale(block_head head)
{
    return head.d_m;
}
