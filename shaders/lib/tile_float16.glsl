/* Matrix times many vectors (lib/tile.glsl) in floats of 16 bits, two at a time.
 *
 * As lib/tile_float32.glsl, but weights and vectors lie in shared memory as pairs of f16,
 * neighbouring columns in a pair, and pairs are multiplied and summed at once. The 16 products that
 * meet in one f16 are the only ones summed there: then they join a float. x is packed
 * (lib/packed.glsl): below 4, so that with weights up to TILE_LARGEST no sum overflows; larger
 * weights count as that. Shared memory: 4 KiB + 68 bytes a vector.
 */
#define TILE_PLACE(pair, row, n) ((pair) * (n) + (row))
#define TILE_PLACES(n) (TILE_PAIRS * (n))
#define TILE_LARGEST 1020.0

#include "tile_fetch_float16.glsl"

/* The pair's rows and vectors: sums[j][i] += row i times vector j. */
void tile_multiply(uint pair, inout f16vec2 sums[4][8])
{
    uint a = pair * TILE_ROWS + tile_row();
    uint b = pair * TILE_TOKENS + tile_vector();
    f16vec2 rows[8];
    for (uint i = 0u; i < 4u; i++) {
        rows[i] = tile_weights[a + i];
        rows[4u + i] = tile_weights[a + 32u + i];
    }
    for (uint j = 0u; j < 4u; j++) {
        f16vec2 vector = tile_x[b + j];
        for (uint i = 0u; i < 8u; i++) {
            sums[j][i] = fma(rows[i], vector, sums[j][i]);
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    uint x_unit = tile_begin_x(x, x_row, cols);
    for (uint j = 0u; j < 4u; j++) {
        low[j] = vec4(0.0);
        high[j] = vec4(0.0);
    }
    for (uint first_column = 0u; first_column < cols; first_column += TILE_COLUMNS) {
        barrier();
        tile_fetch_weights(w, rows, cols, first_row, first_column);
        tile_fetch_x(x, x_unit, first_column);
        barrier();
        f16vec2 sums[4][8];
        for (uint j = 0u; j < 4u; j++) {
            for (uint i = 0u; i < 8u; i++) {
                sums[j][i] = f16vec2(0.0);
            }
        }
        for (uint pair = 0u; pair < TILE_PAIRS; pair++) {
            tile_multiply(pair, sums);
        }
        for (uint j = 0u; j < 4u; j++) {
            for (uint i = 0u; i < 4u; i++) {
                vec2 first = vec2(sums[j][i]);
                vec2 second = vec2(sums[j][4u + i]);
                low[j][i] += first.x + first.y;
                high[j][i] += second.x + second.y;
            }
        }
    }
    for (uint j = 0u; j < 4u; j++) {
        low[j] *= tile_scales[tile_vector() + j];
        high[j] *= tile_scales[tile_vector() + j];
    }
}
