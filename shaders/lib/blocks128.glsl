/* Types of blocks of 256 in two halves of 128 elements: element 32 k + l of a half, k = 0..3, takes
 * bits of byte l, so that a byte serves four elements 32 apart. 16 neighbours share a scale.
 *
 * A piece is eight l of a half with all four k: 32 elements out of units of 8 bytes.
 *
 * A type defines struct eight_bytes, what a piece is made of, includes this file and defines the
 * functions declared first.
 */

eight_bytes eight_load(words w, uint rows, uint cols, uint row, uint piece);

/* The i-th four, of two, of the eight elements with this k. */
vec4 eight_four(eight_bytes e, uint k, uint i);

/* The codes of this four, a byte each, and what makes weights of them: x code + y. */
uint eight_codes(eight_bytes e, uint k, uint i);
vec2 eight_scale_of(eight_bytes e, uint k);

/* Of the scales of a half, a byte for every 16 elements, those that a piece needs: k = 0 and 1 in
 * the halves of the first word, 2 and 3 in those of the second. */
uvec2 eight_scales(uvec2 scales, uint piece)
{
    return scales >> (piece >> 1 & 1u) * 8u & 0x00FF00FFu;
}
uint eight_scale(uvec2 scales, uint k)
{
    return (k < 2u ? scales.x : scales.y) >> (k & 1u) * 16u & 255u;
}

#define PIECE_FOURS 8u
#define WEIGHTS_SCALE_COLUMNS 16u

uint piece_column(uint piece, uint i)
{
    return (piece >> 2) * 128u + (i >> 1) * 32u + (piece & 3u) * 8u + (i & 1u) * 4u;
}

void weights_piece(words w, uint rows, uint cols, uint row, uint piece, out vec4 fours[PIECE_FOURS])
{
    eight_bytes e = eight_load(w, rows, cols, row, piece);
    for (uint i = 0u; i < PIECE_FOURS; i++) {
        fours[i] = eight_four(e, i >> 1, i & 1u);
    }
}

void weights_load8(words w, uint rows, uint cols, uint row, uint column, out vec4 low,
                   out vec4 high)
{
    eight_bytes e = eight_load(w, rows, cols, row, (column >> 7) * 4u + (column >> 3 & 3u));
    uint k = column >> 5 & 3u;
    low = eight_four(e, k, 0u);
    high = eight_four(e, k, 1u);
}

#define CODES_SCALES 4u
#define CODES_SPAN 128u

uint codes_column(uint piece, uint eight)
{
    return (piece >> 2) * 128u + eight * 32u + (piece & 3u) * 8u;
}

#define CODES_SHARED

/* What a block has for all its pieces; and eight_load without it. */
codes_shared codes_shared_load(words w, uint rows, uint cols, uint row, uint block);
eight_bytes eight_load_shared(words w, uint rows, uint cols, uint row, uint piece,
                              codes_shared shared_by);

void weights_piece_codes_shared(words w, uint rows, uint cols, uint row, uint piece,
                                codes_shared shared_by, out uvec2 codes[4], out vec2 scales[4])
{
    eight_bytes e = eight_load_shared(w, rows, cols, row, piece, shared_by);
    codes[0] = uvec2(eight_codes(e, 0u, 0u), eight_codes(e, 0u, 1u));
    codes[1] = uvec2(eight_codes(e, 1u, 0u), eight_codes(e, 1u, 1u));
    codes[2] = uvec2(eight_codes(e, 2u, 0u), eight_codes(e, 2u, 1u));
    codes[3] = uvec2(eight_codes(e, 3u, 0u), eight_codes(e, 3u, 1u));
    scales[0] = eight_scale_of(e, 0u);
    scales[1] = eight_scale_of(e, 1u);
    scales[2] = eight_scale_of(e, 2u);
    scales[3] = eight_scale_of(e, 3u);
}

void weights_piece_codes(words w, uint rows, uint cols, uint row, uint piece, out uvec2 codes[4],
                         out vec2 scales[4])
{
    weights_piece_codes_shared(w, rows, cols, row, piece,
                               codes_shared_load(w, rows, cols, row, piece >> 3), codes, scales);
}
