/* Matrix times many vectors (lib/tile.glsl) on a CPU that plays a GPU, as lib/tile_eight_lanes.glsl
 * tells, in integers.
 *
 * x is rounded to int8 (lib/packed.glsl), so that what a lane has of a vector is one word. Two
 * products are one multiplication of 32 bits:
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

/* The other two. */
uint odd_pair(uint bytes)
{
    return even_pair(bytes >> 8);
}

/* Two codes in the even bytes of a word, c0 + c2 2^16 modulo 2^32. */
uint code_pair(uint bytes)
{
    bytes &= 0x00FF00FFu;
    return CODES_LARGEST == CODES_INT8 ? (bytes ^ 0x00800080u) - 0x00800080u
                                       : bytes - TILE_CENTER * 0x00010001u;
}

/* What the lanes have of 32 columns of the vectors: pairs of columns; sums of the columns of a
 * scale, in its first lane; and in lane v the scales of vector v. */
struct tile_vectors {
    uint even[LANE_VECTORS];
    uint odd[LANE_VECTORS];
    float totals[LANE_VECTORS];
    float scales[TILE_SCALES];
};

float tile_total(uint bytes)
{
    vec4 four = unpack_s8x4(bytes);
    float total = (four.x + four.y) + (four.z + four.w);
    total += subgroupShuffleXor(total, 1u);
    if (SCALE_LANES >= 4u) {
        total += subgroupShuffleXor(total, 2u);
    }
    if (SCALE_LANES >= 8u) {
        total += subgroupShuffleXor(total, 4u);
    }
    return total;
}

/* x_units: where the vectors begin, in units of 16 bytes; own_unit: that of the lane's. */
tile_vectors tile_fetch(words x, uint x_units[LANE_VECTORS], uint own_unit, uint step)
{
    tile_vectors t;
    uint column = tile_column(step);
    uint word = (column >> 5) * 12u + (column >> 2 & 7u);
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        uint bytes = x.v[x_units[v] * 4u + word];
        t.even[v] = even_pair(bytes);
        t.odd[v] = odd_pair(bytes);
        t.totals[v] = tile_total(bytes);
    }
    [[unroll]] for (uint s = 0u; s < TILE_SCALES; s++) {
        uint block = codes_column(step, s * (4u / TILE_SCALES)) >> 5;
        t.scales[s] = uintBitsToFloat(x.v[(own_unit + block * 3u + 2u) * 4u]);
    }
    return t;
}

/* sums[v] = a row's products with the vectors, the columns of one scale. */
void tile_multiply(uvec2 codes[4], tile_vectors t, uint s, out int sums[LANE_VECTORS])
{
    uint parts[LANE_VECTORS];
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        sums[v] = 0;
        parts[v] = TILE_HALF;
    }
    [[unroll]] for (uint i = 0u; i < 2u * SCALE_LANES; i++) {
        uint lane = s * SCALE_LANES + i / 2u;
        bool even = (i & 1u) == 0u;
        bool full = (i + 1u) % TILE_ADDED == 0u || i + 1u == 2u * SCALE_LANES;
        uint pair = code_pair(codes[lane >> 1][lane & 1u] >> (even ? 0u : 8u));
        [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
            parts[v] += pair * subgroupShuffle(even ? t.even[v] : t.odd[v], lane);
            if (full) {
                sums[v] += int(parts[v]) >> 16;
                parts[v] = TILE_HALF;
            }
        }
    }
}

/* What the steps of a block of weights share, of the lane's rows. */
struct tile_shared {
    codes_shared of_rows[LANE_ROWS];
};

#ifdef CODES_SHARED

tile_shared tile_load_shared(words w, uint rows, uint cols, uint row, uint step)
{
    tile_shared block;
    [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
        block.of_rows[r] = codes_shared_load(w, rows, cols, min(row + r, rows - 1u), step >> 3);
    }
    return block;
}

void tile_codes(words w, uint rows, uint cols, uint row, uint step, codes_shared of_row,
                out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes_shared(w, rows, cols, row, step, of_row, codes, scales);
}

#else

void tile_codes(words w, uint rows, uint cols, uint row, uint step, codes_shared of_row,
                out uvec2 codes[4], out vec2 scales[4])
{
    weights_piece_codes(w, rows, cols, row, step, codes, scales);
}

#endif

/* Adds the products of 32 columns to products[v][r]. */
void tile_step(words w, uint rows, uint cols, uint row, uint step, tile_shared block, tile_vectors t,
               inout vec4 products[LANE_VECTORS])
{
    [[unroll]] for (uint r = 0u; r < LANE_ROWS; r++) {
        uvec2 codes[4];
        vec2 scales[4];
        tile_codes(w, rows, cols, min(row + r, rows - 1u), step, block.of_rows[r], codes, scales);
        [[unroll]] for (uint s = 0u; s < TILE_SCALES; s++) {
            int sums[LANE_VECTORS];
            tile_multiply(codes, t, s, sums);
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                float sum = scales[s].x * float(sums[v]);
                if (TILE_OFFSETS) {
                    sum += scales[s].y * subgroupShuffle(t.totals[v], s * SCALE_LANES);
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
    uint x_units[LANE_VECTORS];
    uint steps = tile_steps(cols, x_row);
    uint own_unit = x_row / cols * PACK_INT8_UNITS(cols);
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        products[v] = vec4(0.0);
        x_units[v] = subgroupShuffle(own_unit, v);
    }
    uint row = first_row + tile_row();
#ifdef CODES_SHARED
    for (uint first = 0u; first < steps; first += 8u) {
        tile_shared block = tile_load_shared(w, rows, cols, row, first);
        for (uint step = first; step < first + 8u; step++) {
            tile_vectors t = tile_fetch(words(uvec2(x)), x_units, own_unit, step);
            tile_step(w, rows, cols, row, step, block, t, products);
        }
    }
#else
    tile_shared none;
    for (uint step = 0u; step < steps; step++) {
        tile_vectors t = tile_fetch(words(uvec2(x)), x_units, own_unit, step);
        tile_step(w, rows, cols, row, step, none, t, products);
    }
#endif
    [[unroll]] for (uint v = 0u; v < 4u; v++) {
        low[v] = products[v];
        high[v] = products[4u + v];
    }
}
