/* Picks how tiles of a product with many vectors are multiplied, by -DTILE_<TIER>: one file a tier
 * of devices, and lib/tile_float32.glsl where no tier is asked for. Each has the same ways in, for
 * the kernels that use them; what they must do is told here.
 *
 *   GROUP_SIZE, TILE_TOKENS, TILE_ROWS
 *       invocations of the work-group, and vectors and rows of its tile: GROUP_SIZE = 2
 *       TILE_TOKENS; TILE_TOKENS is 16, 32 or 64; TILE_ROWS is 64.
 *
 *   tile_fetched_vector()
 *       the vector of the tile whose place this invocation must know.
 *
 *   tile_product(w, rows, cols, first_row, x, x_row, low, high)
 *       low[j] = rows tile_row() ... + 3 of w's rows from first_row on times vector tile_vector() +
 *       j. high[j] = the same, TILE_HIGH_ROW rows and TILE_HIGH_VECTOR vectors further. x_row: index
 *       in x of f32 where vector tile_fetched_vector() begins, a multiple of cols, or NO_VECTOR.
 *       Every invocation must call.
 *
 * Where a tier wants x in another format than f32 (lib/packed.glsl), args.x is the address of x in
 * that format; x_row still counts as if it were f32.
 */
#if defined(TILE_COOPERATIVE_MATRIX)
#include "tile_cooperative_matrix.glsl"
#elif defined(TILE_FLOAT16)
#include "tile_float16.glsl"
#elif defined(TILE_INTEGER_DOT)
#include "tile_integer_dot.glsl"
#elif defined(TILE_SOFTWARE_INT8)
#include "tile_software_int8.glsl"
#elif defined(TILE_SOFTWARE)
#include "tile_software.glsl"
#else
#include "tile_float32.glsl"
#endif
