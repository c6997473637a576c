/* Fetches the weights of a tile, 32 columns at a time, as floats. How they are kept in shared memory
 * is told by the file of the tier, which defines tile_keep_weights. */
#include "tile_group.glsl"
#include "quant.glsl"

/* Keeps eight neighbouring columns, `column` the first, a multiple of 8, of a row of the tile. */
void tile_keep_weights(uint row, uint column, vec4 low, vec4 high);

/* Every invocation must call. Edges are filled with zeros. */
void tile_fetch_weights(words w, uint rows, uint cols, uint first_row, uint first_column)
{
    for (uint item = gl_LocalInvocationIndex; item < TILE_ROWS * TILE_COLUMNS / 8u;
         item += GROUP_SIZE) {
        uint row = item % TILE_ROWS;
        uint column = item / TILE_ROWS * 8u;
        vec4 low = vec4(0.0);
        vec4 high = vec4(0.0);
        if (first_row + row < rows && first_column + column < cols) {
            weights_load8(w, rows, cols, first_row + row, first_column + column, low, high);
        }
        tile_keep_weights(row, column, low, high);
    }
}
