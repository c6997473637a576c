/* Weights of a few rows as a tile of int8, for products with many vectors.
 *
 * A tile is two vectors of rows wide, one row a lane of 32 bits, and a panel of columns long: 16
 * groups of columns that share a scale, thus 512 columns, or 256 where groups have 16. A word
 * holds four codes of one row, columns ascending. Every type becomes
 *
 *     weight = scale * (code - offset) + minimum
 *
 * with unsigned codes and one offset for the type; scales and minima are one float a row and group
 * (a block of 32 columns, or half of one).
 * As a lane is a row, no sums across lanes are needed, and all unpacking is the same arithmetic in
 * every lane: it is written here once, on vectors of the width that the including file defines:
 *
 *     TILE_LANES     rows of a vector
 *     tile_words, tile_ints, tile_floats    vectors of 32-bit lanes
 *     tile_load_64(rows, offset, words)     64 bytes of each row, as 16 words
 *     tile_load_32, ..., tile_load_2        fewer; tile_load_4 and _2 return the word
 *     tile_halves(words)                    the lower 16 bits as f16, to floats
 *     tile_look_up(table, words)            every byte, < 16, through 16 bytes
 *     tile_store(sums, y, n, add)           the first n lanes
 *     tile_codes(words, offset)             codes as the rung's multiplication wants them
 *
 * unpack_blocks_<type>(rows, b, n, tile, v) unpacks n blocks of 32 columns from block b on, the
 * first of a panel, into vector v of the tile. Scales behind the n blocks may get any values.
 * Layouts and formulas: format/README.md.
 */
#pragma once

#include "engine/cpu/cpu_int8_row.h"
#include "engine/cpu/cpu_tile_walk.h"

#define TILE_GROUPS 16
#define TILE_INLINE static inline __attribute__((always_inline))

/* What of TILE_TYPES the products of a type depend on; constants in each function. */
struct shape {
    int groups;
    bool minima;
    int offset, quads;
};

struct tile {
    tile_words codes[8 * TILE_GROUPS][TILE_VECTORS]; /* quads of columns */
    tile_floats scales[TILE_GROUPS][TILE_VECTORS];
    tile_floats minima[TILE_GROUPS][TILE_VECTORS];
};

_Static_assert(sizeof(struct tile) == CPU_TILE_BYTES(4 * TILE_LANES), "scratch");

/* What becomes of the codes; constants of a type. */
enum {
    OFFSET_Q3_K = 4,
    OFFSET_Q4_0 = 8,
    OFFSET_Q5_0 = 16,
    OFFSET_Q6_K = 32,
    OFFSET_MXFP4 = 16,
    OFFSET_SIGNED = 128, /* codes are int8 plus 128 */
};

static const uint8_t tile_mxfp4_codes[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                             16, 15, 14, 13, 12, 10, 8,  4};

static inline tile_words bits(tile_words words, int from, uint32_t mask)
{
    return words >> from & mask;
}

static inline tile_floats to_floats(tile_words words)
{
    return __builtin_convertvector((tile_ints)words, tile_floats);
}

/* ---- codes ---- */

/* 16 bytes with columns 0..15 in low and 16..31 in high nibbles; `blocks` of them, 1 or 4. */
static inline __attribute__((always_inline)) void
unpack_some_half_blocks(const uint8_t *const *rows, uint64_t offset, const int blocks,
                        const uint8_t *table, const uint32_t code_offset,
                        tile_words (*codes)[TILE_VECTORS], uint32_t v)
{
    tile_words packed[16];
    if (blocks == 4) {
        tile_load_64(rows, offset, packed);
    } else {
        tile_load_16(rows, offset, packed);
    }
    for (int i = 0; i < blocks; i++) {
        for (int q = 0; q < 4; q++) {
            tile_words low = bits(packed[4 * i + q], 0, 0x0F0F0F0F);
            tile_words high = bits(packed[4 * i + q], 4, 0x0F0F0F0F);
            low = table ? tile_look_up(table, low) : low;
            high = table ? tile_look_up(table, high) : high;
            codes[8 * i + q][v] = tile_codes(low, code_offset);
            codes[8 * i + 4 + q][v] = tile_codes(high, code_offset);
        }
    }
}

static inline __attribute__((always_inline)) void
unpack_half_blocks(const uint8_t *const *rows, uint64_t b, uint64_t n, const uint8_t *table,
                   const uint32_t offset, struct tile *tile, uint32_t v)
{
    uint64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        unpack_some_half_blocks(rows, 16 * (b + i), 4, table, offset, tile->codes + 8 * i, v);
    }
    for (; i < n; i++) {
        unpack_some_half_blocks(rows, 16 * (b + i), 1, table, offset, tile->codes + 8 * i, v);
    }
}

/* The same with a fifth bit in a word for each block. */
static inline __attribute__((always_inline)) void unpack_q5(const struct tile_rows *rows,
                                                            uint64_t b, uint64_t n,
                                                            const uint32_t offset,
                                                            struct tile *tile, uint32_t v)
{
    tile_words high[4];
    for (uint64_t i = 0; i < n; i++) {
        tile_words packed[4];
        tile_load_16(rows->planes[0], 16 * (b + i), packed);
        if (i % 4 == 0) {
            tile_load_16(rows->planes[1], 4 * (b + i), high);
        }
        tile_words bits_here = high[i % 4];
        for (int q = 0; q < 8; q++) {
            tile_words low = bits(packed[q % 4], q < 4 ? 0 : 4, 0x0F0F0F0F);
            /* Bit j of four comes to bit 0 of byte j, that is, 7 j places up. */
            tile_words fifth = bits(bits_here, 4 * q, 15) * 0x00204081 & 0x01010101;
            tile->codes[8 * i + (uint64_t)q][v] = tile_codes(low | fifth << 4, offset);
        }
    }
}

/* Two bits a code in 64 bytes of a super-block; in `high`, if there, a third one, in 32 bytes. */
static inline __attribute__((always_inline)) void unpack_pairs(const uint8_t *const *pairs,
                                                               const uint8_t *const *high,
                                                               uint64_t s, const uint32_t offset,
                                                               struct tile *tile, uint32_t v)
{
    tile_words packed[16], third[8] = {0};
    tile_load_64(pairs, 64 * s, packed);
    if (high) {
        tile_load_32(high, 32 * s, third);
    }
    for (int half = 0; half < 2; half++) {
        for (int q = 0; q < 8; q++) {
            for (int k = 0; k < 4; k++) {
                tile_words codes = bits(packed[8 * half + q], 2 * k, 0x03030303);
                codes |= bits(third[q], 4 * half + k, 0x01010101) << 2;
                tile->codes[32 * half + 8 * k + q][v] = tile_codes(codes, offset);
            }
        }
    }
}

/* q4_k, and q5_k with its high bits: 32 bytes hold two groups. */
static inline __attribute__((always_inline)) void
unpack_groups_of_32(const uint8_t *const *nibbles, const uint8_t *const *high, uint64_t s,
                    tile_words (*codes)[TILE_VECTORS], uint32_t v)
{
    tile_words packed[16], fifth[8] = {0};
    if (high) {
        tile_load_32(high, 32 * s, fifth);
    }
    for (int half = 0; half < 2; half++) {
        tile_load_64(nibbles, 128 * s + 64 * (uint64_t)half, packed);
        for (int i = 0; i < 16; i++) {
            int pair = 2 * half + i / 8, q = i % 8;
            tile_words first = bits(packed[i], 0, 0x0F0F0F0F);
            tile_words second = bits(packed[i], 4, 0x0F0F0F0F);
            first |= bits(fifth[q], 2 * pair, 0x01010101) << 4;
            second |= bits(fifth[q], 2 * pair + 1, 0x01010101) << 4;
            codes[16 * pair + q][v] = tile_codes(first, 0);
            codes[16 * pair + 8 + q][v] = tile_codes(second, 0);
        }
    }
}

/* 64 bytes of int8, or 32. */
static inline __attribute__((always_inline)) void unpack_signed(const uint8_t *const *rows,
                                                                uint64_t offset, const int bytes,
                                                                tile_words (*codes)[TILE_VECTORS],
                                                                uint32_t v)
{
    tile_words words[16];
    if (bytes == 64) {
        tile_load_64(rows, offset, words);
    } else {
        tile_load_32(rows, offset, words);
    }
    for (int q = 0; q < bytes / 4; q++) {
        codes[q][v] = tile_codes(words[q] ^ 0x80808080, OFFSET_SIGNED);
    }
}

/* ---- scales ---- */

static inline void unpack_half_scales(const uint8_t *const *rows, uint64_t b, uint64_t n,
                                      struct tile *tile, uint32_t v)
{
    for (uint64_t i = 0; i < n; i += 8) {
        tile_words halves[4];
        tile_load_16(rows, 2 * (b + i), halves);
        for (uint64_t k = 0; k < 4; k++) {
            tile->scales[i + 2 * k][v] = tile_halves(halves[k]);
            tile->scales[i + 2 * k + 1][v] = tile_halves(halves[k] >> 16);
        }
    }
}

static inline void unpack_scales_and_minima(const uint8_t *const *rows, uint64_t b, uint64_t n,
                                            struct tile *tile, uint32_t v)
{
    for (uint64_t i = 0; i < n; i += 4) {
        tile_words pairs[4];
        tile_load_16(rows, 4 * (b + i), pairs);
        for (uint64_t k = 0; k < 4; k++) {
            tile->scales[i + k][v] = tile_halves(pairs[k]);
            tile->minima[i + k][v] = tile_halves(pairs[k] >> 16);
        }
    }
}

/* The field of q4_k and q5_k: d, dmin, 12 bytes with 6 bits of scale and minimum a group. */
static inline void unpack_k_scales(const uint8_t *const *rows, uint64_t s, uint64_t group,
                                   struct tile *tile, uint32_t v)
{
    tile_words field[4];
    tile_load_16(rows, 16 * s, field);
    tile_floats d = tile_halves(field[0]), minus_dmin = -tile_halves(field[0] >> 16);
    for (int g = 0; g < 4; g++) {
        tile_words scale = bits(field[1], 8 * g, 63), minimum = bits(field[2], 8 * g, 63);
        tile->scales[group][v] = d * to_floats(scale);
        tile->minima[group][v] = minus_dmin * to_floats(minimum);
        scale = bits(field[3], 8 * g, 15) | bits(field[1], 8 * g + 6, 3) << 4;
        minimum = bits(field[3], 8 * g + 4, 15) | bits(field[2], 8 * g + 6, 3) << 4;
        tile->scales[group + 4][v] = d * to_floats(scale);
        tile->minima[group + 4][v] = minus_dmin * to_floats(minimum);
        group++;
    }
}

/* ---- types ---- */

#define UNPACK(name) \
    static inline void unpack_blocks_##name(const struct tile_rows *rows, uint64_t b, uint64_t n, \
                                            struct tile *tile, uint32_t v); \
    static void unpack_##name(const struct tile_rows *rows, uint64_t column, uint64_t n, \
                              void *tile, uint32_t v) \
    { \
        unpack_blocks_##name(rows, column / 32, n / 32, tile, v); \
    } \
    static inline void unpack_blocks_##name(const struct tile_rows *rows, uint64_t b, uint64_t n, \
                                            struct tile *tile, uint32_t v)

UNPACK(q4_0)
{
    unpack_half_blocks(rows->planes[0], b, n, NULL, OFFSET_Q4_0, tile, v);
    unpack_half_scales(rows->planes[1], b, n, tile, v);
}

UNPACK(q4_1)
{
    unpack_half_blocks(rows->planes[0], b, n, NULL, 0, tile, v);
    unpack_scales_and_minima(rows->planes[1], b, n, tile, v);
}

UNPACK(q5_0)
{
    unpack_q5(rows, b, n, OFFSET_Q5_0, tile, v);
    unpack_half_scales(rows->planes[2], b, n, tile, v);
}

UNPACK(q5_1)
{
    unpack_q5(rows, b, n, 0, tile, v);
    unpack_scales_and_minima(rows->planes[2], b, n, tile, v);
}

UNPACK(q8_0)
{
    uint64_t i = 0;
    for (; i + 2 <= n; i += 2) {
        unpack_signed(rows->planes[0], 32 * (b + i), 64, tile->codes + 8 * i, v);
    }
    if (i < n) {
        unpack_signed(rows->planes[0], 32 * (b + i), 32, tile->codes + 8 * i, v);
    }
    unpack_half_scales(rows->planes[1], b, n, tile, v);
}

UNPACK(iq4_nl)
{
    unpack_half_blocks(rows->planes[0], b, n, int8_iq4_codes, OFFSET_SIGNED, tile, v);
    unpack_half_scales(rows->planes[1], b, n, tile, v);
}

UNPACK(mxfp4)
{
    unpack_half_blocks(rows->planes[0], b, n, tile_mxfp4_codes, OFFSET_MXFP4, tile, v);
    tile_words bytes[4];
    tile_load_16(rows->planes[1], b, bytes);
    for (uint64_t i = 0; i < 16; i++) {
        /* 2^(e - 128): the codes are E2M1 doubled. Below 2 it is subnormal. */
        tile_words e = bits(bytes[i / 4], 8 * (int)(i % 4), 255);
        tile_words normal = (e - 1) << 23, subnormal = (e + 1) << 21;
        tile_words is_normal = (tile_words)(e > 1);
        tile->scales[i][v] = (tile_floats)((normal & is_normal) | (subnormal & ~is_normal));
    }
}

UNPACK(q2_k)
{
    uint64_t s = b / 8;
    unpack_pairs(rows->planes[0], NULL, s, 0, tile, v);
    tile_words bytes[4];
    tile_load_16(rows->planes[1], 16 * s, bytes);
    tile_words d_and_dmin = tile_load_4(rows->planes[2], 4 * s);
    tile_floats d = tile_halves(d_and_dmin), minus_dmin = -tile_halves(d_and_dmin >> 16);
    for (int g = 0; g < 16; g++) {
        int place = 8 * (g % 4);
        tile->scales[g][v] = d * to_floats(bits(bytes[g / 4], place, 15));
        tile->minima[g][v] = minus_dmin * to_floats(bits(bytes[g / 4], place + 4, 15));
    }
}

UNPACK(q3_k)
{
    uint64_t s = b / 8;
    unpack_pairs(rows->planes[0], rows->planes[1], s, OFFSET_Q3_K, tile, v);
    tile_words low[2];
    tile_load_8(rows->planes[2], 12 * s, low);
    tile_words high = tile_load_4(rows->planes[2], 12 * s + 8);
    tile_floats d = tile_halves(tile_load_2(rows->planes[3], 2 * s));
    for (int g = 0; g < 16; g++) {
        int place = 8 * (g % 4);
        tile_words scale = bits(low[g % 8 / 4], place + 4 * (g / 8), 15);
        scale |= bits(high, place + 2 * (g / 4), 3) << 4;
        tile->scales[g][v] = d * to_floats(scale - 32);
    }
}

UNPACK(q4_k)
{
    for (uint64_t i = 0; i < n; i += 8) {
        unpack_groups_of_32(rows->planes[0], NULL, (b + i) / 8, tile->codes + 8 * i, v);
        unpack_k_scales(rows->planes[1], (b + i) / 8, i, tile, v);
    }
}

UNPACK(q5_k)
{
    for (uint64_t i = 0; i < n; i += 8) {
        unpack_groups_of_32(rows->planes[0], rows->planes[1], (b + i) / 8, tile->codes + 8 * i, v);
        unpack_k_scales(rows->planes[2], (b + i) / 8, i, tile, v);
    }
}

UNPACK(q6_k)
{
    uint64_t s = b / 8;
    for (uint64_t half = 0; half < 2; half++) {
        /* 32 columns of each of four groups: the upper bits are together. */
        tile_words packed[16], high[8];
        tile_load_64(rows->planes[0], 128 * s + 64 * half, packed);
        tile_load_32(rows->planes[1], 64 * s + 32 * half, high);
        tile_words(*codes)[TILE_VECTORS] = tile->codes + 32 * half;
        for (int i = 0; i < 16; i++) {
            int k = i / 8, q = i % 8;
            tile_words first = bits(high[q], 2 * k, 0x03030303) << 4;
            tile_words second = bits(high[q], 2 * k + 4, 0x03030303) << 4;
            first |= bits(packed[i], 0, 0x0F0F0F0F);
            second |= bits(packed[i], 4, 0x0F0F0F0F);
            codes[8 * k + q][v] = tile_codes(first, OFFSET_Q6_K);
            codes[16 + 8 * k + q][v] = tile_codes(second, OFFSET_Q6_K);
        }
    }
    tile_words bytes[4];
    tile_load_16(rows->planes[2], 16 * s, bytes);
    tile_floats d = tile_halves(tile_load_2(rows->planes[3], 2 * s));
    for (int g = 0; g < 16; g++) {
        tile_ints scale = (tile_ints)(bytes[g / 4] << (24 - 8 * (g % 4))) >> 24;
        tile->scales[g][v] = d * to_floats((tile_words)scale);
    }
}

UNPACK(iq4_xs)
{
    unpack_half_blocks(rows->planes[0], b, n, int8_iq4_codes, OFFSET_SIGNED, tile, v);
    for (uint64_t i = 0; i < n; i += 8) {
        tile_words field[2];
        tile_load_8(rows->planes[1], b + i, field);
        tile_floats d = tile_halves(field[0]);
        for (int g = 0; g < 8; g++) {
            tile_words scale = bits(field[1], 4 * g, 15) | bits(field[0], 16 + 2 * g, 3) << 4;
            tile->scales[i + (uint64_t)g][v] = d * to_floats(scale - 32);
        }
    }
}

/* ---- activations ---- */

/* Activations of a pass: rows in the prepared form, and where in all of them a block begins. */
struct activations {
    const uint8_t *rows[MAX_VECTORS];
    uint64_t q, scale, sum, shift;
};

static inline float load_float(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static inline int32_t load_int32(const uint8_t *bytes)
{
    int32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* The first block of a pass; `sum` and `shift` are those of groups. */
static inline struct activations activations_of(const struct tile_pass *pass, const int groups,
                                                const int n)
{
    struct int8_row row = int8_row_of(pass->x[0], pass->cols);
    uint64_t b = pass->column / 32;
    const float *sums = groups == 1 ? row.sums32 + b : row.sums16 + 2 * b;
    const int32_t *shifts = groups == 1 ? row.shifts32 + b : row.shifts16 + 2 * b;
    struct activations x = {
        .q = pass->column,
        .scale = (uint64_t)((const uint8_t *)(row.scales + b) - pass->x[0]),
        .sum = (uint64_t)((const uint8_t *)sums - pass->x[0]),
        .shift = (uint64_t)((const uint8_t *)shifts - pass->x[0]),
    };
    for (int i = 0; i < n; i++) {
        x.rows[i] = pass->x[i];
    }
    return x;
}

/* What makes up for codes of a group that are `offset` too large. */
static inline int32_t activations_shift(const struct activations *x, int i, const int offset)
{
    /* Shifts are made for an offset of 128; both are powers of two. */
    int places = __builtin_ctz(128) - __builtin_ctz((unsigned)offset);
    return load_int32(x->rows[i] + x->shift) >> places;
}
