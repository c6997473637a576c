/* q6_k, blocks of 256 in two halves of 128: plane 0 low nibbles[128], plane 1 high pairs of
 * bits[64], plane 2 int8 scales[16], plane 3 f16 d; y = (d scale) (q - 32).
 * Element 32 k + l of a half takes nibble k / 2 of byte 32 (k % 2) + l of the half's 64 low bytes,
 * bits 2 k of byte l of its 32 high bytes, and scale 2 k + l / 16 of its 8.
 *
 * A piece is eight l of a half with all four k: 32 elements out of three 8-byte units. */
#include "../lib/unpack.glsl"

#define PIECE_FOURS 8u

uint piece_column(uint piece, uint i)
{
    return (piece >> 2) * 128u + (i >> 1) * 32u + (piece & 3u) * 8u + (i & 1u) * 4u;
}

struct q6_k_planes {
    uint low, high;     /* of the row, in units of 8 bytes */
    uint scales, super; /* of the row, in words */
};

q6_k_planes row_planes(uint rows, uint cols, uint row)
{
    uint blocks = cols >> 8;
    uint super_stride = plane_stride16(blocks, 2u);
    q6_k_planes p;
    p.low = row * blocks * 16u;
    p.high = rows * blocks * 16u + row * blocks * 8u;
    p.scales = rows * blocks * 48u + row * blocks * 4u;
    p.super = rows * blocks * 52u + row * super_stride * 4u;
    return p;
}

/* d times the scale of 16 elements that begin at a column. */
float group_scale(words w, q6_k_planes p, uint column)
{
    uint group = column >> 4;
    int scale = bitfieldExtract(int(w.v[p.scales + (group >> 2)]), int(group & 3u) * 8, 8);
    return unpack_half(w, p.super, column >> 8) * float(scale);
}

/* Four 6-bit numbers less 32, from four bytes each of the low and the high plane. */
vec4 unpack_sixes(uint low, uint high, uint k)
{
    uint nibbles = low >> (k >> 1) * 4u & 0x0F0F0F0Fu;
    uint pairs = high >> k * 2u & 0x03030303u;
    return unpack_u8x4(nibbles | pairs << 4) - 32.0;
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    q6_k_planes p = row_planes(rows, cols, row);
    uint half_index = piece >> 2;
    uint l8 = piece & 3u;
    uvec2 even = words2(uvec2(w)).v[p.low + half_index * 8u + l8];
    uvec2 odd = words2(uvec2(w)).v[p.low + half_index * 8u + 4u + l8];
    uvec2 high = words2(uvec2(w)).v[p.high + half_index * 4u + l8];
    for (uint k = 0u; k < 4u; k++) {
        float scale = group_scale(w, p, piece_column(piece, k * 2u));
        uvec2 low = (k & 1u) == 0u ? even : odd;
        fours[k * 2u] = scale * unpack_sixes(low.x, high.x, k);
        fours[k * 2u + 1u] = scale * unpack_sixes(low.y, high.y, k);
    }
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    q6_k_planes p = row_planes(rows, cols, row);
    uint half_index = column >> 7;
    uint k = column >> 5 & 3u;
    uint l8 = column >> 3 & 3u;
    uvec2 nibbles = words2(uvec2(w)).v[p.low + half_index * 8u + (k & 1u) * 4u + l8];
    uvec2 pairs = words2(uvec2(w)).v[p.high + half_index * 4u + l8];
    float scale = group_scale(w, p, column);
    low = scale * unpack_sixes(nibbles.x, pairs.x, k);
    high = scale * unpack_sixes(nibbles.y, pairs.y, k);
}
