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

#define CODES_SCALE_BITS 16u

uint codes_scales_unit(uint rows, uint cols, uint row)
{
    uint blocks = cols >> 5;
    return rows * (blocks + plane_stride16(blocks, 4u)) + row * plane_stride16(blocks, 2u);
}

uint fifth_bits_of(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 5;
    return w.v[(rows * blocks + row * plane_stride16(blocks, 4u)) * 4u + block];
}

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    return block_head(fifth_bits_of(w, rows, cols, row, block),
                      unpack_half(w, codes_scales_unit(rows, cols, row) * 4u, block));
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

void weights_piece_codes_scaled(words w, uint rows, uint cols, uint row, uint piece, uint bits,
                                out uvec2 codes[4], out vec2 scales[4])
{
    block_head head =
        block_head(fifth_bits_of(w, rows, cols, row, piece), unpackHalf2x16(bits).x);
    weights_piece_codes_of(head, w, cols, row, piece, codes, scales);
}
