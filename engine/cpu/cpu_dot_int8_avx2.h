/* What the dot products on int8 activations with vectors of 256 bits share. They are written once
 * and compiled for AVX2 and for AVX-VNNI: the including file defines how bytes are multiplied,
 *
 *     multiply_unsigned(w, x)          eight sums of four products of unsigned with signed bytes,
 *                                      weights at most 128
 *     multiply_two_small(w, x, v, z)   of eight products, of w * x and v * z; weights at most 31
 *     shift_signed(w)                  signed bytes as weights for
 *     multiply_signed(w, x), multiply_two_signed(w, x, v, z)
 *     SIGNED_OFFSET                    what is added to each weight with that
 *
 * Rows are done one after the other: two could share loads only, which cost little beside the
 * arithmetic, and processors read ahead best in one row.
 */
#pragma once

#include "engine/cpu/cpu_dot_avx2.h"

static inline __m256 add_scaled_sums(__m256i sums, const float *scale, __m256 to)
{
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_broadcast_ss(scale), to);
}

/* Adds sums * scales, each of scales[first], scales[first + 1] for one half of the lanes. */
static inline __m256 add_two_blocks(__m256i sums, __m256 scales, int first, __m256 to)
{
    __m256i index =
        _mm256_add_epi32(_mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), _mm256_set1_epi32(first));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_permutevar8x32_ps(scales, index), to);
}

/* Two blocks whose 16 bytes each hold elements 0..15 in low and 16..31 in high nibbles: a lane of
 * 128 bits is half a block. */
struct half_blocks {
    __m256i first, second;
};

static inline struct half_blocks split_nibbles(__m256i bytes)
{
    const __m256i mask = _mm256_set1_epi8(15);
    return (struct half_blocks){_mm256_and_si256(bytes, mask),
                                _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask)};
}

static inline struct half_blocks look_up(__m256i table, struct half_blocks nibbles)
{
    return (struct half_blocks){_mm256_shuffle_epi8(table, nibbles.first),
                                _mm256_shuffle_epi8(table, nibbles.second)};
}

/* The values of iq4_nl and iq4_xs. */
static inline __m256i load_iq4_values(void)
{
    __m256i codes = _mm256_broadcastsi128_si256(int8_load_16(int8_iq4_codes));
    return shift_signed(_mm256_xor_si256(codes, _mm256_set1_epi8(-128)));
}

/* Eight sums of eight products each, four of either block: b and b + 1 of a row, b even. */
static inline __m256i multiply_half_blocks(struct half_blocks w, const int8_t *halves, uint64_t b)
{
    const int8_t *x = halves + 128 * (b / 4) + 16 * (b % 4);
    return multiply_two_small(w.first, load_bytes(x), w.second, load_bytes(x + 64));
}

/* The same for signed weights of any size. */
static inline __m256i multiply_half_blocks_signed(struct half_blocks w, const int8_t *halves,
                                                  uint64_t b)
{
    const int8_t *x = halves + 128 * (b / 4) + 16 * (b % 4);
    return multiply_two_signed(w.first, load_bytes(x), w.second, load_bytes(x + 64));
}

/* Both functions of a type, made of row_<type>(planes, x, cols), whose lanes' sum is the product.
 */
#define DOT_OF_ROW(type) \
    static float dot_##type(const uint8_t *const planes[], const void *prepared, uint64_t cols) \
    { \
        return add_lanes(row_##type(planes, int8_row_of(prepared, cols), cols)); \
    } \
    static void dot_rows_##type(const uint8_t *const planes[], const uint64_t strides[], \
                                uint64_t n, const void *prepared, uint64_t cols, float *y) \
    { \
        const struct int8_row x = int8_row_of(prepared, cols); \
        const uint8_t *row[DTYPE_MAX_PLANES] = {planes[0], planes[1], planes[2], planes[3]}; \
        __m256 sums[4]; \
        for (uint64_t i = 0; i < n; i++) { \
            sums[i % 4] = row_##type(row, x, cols); \
            if (i % 4 == 3) { \
                _mm_storeu_ps(y + i - 3, sum_lanes(sums[0], sums[1], sums[2], sums[3])); \
            } \
            for (uint32_t p = 0; p < DTYPE_MAX_PLANES; p++) { \
                row[p] += strides[p]; \
            } \
        } \
        for (uint64_t i = n / 4 * 4; i < n; i++) { \
            y[i] = add_lanes(sums[i % 4]); \
        } \
    }
