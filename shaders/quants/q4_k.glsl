/* q4_k, blocks of 256 in 8 groups of 32: plane 0 nibbles[128], plane 1 f16 d, f16 dmin and twelve
 * bytes of 6-bit scales and minima; y = (d scale) n - (dmin minimum). Groups 2j and 2j + 1 share 32
 * bytes: low nibbles, high nibbles.
 *
 * A piece is one 16-byte unit: 16 elements of a group 2j and the same 16 of group 2j + 1. */
#include "../lib/unpack.glsl"

#define PIECE_FOURS 8u

uint piece_column(uint piece, uint i)
{
    return (piece >> 1) * 64u + (i >> 2) * 32u + (piece & 1u) * 16u + (i & 3u) * 4u;
}

/* d times the 6-bit scale and dmin times the 6-bit minimum of a group; `header` is the block's unit
 * of plane 1. Scales and minima of groups 0..3 are the low 6 bits of bytes 0..3 and 4..7; of groups
 * 4..7 the low and the high nibbles of bytes 8..11, with their upper two bits on top of bytes 0..3
 * and 4..7. */
vec2 group_scale(uvec4 header, uint group)
{
    uint shift = (group & 3u) * 8u;
    uint scale = header.y >> shift & 255u;
    uint minimum = header.z >> shift & 255u;
    if (group < 4u) {
        scale &= 63u;
        minimum &= 63u;
    } else {
        uint both = header.w >> shift & 255u;
        scale = (both & 15u) | scale >> 6 << 4;
        minimum = both >> 4 | minimum >> 6 << 4;
    }
    return unpackHalf2x16(header.x) * vec2(scale, minimum);
}

uvec4 block_header(words w, uint rows, uint cols, uint row, uint block)
{
    uint blocks = cols >> 8;
    return words4(uvec2(w)).v[(rows * 8u + row) * blocks + block];
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    uvec4 nibbles = words4(uvec2(w)).v[row * (cols >> 5) + piece];
    uvec4 header = block_header(w, rows, cols, row, piece >> 3);
    uint group = piece & 6u;
    vec2 first = group_scale(header, group);
    vec2 second = group_scale(header, group + 1u);
    for (uint i = 0u; i < 4u; i++) {
        fours[i] = first.x * unpack_nibbles(nibbles[i], 0u) - first.y;
        fours[i + 4u] = second.x * unpack_nibbles(nibbles[i], 4u) - second.y;
    }
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uint group = column >> 5; /* of the row */
    uvec2 nibbles = words2(uvec2(w)).v[row * (cols >> 4) + (group >> 1) * 4u + (column >> 3 & 3u)];
    uvec4 header = block_header(w, rows, cols, row, column >> 8);
    vec2 scale = group_scale(header, group & 7u);
    uint shift = (group & 1u) * 4u;
    low = scale.x * unpack_nibbles(nibbles.x, shift) - scale.y;
    high = scale.x * unpack_nibbles(nibbles.y, shift) - scale.y;
}
