/* Matrix times many vectors (lib/tile.glsl) on a CPU that plays a GPU, as lib/tile_eight_lanes.glsl
 * tells, in integers.
 *
 * x is rounded to int8 (lib/packed.glsl). Two products are one multiplication of 32 bits:
 *
 *     (c0 + c2 2^16) (x2 + x0 2^16) = c0 x2 + (c0 x0 + c2 x2) 2^16   modulo 2^32
 *
 * and several of these are added before the upper half is taken, rounded so that the sum of the
 * lower halves, which is less than half a unit of it, falls away. Sums of the columns of a scale
 * become floats:
 *
 *     sum of (s code + m) (t q) = t (s (sum of code q) + m (sum of q))
 *
 * Where m is a multiple of s (CODES_CENTER), it is taken from the codes instead.
 */
#include "tile_eight_lanes.glsl"
#include "packed.glsl"

#ifdef CODES_CENTER
#define TILE_LARGEST CODES_FARTHEST
#define TILE_CENTER CODES_CENTER
#define TILE_OFFSETS false
#else
#define TILE_LARGEST CODES_LARGEST
#define TILE_CENTER 0u
#define TILE_OFFSETS (CODES_LARGEST != CODES_INT8)
#endif

/* So many products of pairs may be added: in either half twice as many of 127 TILE_LARGEST or less
 * have room. */
#define TILE_ADDED \
    (TILE_LARGEST <= 8u    ? 16u \
     : TILE_LARGEST <= 16u ? 8u \
     : TILE_LARGEST <= 32u ? 4u \
     : TILE_LARGEST <= 64u ? 2u \
                           : 1u)
/* Added beforehand, it rounds the upper half. */
#define TILE_HALF 0x8000u

/* Of four int8 the first and the third, x0 2^16 + x2. */
uint even_pair(uint bytes)
{
    return uint((int(bytes << 24) >> 8) + (int(bytes << 8) >> 24));
}

/* Both of a pair, or of a sum of pairs that do not overflow. */
int pair_total(uint pair)
{
    int low = int(pair << 16) >> 16;
    return low + (int(pair - uint(low)) >> 16);
}

/* Two codes in the even bytes of a word, c0 + c2 2^16 modulo 2^32. */
uint code_pair(uint bytes)
{
    bytes &= 0x00FF00FFu;
    return CODES_LARGEST == CODES_INT8 ? (bytes ^ 0x00800080u) - 0x00800080u
                                       : bytes - TILE_CENTER * 0x00010001u;
}

/* What a lane has of 32 columns of its vector: pairs of columns; the sums of the columns of a scale of
 * the weights; and the vector's scale there. */
struct tile_loaded {
    uint pairs[16];
    float totals[4];
    float scales[4];
};

/* The number of the scale that the i-th eight columns of a step have. */
#define SCALE_OF(i) ((i) * CODES_SCALES / 4u)

/* unit: where the vector begins, in units of 16 bytes. */
tile_loaded tile_fetch(words x, uint unit, uint step)
{
    tile_loaded t;
    uint sums[4] = uint[4](0u, 0u, 0u, 0u);
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint column = codes_column(step, i);
        uint block = unit + (column >> 5) * 3u;
        uvec2 bytes = load8(x, block * 2u + (column >> 3 & 3u));
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            uint pair = even_pair(bytes[j >> 1] >> (j & 1u) * 8u);
            t.pairs[4u * i + j] = pair;
            sums[SCALE_OF(i)] += pair;
        }
        if (i * CODES_SCALES % 4u == 0u) {
            t.scales[SCALE_OF(i)] = uintBitsToFloat(x.v[(block + 2u) * 4u]);
        }
    }
    [[unroll]] for (uint s = 0u; s < CODES_SCALES; s++) {
        t.totals[s] = float(pair_total(sums[s]));
    }
    return t;
}

/* sums[v] = a row's products with the vectors, the columns of one scale. */
void tile_multiply(uvec2 codes[4], tile_loaded t, uint s, out int sums[LANE_VECTORS])
{
    const uint pairs = 16u / CODES_SCALES;
    uint parts[LANE_VECTORS];
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        sums[v] = 0;
        parts[v] = TILE_HALF;
    }
    [[unroll]] for (uint i = 0u; i < pairs; i++) {
        uint at = s * pairs + i;
        bool full = (i + 1u) % TILE_ADDED == 0u || i + 1u == pairs;
        uint pair = code_pair(codes[at >> 2][at >> 1 & 1u] >> (at & 1u) * 8u);
        [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
            parts[v] += pair * subgroupShuffle(t.pairs[at], v);
            if (full) {
                sums[v] += int(parts[v]) >> 16;
                parts[v] = TILE_HALF;
            }
        }
    }
}

#ifndef CODES_SHARED

codes_shared codes_shared_load(words w, uint rows, uint cols, uint row, uint block)
{
    return codes_shared(uvec4(0u), 0u);
}

void weights_piece_codes_shared(words w, uint rows, uint cols, uint row, uint piece,
                                codes_shared shared_by, out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes(w, rows, cols, row, piece, codes, scales);
}

#endif

/* What the steps of a block of weights share, of the lane's rows. */
struct tile_shared {
    codes_shared of_rows[LANE_ROWS];
};

/* Adds the products of 32 columns to products[v][r]. */
void tile_step(words w, uint rows, uint cols, uint row, uint step, tile_shared block,
               tile_loaded t, inout vec4 products[LANE_VECTORS])
{
    [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
        uvec2 codes[4];
        vec2 scales[4];
        weights_piece_codes_shared(w, rows, cols, min(row + r, rows - 1u), step, block.of_rows[r],
                                   codes, scales);
        [[unroll]] for (uint s = 0u; s < CODES_SCALES; s++) {
            int sums[LANE_VECTORS];
            tile_multiply(codes, t, s, sums);
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                float sum = scales[s].x * float(sums[v]);
                if (TILE_OFFSETS) {
                    sum += scales[s].y * subgroupShuffle(t.totals[s], v);
                }
                products[v][r] += subgroupShuffle(t.scales[s], v) * sum;
            }
        }
    }
}

void tile_product(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row,
                  out vec4 low[4], out vec4 high[4])
{
    vec4 products[LANE_VECTORS];
    uint steps = tile_steps(cols, x_row);
    uint unit = x_row / cols * PACK_INT8_UNITS(cols);
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        products[v] = vec4(0.0);
    }
    uint row = first_row + tile_row();
    uint step = 0u;
    if (steps > 0u) {
        do {
            tile_shared block;
            [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
                block.of_rows[r] =
                    codes_shared_load(w, rows, cols, min(row + r, rows - 1u), step >> 3);
            }
            uint last = min(step + 8u, steps);
            do {
                tile_loaded t = tile_fetch(words(uvec2(x)), unit, step);
                tile_step(w, rows, cols, row, step, block, t, products);
                step++;
            } while (step < last);
        } while (step < steps);
    }
    [[unroll]] for (uint v = 0u; v < 4u; v++) {
        low[v] = products[v];
        high[v] = products[4u + v];
    }
}
