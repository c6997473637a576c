/* Types whose plane 0 is nibbles[16] of every 32 elements: the low nibbles are elements 0..15, the
 * high ones 16..31. A piece is these 32 elements: one 16-byte unit of nibbles and what belongs to
 * it.
 *
 * A type defines struct block_head, what the 32 elements share (scale, offset, fifth bits),
 * includes this file and defines the functions declared first.
 */

/* What belongs to the block-th 32 elements of a row. */
block_head block_load(words w, uint rows, uint cols, uint row, uint block);

/* The i-th four of the 32 elements; codes are their nibbles, a byte each. */
vec4 block_four(block_head head, uint codes, uint i);

/* These four as int8, and what makes weights of them: x code + y. */
uint block_codes(block_head head, uint codes, uint i);
vec2 block_scale(block_head head);

#define PIECE_FOURS 8u
#define WEIGHTS_SCALE_COLUMNS 32u

uint piece_column(uint piece, uint i)
{
    return piece * 32u + i * 4u;
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    uvec4 nibbles = load16(w, row * (cols >> 5) + piece);
    block_head head = block_load(w, rows, cols, row, piece);
    for (uint i = 0u; i < 4u; i++) {
        fours[i] = block_four(head, nibble_bytes(nibbles[i], 0u), i);
        fours[i + 4u] = block_four(head, nibble_bytes(nibbles[i], 4u), i + 4u);
    }
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    uint block = column >> 5;
    uint eight = column >> 3 & 3u;
    uint shift = (eight >> 1) * 4u;
    uvec2 nibbles = load8(w, (row * (cols >> 5) + block) * 2u + (eight & 1u));
    block_head head = block_load(w, rows, cols, row, block);
    low = block_four(head, nibble_bytes(nibbles.x, shift), eight * 2u);
    high = block_four(head, nibble_bytes(nibbles.y, shift), eight * 2u + 1u);
}

#define CODES_SCALES 1u
#define CODES_SPAN 32u

uint codes_column(uint piece, uint eight)
{
    return piece * 32u + eight * 8u;
}

/* The two fours of eight neighbours. */
uvec2 block_eight_codes(block_head head, uvec2 nibbles, uint shift, uint i)
{
    return uvec2(block_codes(head, nibble_bytes(nibbles.x, shift), i),
                 block_codes(head, nibble_bytes(nibbles.y, shift), i + 1u));
}

void weights_piece_codes_of(block_head head, words w, uint cols, uint row, uint piece,
                            out uvec2 codes[4], out vec2 scales[4])
{
    uvec4 nibbles = load16(w, row * (cols >> 5) + piece);
    codes[0] = block_eight_codes(head, nibbles.xy, 0u, 0u);
    codes[1] = block_eight_codes(head, nibbles.zw, 0u, 2u);
    codes[2] = block_eight_codes(head, nibbles.xy, 4u, 4u);
    codes[3] = block_eight_codes(head, nibbles.zw, 4u, 6u);
    scales[0] = block_scale(head);
}

void weights_piece_codes(words w, uint rows, uint cols, uint row, uint piece, out uvec2 codes[4],
                         out vec2 scales[4])
{
    weights_piece_codes_of(block_load(w, rows, cols, row, piece), w, cols, row, piece, codes, scales);
}
