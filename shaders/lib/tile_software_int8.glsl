/* Matrix times many vectors (lib/tile.glsl) on a CPU that plays a GPU, as lib/tile_eight_lanes.glsl
 * tells, in integers; x is rounded to int8 (lib/packed.glsl).
 *
 * A team has all rows of the tile and 8 vectors. Of a block of STEPS x 256 columns it keeps the
 * vectors unpacked, 32 columns of each a lane and step, where its multiplications find them: a
 * compiler leaves them on the stack, whence they are operands. So the team takes the rows one after
 * the other, in the order of memory (lib/row_codes_software.glsl). Products are pairs (lib/pairs.glsl).
 * Sums of the columns of a scale become floats:
 *
 *     sum of (s code + m) (t q) = s t (sum of code q) + m t (sum of q)
 *
 * Where m is a multiple of s (CODES_CENTER), it is taken from the codes' products instead. At last
 * lane v has the products of all rows with vector v.
 */
#extension GL_EXT_shader_subgroup_extended_types_int64 : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "tile_eight_lanes.glsl"
#include "packed.glsl"

layout(constant_id = 2) const uint STEPS = 4u; /* at most, of 256 columns, that a block has */

#define TILE_ROWS 128u
#define TILE_EIGHTS (TILE_ROWS / 8u)
#define TILE_STORES

uint team_lane()
{
    return tile_lane();
}

#include "pairs.glsl"
#include "row_codes_software.glsl"

/* So many pairs of a piece are added, and so many sums a piece and a scale have. */
#define SCALE_PAIRS (16u / CODES_SCALES)
#define SUM_PAIRS (CODES_ADDED < SCALE_PAIRS ? CODES_ADDED : SCALE_PAIRS)
#define SUMS (16u / SUM_PAIRS)
#define SCALE_SUMS (SUMS / CODES_SCALES)

uint tile_vector()
{
    return gl_LocalInvocationIndex / LANES * LANE_VECTORS;
}
uint tile_fetched_vector()
{
    return gl_LocalInvocationIndex;
}

/* 32 columns of a vector: pairs; what sums of their products with codes begin with, which rounds and
 * takes CODES_TAKEN from the codes; and for each scale of the weights the scale of the vector, and
 * that times the sum of the columns. */
struct vector_piece {
    uint pairs[16];
    uint starts[SUMS];
    float scales[CODES_SCALES];
    float totals[CODES_SCALES];
};

/* unit: where the vector begins, in units of 16 bytes. Past the last piece all is 0. */
vector_piece vector_piece_load(words x, uint unit, uint piece, uint pieces)
{
    vector_piece p;
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint column = codes_column(min(piece, pieces - 1u), i);
        uint block = unit + (column >> 5) * 3u;
        uvec2 bytes = load8(x, block * 2u + (column >> 3 & 3u));
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            p.pairs[4u * i + j] = even_pair(bytes[j >> 1] >> (j & 1u) * 8u);
        }
        if (i * CODES_SCALES % 4u == 0u) {
            float scale = uintBitsToFloat(x.v[(block + 2u) * 4u]);
            p.scales[SCALE_OF(i)] = piece < pieces ? scale : 0.0;
        }
    }
    uint sums[SUMS];
    [[unroll]] for (uint i = 0u; i < SUMS; i++) {
        sums[i] = 0u;
        [[unroll]] for (uint j = 0u; j < SUM_PAIRS; j++) {
            sums[i] += p.pairs[i * SUM_PAIRS + j];
        }
        p.starts[i] = PAIR_HALF - CODES_TAKEN * 0x00010001u * sums[i];
    }
    [[unroll]] for (uint s = 0u; s < CODES_SCALES; s++) {
        uint sum = 0u;
        [[unroll]] for (uint i = 0u; i < SCALE_SUMS; i++) {
            sum += sums[s * SCALE_SUMS + i];
        }
        p.totals[s] = CODES_OFFSETS ? p.scales[s] * float(pair_total(sum)) : 0.0;
    }
    return p;
}

/* A row's products with a piece of a vector. */
float piece_product(uint codes[16], vec2 scales[4], vector_piece p)
{
    float product = 0.0;
    [[unroll]] for (uint s = 0u; s < CODES_SCALES; s++) {
        int sum = 0;
        [[unroll]] for (uint i = 0u; i < SCALE_SUMS; i++) {
            uint of_sum = s * SCALE_SUMS + i;
            uint part = p.starts[of_sum];
            [[unroll]] for (uint j = 0u; j < SUM_PAIRS; j++) {
                uint at = of_sum * SUM_PAIRS + j;
                part += codes[at] * p.pairs[at];
            }
            sum += int(part) >> 16;
        }
        product += scales[s].x * p.scales[s] * float(sum);
        if (CODES_OFFSETS) {
            product += scales[s].y * p.totals[s];
        }
    }
    return product;
}

/* Half of what two lanes, `apart` from each other, have: one gets the sum of `low`, the other of
 * `high`. */
float lanes_add(float low, float high, uint apart)
{
    bool upper = (team_lane() & apart) != 0u;
    return (upper ? high : low) + subgroupShuffleXor(upper ? low : high, apart);
}

/* Lane v gets the sum of sums[v] over the lanes. */
float lanes_sum(float sums[LANE_VECTORS])
{
    float four[4];
    [[unroll]] for (uint v = 0u; v < 4u; v++) {
        four[v] = lanes_add(sums[v], sums[v + 4u], 4u);
    }
    float even = lanes_add(four[0], four[2], 2u);
    float odd = lanes_add(four[1], four[3], 2u);
    return lanes_add(even, odd, 1u);
}

/* The row's product with the lane's vector, of the block of columns from piece `first` on. */
float row_product(words w, uint rows, uint cols, uint row, uint first,
                  vector_piece vectors[4u * LANE_VECTORS])
{
    uint pieces = cols >> 5;
    float sums[LANE_VECTORS];
    [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
        sums[v] = 0.0;
    }
    row_shared of_row = row_shared_load(w, rows, cols, row, first);
    [[unroll]] for (uint s = 0u; s < 4u; s++) {
        if (s < STEPS) {
            uint piece = first + s * LANES + team_lane();
            uvec2 eights[4];
            vec2 scales[4];
            row_codes(w, rows, cols, row, min(piece, pieces - 1u), of_row, s, eights, scales);
            [[unroll]] for (uint i = 0u; i < CODES_SCALES; i++) {
                scales[i] = piece < pieces ? scales[i] : vec2(0.0);
            }
            uint codes[16];
            [[unroll]] for (uint i = 0u; i < 16u; i++) {
                codes[i] = code_pair(eights[i >> 2][i >> 1 & 1u] >> (i & 1u) * 8u, 0u);
            }
            [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                sums[v] += piece_product(codes, scales, vectors[s * LANE_VECTORS + v]);
            }
        }
    }
    return lanes_sum(sums);
}

/* What of a block of columns eight rows have, from `row` on. */
void eight_products(words w, uint rows, uint cols, uint row, uint first,
                    vector_piece vectors[4u * LANE_VECTORS], out float eight[8])
{
    [[unroll]] for (uint k = 0u; k < 8u; k++) {
        eight[k] = 0.0;
    }
    uint r = 0u;
    do {
        float product = row_product(w, rows, cols, min(row + r, rows - 1u), first, vectors);
        [[unroll]] for (uint k = 0u; k < 8u; k++) {
            eight[k] = k == r ? product : eight[k];
        }
        r++;
    } while (r < 8u);
}

/* Which of them eight rows are is a number that varies, so they are picked out of all. */
void tile_store_eight(uint g, float products[TILE_ROWS])
{
    float eight[8];
    [[unroll]] for (uint k = 0u; k < 8u; k++) {
        eight[k] = 0.0;
        [[unroll]] for (uint i = 0u; i < TILE_EIGHTS; i++) {
            eight[k] = i == g ? products[i * 8u + k] : eight[k];
        }
    }
    /* Lanes load different biases: an address that all lanes have newer drivers read even where there
     * is no bias and the branch is not taken. */
    vec4 bias = tile_bias(g * 8u + (team_lane() & 1u) * 4u);
    uint vector = tile_vector() + team_lane();
    vec4 low = vec4(eight[0], eight[1], eight[2], eight[3]);
    vec4 high = vec4(eight[4], eight[5], eight[6], eight[7]);
    tile_store(vector, g * 8u, low + subgroupShuffle(bias, 0u));
    tile_store(vector, g * 8u + 4u, high + subgroupShuffle(bias, 1u));
}

void tile_multiply(words w, uint rows, uint cols, uint first_row, f32s x, uint x_row)
{
    if (!tile_has_vectors(x_row) || first_row >= rows) {
        return;
    }
    float products[TILE_ROWS];
    [[unroll]] for (uint r = 0u; r < TILE_ROWS; r++) {
        products[r] = 0.0;
    }
    uint pieces = cols >> 5;
    uint unit = x_row / cols * PACK_INT8_UNITS(cols);
    uint eights = (min(rows - first_row, TILE_ROWS) + 7u) / 8u;
    words vectors_at = of_all_lanes(words(uvec2(x)));
    w = of_all_lanes(w);
    uint first = 0u;
    do {
        vector_piece vectors[4u * LANE_VECTORS];
        [[unroll]] for (uint s = 0u; s < 4u; s++) {
            if (s < STEPS) {
                [[unroll]] for (uint v = 0u; v < LANE_VECTORS; v++) {
                    vectors[s * LANE_VECTORS + v] =
                        vector_piece_load(vectors_at, subgroupShuffle(unit, v),
                                          first + s * LANES + team_lane(), pieces);
                }
            }
        }
        uint g = 0u;
        do {
            float eight[8];
            eight_products(w, rows, cols, first_row + g * 8u, first, vectors, eight);
            [[unroll]] for (uint r = 0u; r < TILE_ROWS; r++) {
                products[r] += r / 8u == g ? eight[r % 8u] : 0.0;
            }
            g++;
        } while (g < eights);
        first += STEPS * LANES;
    } while (first < pieces);
    uint g = 0u;
    do {
        tile_store_eight(g, products);
        g++;
    } while (g < eights);
}
