/* q5_0, blocks of 32: plane 0 nibbles[16], plane 1 fifth bits[4], plane 2 f16 d; y = d (n - 16).
 * Bit i of the 32 is element i's. */
#include "../lib/unpack.glsl"

struct block_head {
    uint fifth_bits;
    float d;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST 31u
#define CODES_CENTER 16u
#define CODES_FARTHEST 16u

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    uint stride1 = plane_stride16(blocks, 4u);
    uint plane1 = rows * blocks + row * stride1;
    uint plane2 = rows * (blocks + stride1) + row * plane_stride16(blocks, 2u);
    return block_head(w.v[plane1 * 4u + block], unpack_half(w, plane2 * 4u, block));
}

vec4 block_four(block_head head, uint codes, uint i)
{
    return head.d * (unpack_u8x4(codes | bit_bytes(head.fifth_bits >> i * 4u) << 4) - 16.0);
}

uint block_codes(block_head head, uint codes, uint i)
{
    return codes | bit_bytes(head.fifth_bits >> i * 4u) << 4;
}

vec2 block_scale(block_head head)
{
    return vec2(1.0, -16.0) * head.d;
}
