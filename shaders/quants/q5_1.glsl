/* q5_1, blocks of 32: plane 0 nibbles[16], plane 1 fifth bits[4], plane 2 f16 d, f16 m;
 * y = d n + m. Bit i of the 32 is element i's. */
#include "../lib/unpack.glsl"

struct block_head {
    uint fifth_bits;
    vec2 d_m;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST 31u

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    uint stride = plane_stride16(blocks, 4u); /* of both */
    uint plane1 = rows * blocks + row * stride;
    uint plane2 = rows * (blocks + stride) + row * stride;
    return block_head(w.v[plane1 * 4u + block], unpackHalf2x16(w.v[plane2 * 4u + block]));
}

vec4 block_four(block_head head, uint codes, uint i)
{
    return head.d_m.x * unpack_u8x4(codes | bit_bytes(head.fifth_bits >> i * 4u) << 4) + head.d_m.y;
}

uint block_codes(block_head head, uint codes, uint i)
{
    return codes | bit_bytes(head.fifth_bits >> i * 4u) << 4;
}

vec2 block_scale(block_head head)
{
    return head.d_m;
}
