/* Picks the reader of the weights' type by -DDTYPE_<NAME>: one file of quants/ a type.
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
 * w is the address of the matrix [rows, cols]; row < rows.
 */
#if defined(DTYPE_F32)
#include "../quants/f32.glsl"
#elif defined(DTYPE_F16)
#include "../quants/f16.glsl"
#elif defined(DTYPE_BF16)
#include "../quants/bf16.glsl"
#elif defined(DTYPE_Q4_0)
#include "../quants/q4_0.glsl"
#elif defined(DTYPE_Q8_0)
#include "../quants/q8_0.glsl"
#elif defined(DTYPE_Q4_K)
#include "../quants/q4_k.glsl"
#elif defined(DTYPE_Q6_K)
#include "../quants/q6_k.glsl"
#else
#error "no reader for this type of weights"
#endif

uint pieces_of(uint cols)
{
    return (cols + 4u * PIECE_FOURS - 1u) / (4u * PIECE_FOURS);
}
