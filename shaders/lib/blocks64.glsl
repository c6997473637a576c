/* Types of blocks of 256 in 8 groups of 32, whose plane 0 is nibbles[128]: groups 2j and 2j + 1
 * share 32 bytes, low nibbles and high nibbles. Every group has a 6-bit scale and a 6-bit minimum;
 * y = (d scale) n - (dmin minimum).
 *
 * A piece is one 16-byte unit of nibbles: 16 elements of a group 2j and the same 16 of 2j + 1.
 *
 * A type includes this file and defines the three functions declared first.
 */

/* f16 d, f16 dmin and the twelve bytes of scales and minima of a block. */
uvec4 block_header(words w, uint rows, uint cols, uint row, uint block);

/* What a block has above its nibbles, a byte for 16 elements from 16 `unit` on, and for 8 elements
 * from 8 `eight` on: bit g is group g's. */
uvec4 fifth_bits16(words w, uint rows, uint cols, uint row, uint block, uint unit);
uvec2 fifth_bits8(words w, uint rows, uint cols, uint row, uint block, uint eight);

#define PIECE_FOURS 8u
#define WEIGHTS_SCALE_COLUMNS 32u

uint piece_column(uint piece, uint i)
{
    return (piece >> 1) * 64u + (i >> 2) * 32u + (piece & 1u) * 16u + (i & 3u) * 4u;
}

/* d times the scales and dmin times the minima of groups g and g + 1 of a block, g even: (scale,
 * scale, minimum, minimum). Those of groups 0..3 are the low 6 bits of bytes 0..3 and 4..7; of
 * groups 4..7 the low and the high nibbles of bytes 8..11, with their upper two bits on top of bytes
 * 0..3 and 4..7. Two bytes at a time, and without branches, which loads would wait behind. */
vec4 group_scale_pair(uvec4 header, uint group)
{
    uvec3 pairs = header.yzw >> (group & 2u) * 8u;
    bool low = group < 4u;
    uint scales = low ? pairs.x & 0x3F3Fu : pairs.z & 0x0F0Fu | pairs.x >> 2 & 0x3030u;
    uint minima = low ? pairs.y & 0x3F3Fu : pairs.z >> 4 & 0x0F0Fu | pairs.y >> 2 & 0x3030u;
    return unpackHalf2x16(header.x).xxyy *
           vec4(scales & 255u, scales >> 8 & 255u, minima & 255u, minima >> 8 & 255u);
}
/* Of one group: scale, minimum. */
vec2 group_scale(uvec4 header, uint group)
{
    vec4 pair = group_scale_pair(header, group);
    return (group & 1u) == 0u ? pair.xz : pair.yw;
}

/* Four elements of a group, a byte each, and what they stand for. */
uint group_codes(uint nibbles, uint fifth_bits, uint group)
{
    uint codes = nibble_bytes(nibbles, (group & 1u) * 4u);
    return codes | (fifth_bits >> group & 0x01010101u) << 4;
}
vec4 group_four(vec2 scale, uint nibbles, uint fifth_bits, uint group)
{
    return scale.x * unpack_u8x4(group_codes(nibbles, fifth_bits, group)) - scale.y;
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    uint block = piece >> 3;
    uint group = piece & 6u;
    uvec4 nibbles = load16(w, row * (cols >> 5) + piece);
    uvec4 fifth_bits = fifth_bits16(w, rows, cols, row, block, piece & 1u);
    uvec4 header = block_header(w, rows, cols, row, block);
    vec4 scales = group_scale_pair(header, group);
    for (uint i = 0u; i < 4u; i++) {
        fours[i] = group_four(scales.xz, nibbles[i], fifth_bits[i], group);
        fours[i + 4u] = group_four(scales.yw, nibbles[i], fifth_bits[i], group + 1u);
    }
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uint block = column >> 8;
    uint group = column >> 5 & 7u;
    uint eight = column >> 3 & 3u;
    uvec2 nibbles = load8(w, row * (cols >> 4) + (column >> 6) * 4u + eight);
    uvec2 fifth_bits = fifth_bits8(w, rows, cols, row, block, eight);
    vec2 scale = group_scale(block_header(w, rows, cols, row, block), group);
    low = group_four(scale, nibbles.x, fifth_bits.x, group);
    high = group_four(scale, nibbles.y, fifth_bits.y, group);
}

#define CODES_SCALES 2u
#define CODES_SPAN 64u

uint codes_column(uint piece, uint eight)
{
    return (piece >> 1) * 64u + (eight >> 1) * 32u + (piece & 1u) * 16u + (eight & 1u) * 8u;
}

/* The two fours of eight neighbours of a group. */
uvec2 group_eight_codes(uvec2 nibbles, uvec2 fifth_bits, uint group)
{
    return uvec2(group_codes(nibbles.x, fifth_bits.x, group),
                 group_codes(nibbles.y, fifth_bits.y, group));
}

#define CODES_SHARED

codes_shared codes_shared_load(words w, uint rows, uint cols, uint row, uint block)
{
    return codes_shared(block_header(w, rows, cols, row, block), 0u);
}

void weights_piece_codes_shared(words w, uint rows, uint cols, uint row, uint piece,
                                codes_shared shared_by, out uvec2 codes[4], out vec2 scales[4])
{
    uint block = piece >> 3;
    uint group = piece & 6u;
    uvec4 nibbles = load16(w, row * (cols >> 5) + piece);
    uvec4 fifth_bits = fifth_bits16(w, rows, cols, row, block, piece & 1u);
    codes[0] = group_eight_codes(nibbles.xy, fifth_bits.xy, group);
    codes[1] = group_eight_codes(nibbles.zw, fifth_bits.zw, group);
    codes[2] = group_eight_codes(nibbles.xy, fifth_bits.xy, group + 1u);
    codes[3] = group_eight_codes(nibbles.zw, fifth_bits.zw, group + 1u);
    vec4 pair = group_scale_pair(shared_by.scales, group);
    scales[0] = vec2(pair.x, -pair.z);
    scales[1] = vec2(pair.y, -pair.w);
}

void weights_piece_codes(words w, uint rows, uint cols, uint row, uint piece, out uvec2 codes[4],
                         out vec2 scales[4])
{
    weights_piece_codes_shared(w, rows, cols, row, piece,
                               codes_shared_load(w, rows, cols, row, piece >> 3), codes, scales);
}
