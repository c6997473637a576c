/* iq4_xs, blocks of 256 in 8 groups of 32: plane 0 nibbles[16] of each group, plane 1 f16 d,
 * u16 high pairs of bits and bytes[4] of low nibbles of the groups' 6-bit scales;
 * y = (d (scale - 32)) value(n). */
#include "../lib/unpack.glsl"
#include "../lib/iq4_values.glsl"

struct block_head {
    float scale;
};

#include "../lib/blocks32.glsl"

#define CODES_LARGEST CODES_INT8

block_head block_load(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 8;
    uint plane1 = rows * (cols >> 5) + row * plane_stride16(blocks, 8u);
    uvec2 header = load8(w, plane1 * 2u + (block >> 3));
    uint group = block & 7u;
    uint scale = header.y >> group * 4u & 15u | (header.x >> 16 + group * 2u & 3u) << 4;
    return block_head(unpackHalf2x16(header.x).x * (float(scale) - 32.0));
}

vec4 block_four(block_head head, uint codes, uint i)
{
    return head.scale * iq4_values(codes);
}

uint block_codes(block_head head, uint codes, uint i)
{
    return iq4_bytes(codes);
}

vec2 block_scale(block_head head)
{
    return vec2(head.scale, 0.0);
}
