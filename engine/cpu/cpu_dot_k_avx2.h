/* Dot products of the types with super-blocks of 256 (q2_k to q6_k, iq4_xs) with vectors of 256
 * bits (cpu_dot_int8_avx2.h). Block b = 0..7 of a super-block holds its elements 32 b .. 32 b + 31.
 *
 * Products of q2_k to q6_k are added up in 16 bits, eight to a sum, before they are multiplied with
 * scales: adding two vectors to one takes half as many instructions there as scaling each.
 */
#pragma once

#include "engine/cpu/cpu_dot_int8_avx2.h"

/* The bits of `mask` of each byte, which lie at bit `from` and up, moved to bit `to` and up. */
static inline __m256i move_bits(__m256i bytes, int mask, int from, int to)
{
    if (from < to) {
        bytes = _mm256_slli_epi16(bytes, to - from);
    } else if (from > to) {
        bytes = _mm256_srli_epi16(bytes, from - to);
    }
    return _mm256_and_si256(bytes, _mm256_set1_epi8((char)(mask << to)));
}

/* The codes of blocks with odd numbers stay two bits higher in their bytes, so they are 4 times too
 * large. */
static inline __m256i codes_q2_k(const uint8_t *pairs, int b)
{
    __m256i bytes = load_bytes(pairs + 32 * (b / 4));
    bytes = b % 4 < 2 ? bytes : _mm256_srli_epi16(bytes, 4);
    return _mm256_and_si256(bytes, _mm256_set1_epi8(b % 2 ? 12 : 3));
}

static inline __m256i codes_q3_k(const uint8_t *pairs, __m256i high, int b)
{
    return _mm256_or_si256(codes_q2_k(pairs, b), move_bits(high, 1, b, b % 2 ? 4 : 2));
}

static inline __m256i codes_q6_k(const uint8_t *low, const uint8_t *pairs, int b)
{
    __m256i nibbles = load_bytes(low + 64 * (b / 4) + 32 * (b % 2));
    __m256i high = load_bytes(pairs + 32 * (b / 4));
    return _mm256_or_si256(move_bits(nibbles, 15, b % 4 < 2 ? 0 : 4, 0),
                           move_bits(high, 3, 2 * (b % 4), 4));
}

/* Products of two blocks added up in fours: sixteen sums that fit into 16 bits, the first block's
 * in four of either half. */
static inline __m256i sums_of_4(__m256i first, const int8_t *first_x, __m256i second,
                                const int8_t *second_x)
{
    return _mm256_packs_epi32(multiply_unsigned(first, load_bytes(first_x)),
                              multiply_unsigned(second, load_bytes(second_x)));
}

static inline __m256i add_neighbours(__m256i a, __m256i b)
{
    __m256 even = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
    __m256 odd = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xDD);
    return _mm256_add_epi16(_mm256_castps_si256(even), _mm256_castps_si256(odd));
}

struct sums_of_8 {
    __m256i first, second;
};

static inline struct sums_of_8 add_fours(const __m256i fours[4])
{
    return (struct sums_of_8){add_neighbours(fours[0], fours[1]),
                              add_neighbours(fours[2], fours[3])};
}

/* ---- groups of 16: q2_k, q3_k, q6_k. Sums of blocks 0, 2, 4, 6 are the first vector, those of 1,
 * 3, 5, 7 the second. ---- */

/* CODES(b) are those of block b. */
#define SUMS_OF_GROUPS(CODES, x) \
    add_fours((const __m256i[4]){sums_of_4(CODES(0), (x), CODES(2), (x) + 64), \
                                 sums_of_4(CODES(4), (x) + 128, CODES(6), (x) + 192), \
                                 sums_of_4(CODES(1), (x) + 32, CODES(3), (x) + 96), \
                                 sums_of_4(CODES(5), (x) + 160, CODES(7), (x) + 224)})

/* sums * scales * scales of activations (`twice`). The scales are 16 signed bytes, the same in both
 * halves; they go to the upper bytes of words, so the result is 256 times too large. Codes of the
 * first vector are 1 / 2^shift too large. */
static inline __m256 scale_groups(struct sums_of_8 sums, __m256i scales, const int shift,
                                  const float *twice)
{
    const __m256i index = _mm256_setr_epi32(0x00800080, 0x04800480, 0x08800880, 0x0C800C80,
                                            0x01800180, 0x05800580, 0x09800980, 0x0D800D80);
    __m256i first_scales = _mm256_shuffle_epi8(scales, index);
    __m256i second_scales =
        _mm256_shuffle_epi8(scales, _mm256_add_epi8(index, _mm256_set1_epi16(0x0200)));
    __m256i first = _mm256_madd_epi16(sums.first, _mm256_slli_epi16(first_scales, shift));
    __m256i second = _mm256_madd_epi16(sums.second, second_scales);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), _mm256_load_ps(twice + 8),
                           _mm256_mul_ps(_mm256_cvtepi32_ps(first), _mm256_load_ps(twice)));
}

/* ---- groups of 32: q4_k, q5_k. Sums of blocks 0 to 3 are the first vector. ---- */

static inline __m256i spread_scales_of_32(__m256i scales, bool second)
{
    __m256i index =
        _mm256_setr_epi32((int)0x80008000, (int)0x80018001, (int)0x80028002, (int)0x80038003,
                          (int)0x80008000, (int)0x80018001, (int)0x80028002, (int)0x80038003);
    return _mm256_shuffle_epi8(scales,
                               second ? _mm256_add_epi8(index, _mm256_set1_epi16(4)) : index);
}

/* The same for 8 unsigned bytes of scales. */
static inline __m256 scale_blocks(struct sums_of_8 sums, __m256i scales, const float *x_scales)
{
    __m256i first = _mm256_madd_epi16(sums.first, spread_scales_of_32(scales, false));
    __m256i second = _mm256_madd_epi16(sums.second, spread_scales_of_32(scales, true));
    __m256 x_first = _mm256_broadcast_ps((const __m128 *)(const void *)x_scales);
    __m256 x_second = _mm256_broadcast_ps((const __m128 *)(const void *)(x_scales + 4));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), x_second,
                           _mm256_mul_ps(_mm256_cvtepi32_ps(first), x_first));
}

/* ---- all ---- */

/* A half of f16 in all lanes. */
static inline __m256 load_half(const uint8_t *half)
{
    int16_t bits;
    memcpy(&bits, half, sizeof(bits));
    return _mm256_cvtph_ps(_mm_set1_epi16(bits));
}

/* Two f16 in turn. */
static inline __m256 load_half_pairs(const uint8_t *halves)
{
    int32_t bits;
    memcpy(&bits, halves, sizeof(bits));
    return _mm256_cvtph_ps(_mm_set1_epi32(bits));
}

/* Sums of 16 signed bytes times sums of activations, one for each block: exact. */
static inline __m256 sum_groups(__m128i bytes, const int16_t *short_sums)
{
    const __m256i sums = _mm256_loadu_si256((const __m256i *)(const void *)short_sums);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), sums));
}

/* Asks for what follows a super-block in a plane of which one has so many bytes; planes with fewer
 * than a cache line are better left to the processor. */
static inline void prefetch_plane(const uint8_t *plane, uint64_t s, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += 64) {
        int8_prefetch_far(plane + s * bytes + i, INT8_STEPS_FAR * bytes);
    }
}

static inline void prefetch_plane_near(const uint8_t *plane, uint64_t s, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += 64) {
        int8_prefetch_near(plane + s * bytes + i, INT8_STEPS_NEAR * bytes);
    }
}

static __m256 row_q2_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    __m256 sum = _mm256_setzero_ps(), minimum = sum;
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *pairs = planes[0] + 64 * s;
        prefetch_plane_near(planes[0], s, 64);
#define CODES(b) codes_q2_k(pairs, b)
        struct sums_of_8 sums = SUMS_OF_GROUPS(CODES, x.q + 256 * s);
#undef CODES
        __m128i bytes = int8_load_16(planes[1] + 16 * s);
        __m256i scales = _mm256_broadcastsi128_si256(_mm_and_si128(bytes, _mm_set1_epi8(15)));
        __m256 dot = scale_groups(sums, scales, 2, x.twice + 16 * s);
        __m256 halves = load_half_pairs(planes[2] + 4 * s);
        sum = _mm256_fmadd_ps(dot, _mm256_moveldup_ps(halves), sum);
        bytes = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
        __m256 minima = sum_groups(bytes, x.short_sums + 16 * s);
        minima = _mm256_mul_ps(minima, _mm256_load_ps(x.scales + 8 * s));
        minimum = _mm256_fmadd_ps(minima, _mm256_movehdup_ps(halves), minimum);
    }
    return _mm256_fmsub_ps(sum, _mm256_set1_ps(0x1p-10f), minimum);
}

DOT_OF_ROW(q2_k)

static __m256 row_q3_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    __m256 sum = _mm256_setzero_ps(), offsets = sum;
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *pairs = planes[0] + 64 * s;
        prefetch_plane_near(planes[0], s, 64);
        __m256i high = load_bytes(planes[1] + 32 * s);
#define CODES(b) codes_q3_k(pairs, high, b)
        struct sums_of_8 sums = SUMS_OF_GROUPS(CODES, x.q + 256 * s);
#undef CODES
        __m128i bytes = int8_unpack_q3_k(planes[2] + 12 * s);
        __m256i scales = _mm256_broadcastsi128_si256(bytes);
        __m256 dot = scale_groups(sums, scales, 2, x.twice + 16 * s);
        __m256 d = load_half(planes[3] + 2 * s);
        sum = _mm256_fmadd_ps(dot, d, sum);
        __m256 groups = sum_groups(bytes, x.short_sums + 16 * s);
        groups = _mm256_mul_ps(groups, _mm256_load_ps(x.scales + 8 * s));
        offsets = _mm256_fmadd_ps(groups, d, offsets);
    }
    offsets = _mm256_mul_ps(offsets, _mm256_set1_ps(4));
    return _mm256_fmsub_ps(sum, _mm256_set1_ps(0x1p-10f), offsets);
}

DOT_OF_ROW(q3_k)

/* q4_k, and q5_k with its high bits. */
static inline __m256 dot_groups_of_32(const uint8_t *nibbles, const uint8_t *high_bits,
                                      const uint8_t *fields, struct int8_row x, uint64_t cols)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256 sum = _mm256_setzero_ps(), minimum = sum;
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *field = fields + 16 * s;
        if (high_bits) {
            prefetch_plane_near(nibbles, s, 128);
        } else {
            prefetch_plane(nibbles, s, 128);
        }
        __m128i integers = int8_unpack_k(field);
        __m256i high = high_bits ? load_bytes(high_bits + 32 * s) : _mm256_setzero_si256();
        __m256i fours[4];
        for (int i = 0; i < 4; i++) {
            __m256i bytes = load_bytes(nibbles + 128 * s + 32 * i);
            __m256i first = _mm256_and_si256(bytes, mask);
            __m256i second = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
            if (high_bits) {
                first = _mm256_or_si256(first, move_bits(high, 1, 2 * i, 4));
                second = _mm256_or_si256(second, move_bits(high, 1, 2 * i + 1, 4));
            }
            const int8_t *q = x.q + 256 * s + 64 * i;
            fours[i] = sums_of_4(first, q, second, q + 32);
        }
        __m256i scales = _mm256_broadcastsi128_si256(integers);
        __m256 dot = scale_blocks(add_fours(fours), scales, x.scales + 8 * s);
        __m256 halves = load_half_pairs(field);
        sum = _mm256_fmadd_ps(dot, _mm256_moveldup_ps(halves), sum);
        __m256 minima =
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(integers, integers)));
        minima = _mm256_mul_ps(minima, _mm256_loadu_ps(x.sums32 + 8 * s));
        minimum = _mm256_fmadd_ps(minima, _mm256_movehdup_ps(halves), minimum);
    }
    return _mm256_sub_ps(sum, minimum);
}

static __m256 row_q4_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    return dot_groups_of_32(planes[0], NULL, planes[1], x, cols);
}

DOT_OF_ROW(q4_k)

static __m256 row_q5_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    return dot_groups_of_32(planes[0], planes[1], planes[2], x, cols);
}

DOT_OF_ROW(q5_k)

/* With the offset taken off, sums fit into 16 bits; before, modulo 2^16. */
static __m256 row_q6_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    __m256 sum = _mm256_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *low = planes[0] + 128 * s, *high = planes[1] + 64 * s;
        prefetch_plane(planes[0], s, 128);
        prefetch_plane(planes[1], s, 64);
#define CODES(b) codes_q6_k(low, high, b)
        struct sums_of_8 sums = SUMS_OF_GROUPS(CODES, x.q + 256 * s);
#undef CODES
        sums.first = _mm256_sub_epi16(sums.first, load_bytes(x.offsets + 32 * s));
        sums.second = _mm256_sub_epi16(sums.second, load_bytes(x.offsets + 32 * s + 16));
        __m256i scales = _mm256_broadcastsi128_si256(int8_load_16(planes[2] + 16 * s));
        __m256 dot = scale_groups(sums, scales, 0, x.twice + 16 * s);
        sum = _mm256_fmadd_ps(dot, load_half(planes[3] + 2 * s), sum);
    }
    return _mm256_mul_ps(sum, _mm256_set1_ps(0x1p-8f));
}

DOT_OF_ROW(q6_k)

static __m256 row_iq4_xs(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    const __m256i table = load_iq4_values();
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, minimum = sums[0];
    for (uint64_t s = 0; s < cols / 256; s++) {
        __m256 scales = int8_unpack_iq4_xs(planes[1] + 8 * s);
        if (SIGNED_OFFSET) {
            minimum = _mm256_fnmadd_ps(scales, _mm256_loadu_ps(x.sums32 + 8 * s), minimum);
        }
        scales = _mm256_mul_ps(scales, _mm256_loadu_ps(x.scales + 8 * s));
        for (int b = 0; b < 8; b += 2) {
            struct half_blocks nibbles = split_nibbles(load_bytes(planes[0] + 128 * s + 16 * b));
            __m256i products =
                multiply_half_blocks_signed(look_up(table, nibbles), x.halves, 8 * s + (uint64_t)b);
            sums[b / 2 % 2] = add_two_blocks(products, scales, b, sums[b / 2 % 2]);
        }
    }
    minimum = _mm256_mul_ps(minimum, _mm256_set1_ps(SIGNED_OFFSET));
    return _mm256_add_ps(minimum, _mm256_add_ps(sums[0], sums[1]));
}

DOT_OF_ROW(iq4_xs)
