/* Matrix times many vectors (lib/tile.glsl) on a CPU that plays a GPU, as lib/tile_eight_lanes.glsl
 * tells, in floats of 32 bits.
 *
 * A team has 32 rows. A lane unpacks its own four, 32 columns at a time, and loads one of the vectors,
 * whence every lane gets it by shuffles with constant indices, which are one instruction each.
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

#define TILE_ROWS 64u
#define TILE_COLUMNS 32u
#define TILE_HIGH_ROW 0u
#define TILE_HIGH_VECTOR 4u
#define LANE_ROWS 4u

uint tile_vector()
{
    return gl_LocalInvocationIndex / (2u * LANES) * LANE_VECTORS;
}
uint tile_fetched_vector()
{
    return tile_vector() + tile_lane();
}
uint tile_row()
{
    return (gl_LocalInvocationIndex / LANES % 2u * LANES + tile_lane()) * LANE_ROWS;
}

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

#ifdef CODES_SCALES
#define TILE_SCALES CODES_SCALES
#else
#define TILE_SCALES 1u

/* Where the i-th eight columns of a step begin, where a type has no order of its own. */
uint codes_column(uint step, uint i)
{
    return step * TILE_COLUMNS + i * 8u;
}
#endif

/* What a lane has of 32 columns of its vector, and the sums of the columns of a scale. */
struct tile_loaded {
    vec4 fours[LANES];
    float totals[4];
};

/* unit: where the vector begins, in units of 16 bytes. */
tile_loaded tile_fetch(words x, uint unit, uint step)
{
    tile_loaded t;
    [[unroll]] for (uint s = 0u; s < TILE_SCALES; s++) {
        t.totals[s] = 0.0;
    }
    [[unroll]] for (uint i = 0u; i < LANES; i++) {
        uint four = unit + (codes_column(step, i >> 1) >> 2) + (i & 1u);
        t.fours[i] = uintBitsToFloat(load16(x, four));
        t.totals[i * TILE_SCALES / LANES] +=
            (t.fours[i].x + t.fours[i].y) + (t.fours[i].z + t.fours[i].w);
    }
    return t;
}

/* sums[v] = a row's products with the vectors, the columns of one scale. */
void tile_multiply(vec4 weights[LANES], tile_loaded t, uint s, out float sums[LANE_VECTORS])
{
    const uint fours = LANES / TILE_SCALES;
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        sums[v] = 0.0;
    }
    [[unroll]] for (uint i = s * fours; i < s * fours + fours; i++) {
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                sums[v] += weights[i][c] * subgroupShuffle(t.fours[i][c], v);
            }
        }
    }
}

/* Adds the products of 32 columns to products[v][r]. */
void tile_step(words w, uint rows, uint cols, uint row, uint step, tile_loaded t,
               inout vec4 products[LANE_VECTORS])
{
    [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
        vec4 weights[LANES];
        vec2 scales[4];
        tile_weights(w, rows, cols, min(row + r, rows - 1u), step, weights, scales);
        [[unroll]] for (uint s = 0u; s < TILE_SCALES; s++) {
            float sums[LANE_VECTORS];
            tile_multiply(weights, t, s, sums);
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                float total = subgroupShuffle(t.totals[s], v);
                products[v][r] += scales[s].x * sums[v] + scales[s].y * total;
            }
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    vec4 products[LANE_VECTORS];
    uint steps = tile_has_vectors(x_row) ? cols / TILE_COLUMNS : 0u;
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        products[v] = vec4(0.0);
    }
    uint row = first_row + tile_row();
    uint step = 0u;
    if (steps > 0u) {
        do {
            tile_loaded t = tile_fetch(words(uvec2(x)), x_row >> 2, step);
            tile_step(w, rows, cols, row, step, t, products);
            step++;
        } while (step < steps);
    }
    [[unroll]] for (uint v = 0u; v < 4u; v++) {
        low[v] = products[v];
        high[v] = products[4u + v];
    }
}
