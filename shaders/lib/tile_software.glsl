/* Matrix times many vectors (lib/tile.glsl) on a CPU that plays a GPU, as lib/tile_eight_lanes.glsl
 * tells, in floats of 32 bits.
 *
 * Codes of block types are multiplied as they are; scales follow when the products of the columns of
 * a scale are summed:
 *
 *     sum of (s code + m) x = s (sum of code x) + m (sum of x)
 *
 * The products of 32 columns are summed by themselves before they join the rest, which keeps long
 * sums accurate.
 */
#include "tile_eight_lanes.glsl"

#ifdef CODES_SCALES

/* 32 columns of a row in the order of the lanes that have them of the vectors; the lanes and columns
 * share the scales evenly. */
void tile_weights(words w, uint rows, uint cols, uint row, uint step, out vec4 fours[LANES],
                  out vec2 scales[4])
{
    uvec2 codes[4];
    weights_piece_codes(w, rows, cols, row, step, codes, scales);
    [[unroll]] for (uint i = 0u; i < LANES; i++) {
        uint four = codes[i >> 1][i & 1u];
        fours[i] = CODES_LARGEST == CODES_INT8 ? unpack_s8x4(four) : vec4(ivec4(unpack_u8x4(four)));
    }
}

#else

#define TILE_PIECES (LANES / PIECE_FOURS)

void tile_weights(words w, uint rows, uint cols, uint row, uint step, out vec4 fours[LANES],
                  out vec2 scales[4])
{
    [[unroll]] for (uint i = 0u; i < TILE_PIECES; i++) {
        vec4 piece[PIECE_FOURS];
        weights_piece(w, rows, cols, row, step * TILE_PIECES + i, piece);
        [[unroll]] for (uint j = 0u; j < PIECE_FOURS; j++) {
            fours[i * PIECE_FOURS + j] = piece[j];
        }
    }
    scales[0] = vec2(1.0, 0.0);
}

#endif

/* Sums of the columns of a vector that share scales: from those of the lanes. */
void tile_totals(vec4 four, out float totals[TILE_SCALES])
{
    float total = (four.x + four.y) + (four.z + four.w);
    total += subgroupShuffleXor(total, 1u);
    if (SCALE_LANES >= 4u) {
        total += subgroupShuffleXor(total, 2u);
    }
    if (SCALE_LANES >= 8u) {
        total += subgroupShuffleXor(total, 4u);
    }
    [[unroll]] for (uint s = 0u; s < TILE_SCALES; s++) {
        totals[s] = subgroupShuffle(total, s * SCALE_LANES);
    }
}

/* Adds to sums[v] a row's products with the vectors: the columns of one scale. */
void tile_multiply(vec4 weights[LANES], vec4 x[LANE_VECTORS], uint s, out float sums[LANE_VECTORS])
{
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        sums[v] = 0.0;
    }
    [[unroll]] for (uint i = 0u; i < SCALE_LANES; i++) {
        uint lane = s * SCALE_LANES + i;
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                sums[v] += weights[lane][c] * subgroupShuffle(x[v][c], lane);
            }
        }
    }
}

/* Adds the products of 32 columns to products[v][r]. */
void tile_step(words w, uint rows, uint cols, uint row, uint step, f32s x, uint x_rows[LANE_VECTORS],
               inout vec4 products[LANE_VECTORS])
{
    vec4 fours[LANE_VECTORS];
    float totals[LANE_VECTORS][TILE_SCALES];
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        uint unit = (x_rows[v] + tile_column(step)) >> 2;
        fours[v] = uintBitsToFloat(load16(words(uvec2(x)), unit));
        tile_totals(fours[v], totals[v]);
    }
    [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
        vec4 weights[LANES];
        vec2 scales[4];
        tile_weights(w, rows, cols, min(row + r, rows - 1u), step, weights, scales);
        [[unroll]] for (uint s = 0u; s < TILE_SCALES; s++) {
            float sums[LANE_VECTORS];
            tile_multiply(weights, fours, s, sums);
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                products[v][r] += scales[s].x * sums[v] + scales[s].y * totals[v][s];
            }
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    vec4 products[LANE_VECTORS];
    uint x_rows[LANE_VECTORS];
    uint steps = tile_steps(cols, x_row);
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        products[v] = vec4(0.0);
        x_rows[v] = subgroupShuffle(x_row, v);
    }
    uint row = first_row + tile_row();
    for (uint step = 0u; step < steps; step++) {
        tile_step(w, rows, cols, row, step, x, x_rows, products);
    }
    [[unroll]] for (uint v = 0u; v < 4u; v++) {
        low[v] = products[v];
        high[v] = products[4u + v];
    }
}
