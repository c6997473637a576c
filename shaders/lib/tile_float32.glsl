/* Matrix times many vectors (lib/tile.glsl) in floats of 32 bits, on every device.
 *
 * 32 columns at a time, the work-group unpacks the weights and the vectors into shared memory as
 * [column][row] and [column][vector]; then each invocation multiplies 8 rows by 4 vectors in
 * registers. The products of 32 columns are summed by themselves before they join the rest, which
 * keeps long sums accurate. Edges are filled with zeros. Shared memory: 8 KiB + 128 bytes a vector.
 */
#include "tile_fetch.glsl"

shared float tile_weights[TILE_COLUMNS * TILE_ROWS];
shared float tile_x[TILE_COLUMNS * TILE_TOKENS];

void tile_keep_weights(uint row, uint column, vec4 low, vec4 high)
{
    for (uint i = 0u; i < 4u; i++) {
        tile_weights[(column + i) * TILE_ROWS + row] = low[i];
        tile_weights[(column + 4u + i) * TILE_ROWS + row] = high[i];
    }
}

void tile_fetch_x(f32s x, uint x_row, uint cols, uint first_column)
{
    uint vector = tile_fetched_vector();
    uint column = gl_LocalInvocationIndex / TILE_TOKENS * 4u;
    for (; column < TILE_COLUMNS; column += GROUP_SIZE / TILE_TOKENS * 4u) {
        vec4 four = vec4(0.0);
        if (x_row != NO_VECTOR) {
            four = row_load4(x, x_row, cols, first_column + column);
        }
        for (uint i = 0u; i < 4u; i++) {
            tile_x[(column + i) * TILE_TOKENS + vector] = four[i];
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    for (uint j = 0u; j < 4u; j++) {
        low[j] = vec4(0.0);
        high[j] = vec4(0.0);
    }
    for (uint first_column = 0u; first_column < cols; first_column += TILE_COLUMNS) {
        barrier();
        tile_fetch_weights(w, rows, cols, first_row, first_column);
        tile_fetch_x(x, x_row, cols, first_column);
        barrier();
        vec4 low_part[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        vec4 high_part[4] = low_part;
        for (uint k = 0u; k < TILE_COLUMNS; k++) {
            uint a = k * TILE_ROWS + tile_row();
            uint b = k * TILE_TOKENS + tile_vector();
            vec4 a_low = vec4(tile_weights[a], tile_weights[a + 1u], tile_weights[a + 2u],
                              tile_weights[a + 3u]);
            vec4 a_high = vec4(tile_weights[a + 32u], tile_weights[a + 33u], tile_weights[a + 34u],
                               tile_weights[a + 35u]);
            for (uint j = 0u; j < 4u; j++) {
                low_part[j] += a_low * tile_x[b + j];
                high_part[j] += a_high * tile_x[b + j];
            }
        }
        for (uint j = 0u; j < 4u; j++) {
            low[j] += low_part[j];
            high[j] += high_part[j];
        }
    }
}
