/* Loads of float types, as floats, with AVX-512. Of the last n elements of a row no more is read.
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>

static inline __mmask16 first_lanes(uint64_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1);
}

static inline __m512 load_f32(const uint8_t *w)
{
    return _mm512_loadu_ps(w);
}

static inline __m512 load_f32_last(const uint8_t *w, uint64_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), w);
}

static inline __m512 load_f16(const uint8_t *w)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)w));
}

static inline __m512 load_f16_last(const uint8_t *w, uint64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), w));
}

static inline __m512 bf16_to_f32(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline __m512 load_bf16(const uint8_t *w)
{
    return bf16_to_f32(_mm256_loadu_si256((const __m256i *)(const void *)w));
}

static inline __m512 load_bf16_last(const uint8_t *w, uint64_t n)
{
    return bf16_to_f32(_mm256_maskz_loadu_epi16(first_lanes(n), w));
}
