/* Picks how tiles of a product with many vectors are multiplied, by -DTILE_<TIER>: one file a tier
 * of devices, and lib/tile_float32.glsl where no tier is asked for. Each has the same ways in, for
 * the kernels that use them; what they must do is told here.
 *
 *   GROUP_SIZE, TILE_TOKENS, TILE_ROWS
 *       invocations of the work-group, and vectors and rows of its tile: TILE_TOKENS is 16, 32 or
 *       64; TILE_ROWS is 64 and GROUP_SIZE = 2 TILE_TOKENS (software_int8: 128, and TILE_TOKENS).
 *
 *   tile_fetched_vector()
 *       the vector of the tile whose place this invocation must know.
 *
 *   tile_multiply(w, rows, cols, first_row, x, x_row)
 *       multiplies rows first_row ... of w with the vectors of the tile, and calls the kernel's
 *       tile_store for every vector and every four rows. x_row: index in x of f32 where vector
 *       tile_fetched_vector() begins, a multiple of cols, or NO_VECTOR. Every invocation must call.
 *
 * The kernel defines two functions, which are called with rows counted from the tile's first, a
 * multiple of four, and past the matrix, too:
 *
 *   tile_bias(row)
 *       what is added to four rows from `row` on.
 *
 *   tile_store(vector, row, four)
 *       takes these four of vector number `vector` of the tile, missing vectors as well.
 *
 * Where a tier wants x in another format than f32 (lib/packed.glsl), args.x is the address of x in
 * that format; x_row still counts as if it were f32.
 */

vec4 tile_bias(uint row);
void tile_store(uint vector, uint row, vec4 four);

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

#ifndef TILE_STORES
/* Tiers where an invocation has a few rows and vectors: tile_product(w, rows, cols, first_row, x, x_row,
 * low, high) makes low[j] = rows tile_row() ... + 3 of w's rows from first_row on times vector
 * tile_vector() + j, and high[j] = the same, TILE_HIGH_ROW rows and TILE_HIGH_VECTOR vectors
 * further. */
void tile_multiply(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row)
{
    vec4 low[4];
    vec4 high[4];
    tile_product(w, rows, cols, first_row, x, x_row, low, high);
    uint row = tile_row();
    vec4 low_bias = tile_bias(row);
    vec4 high_bias = tile_bias(row + TILE_HIGH_ROW);
    for (uint j = 0u; j < 4u; j++) {
        uint vector = tile_vector() + j;
        tile_store(vector, row, low[j] + low_bias);
        tile_store(vector + TILE_HIGH_VECTOR, row + TILE_HIGH_ROW, high[j] + high_bias);
    }
}
#endif
