/* mxfp4, blocks of 32: plane 0 nibbles[16], plane 1 e8m0 e; y = 2^(e - 128) value(n), where value
 * is twice that of the 4-bit float (OCP Microscaling Formats 1.0: 1 sign, 2 exponent, 1 mantissa
 * bit): 0 1 2 3 4 6 8 12 and the same negative. */
#include "../lib/unpack.glsl"

/* The powers of two from 2^-128 to 2^127 are more than normal floats hold, and devices may take
 * subnormal ones for zero: the scale is a product of two. */
struct block_head {
    float scale0, scale1;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST 44u
#define CODES_CENTER 32u
#define CODES_FARTHEST 12u

float power_of_two(int exponent)
{
    return uintBitsToFloat(uint(exponent + 127) << 23);
}

#define CODES_SCALE_BITS 8u

uint codes_scales_unit(uint rows, uint cols, uint row)
{
    uint blocks = cols >> 5;
    return rows * blocks + row * plane_stride16(blocks, 1u);
}

block_head head_of(uint e)
{
    int exponent = int(e) - 128;
    int part = exponent >> 1;
    return block_head(power_of_two(part), power_of_two(exponent - part));
}

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    return head_of(unpack_byte(w, codes_scales_unit(rows, cols, row) * 4u, block));
}

/* 32 + value of four codes at once, a byte each. The magnitude of the low three bits is n, and
 * above 4 more: n + 0, 1, 2, 5 by the low two bits; the bytes stay below 64, so none carries. */
uint offset_values(uint codes)
{
    uint above = codes >> 2 & 0x01010101u;
    uint more = codes & (above | above << 1);
    uint magnitudes = (codes & 0x07070707u) + more + ((more & more >> 1 & 0x01010101u) << 1);
    uint negative = codes >> 3 & 0x01010101u;
    /* 63 - (32 + m) + 1 = 32 - m */
    return ((magnitudes | 0x20202020u) ^ ((negative << 6) - negative)) + negative;
}

vec4 block_four(block_head head, uint codes, uint i)
{
    vec4 values = unpack_u8x4(offset_values(codes));
    return (values * head.scale0 - 32.0 * head.scale0) * head.scale1;
}

uint block_codes(block_head head, uint codes, uint i)
{
    return offset_values(codes);
}

vec2 block_scale(block_head head)
{
    return vec2(1.0, -32.0) * head.scale0 * head.scale1;
}

void weights_piece_codes_scaled(words w, uint rows, uint cols, uint row, uint piece, uint bits,
                                out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes_of(head_of(bits), w, cols, row, piece, codes, scales);
}
