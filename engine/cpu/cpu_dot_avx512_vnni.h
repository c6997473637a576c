/* What the dot products with AVX-512 VNNI share. A vector holds 64 weights, two blocks of
 * activations; dpbusd adds unsigned times signed bytes in fours to 32 bits.
 */
#pragma once

#include "engine/cpu/cpu_dot_int8.h"

static inline __m512i load_bytes(const void *bytes)
{
    return _mm512_loadu_si512(bytes);
}

/* The same 32 bytes in both halves. */
static inline __m512i load_twice(const void *bytes)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)bytes));
}

static inline __m512i multiply_unsigned(__m512i w, __m512i x)
{
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, x);
}

/* Adds sums * scales, each of scales[first], scales[first + 1] for one half of the lanes. */
static inline __m512 add_two_blocks(__m512i sums, __m512 scales, int first, __m512 to)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
                         _mm512_set1_epi32(first));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(index, scales), to);
}

/* Adds sums * scales, each of scales[first] to scales[first + 3] for a quarter of the lanes. */
static inline __m512 add_four_blocks(__m512i sums, __m512 scales, int first, __m512 to)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                         _mm512_set1_epi32(first));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(index, scales), to);
}

/* Four blocks whose 16 bytes each hold elements 0..15 in low and 16..31 in high nibbles: a quarter
 * of a vector is half a block. */
struct half_blocks {
    __m512i first, second;
};

static inline struct half_blocks split_nibbles(__m512i bytes)
{
    const __m512i mask = _mm512_set1_epi8(15);
    return (struct half_blocks){_mm512_and_si512(bytes, mask),
                                _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask)};
}

static inline struct half_blocks look_up(const uint8_t table[16], struct half_blocks nibbles)
{
    __m512i codes = _mm512_broadcast_i32x4(int8_load_16(table));
    return (struct half_blocks){_mm512_shuffle_epi8(codes, nibbles.first),
                                _mm512_shuffle_epi8(codes, nibbles.second)};
}

static inline __m512i multiply_half_blocks(struct half_blocks w, const int8_t *halves)
{
    __m512i sums = multiply_unsigned(w.first, load_bytes(halves));
    return _mm512_dpbusd_epi32(sums, w.second, load_bytes(halves + 64));
}
