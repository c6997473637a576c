/* Picks the reader of the weights' type by -DDTYPE_<NAME>: one file of quants/ a type, found by
 * weight_readers.glsl, which meson.build makes out of its list of types.
 *
 * The planes of a type are described in format/dtype.h; each file repeats its own. A reader has two
 * ways in, both equal to the plain C decode:
 *
 *   weights_load8(w, rows, cols, row, column, low, high)
 *       eight neighbouring weights of a row, column a multiple of 8 below cols; 0 past the row.
 *       For tiles and for whole rows.
 *
 *   PIECE_FOURS, piece_column(piece, i), weights_piece(w, rows, cols, row, piece, fours)
 *       The pieces of a row are what one invocation unpacks at once with the fewest and widest
 *       loads: PIECE_FOURS times four weights, the i-th four from column piece_column(piece, i) on.
 *       Pieces 0 .. pieces_of(cols) - 1 hold every column once. For products with one vector.
 *
 *   CODES_SCALES, CODES_LARGEST, codes_column(piece, eight), weights_piece_codes(w, rows, cols, row,
 *   piece, codes, scales)
 *       Block types only: 32 columns as codes, four times eight neighbours from column
 *       codes_column(piece, eight) on; the eights share the scales evenly, in order. Codes are 0 ..
 *       CODES_LARGEST, or int8 where that is CODES_INT8. Pieces 0 .. cols / 32 - 1 hold every column
 *       once. For one vector and for products of integers. Neighbouring pieces share CODES_SPAN
 *       columns: 32, 64 or 128 columns are 1, 2 or 4 pieces, which begin at different eights or fours
 *       of its first columns. WEIGHTS_SCALE_COLUMNS neighbours, 16 or 32, have the same scale.
 *
 *   CODES_CENTER, CODES_FARTHEST
 *       Of those types where scale.y = -CODES_CENTER scale.x: and how far codes are from there.
 *
 *   codes_shared_load(w, rows, cols, row, block), weights_piece_codes_shared(w, rows, cols, row,
 *   piece, shared_by, codes, scales)
 *       Types of blocks of 256 (CODES_SHARED): the same for one who has loaded what all eight pieces
 *       of block piece / 8 share.
 *
 *   CODES_SCALE_BITS, codes_scales_unit(rows, cols, row), weights_piece_codes_scaled(w, rows, cols,
 *   row, piece, bits, codes, scales)
 *       Types where every piece has a scale of 8 or 16 bits in a plane of its own: where the scales
 *       of a row begin, in units of 16 bytes, and the same for one who has loaded these bits.
 *
 * w is the address of the matrix [rows, cols]; row < rows. Readers load by load8 and load16, in units
 * of 8 and 16 bytes: lib/load_words.glsl, unless a kernel has included lib/load_int64.glsl before
 * (LOAD_INT64).
 */
#ifndef LOAD_INT64
#include "load_words.glsl"
#endif

#define CODES_INT8 128u

/* What the pieces of a block of 256 share. */
struct codes_shared {
    uvec4 scales;
    uint super;
};

#include "weight_readers.glsl"

uint pieces_of(uint cols)
{
    return (cols + 4u * PIECE_FOURS - 1u) / (4u * PIECE_FOURS);
}
