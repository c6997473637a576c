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
 *   WEIGHTS_SCALE_COLUMNS, weights_codes8(w, rows, cols, row, column, codes, scale)
 *       Block types only: the same eight as int8, a byte each, weight = scale.x code + scale.y.
 *       WEIGHTS_SCALE_COLUMNS neighbours, 16 or 32, have the same scale. For products of integers.
 *
 * w is the address of the matrix [rows, cols]; row < rows.
 */
#include "weight_readers.glsl"

uint pieces_of(uint cols)
{
    return (cols + 4u * PIECE_FOURS - 1u) / (4u * PIECE_FOURS);
}
