/* What the products with AVX2, FMA and F16C share: sums of lanes, and loads of float types. */
#pragma once

#include "engine/cpu/cpu_dot_int8.h"

static inline float add_lanes(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* The sum of the lanes of each. */
static inline __m128 sum_lanes(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

static inline __m256 load_f32(const uint8_t *w)
{
    return _mm256_loadu_ps((const float *)(const void *)w);
}

static inline __m256 load_bf16(const uint8_t *w)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline __m256 load_f16(const uint8_t *w)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)w));
}

/* The last n elements of a row, fewer than a vector, with zeros behind them. */
#define LOAD_LAST(type, bytes) \
    static inline __m256 load_##type##_last(const uint8_t *w, uint64_t n) \
    { \
        uint8_t last[8 * bytes] = {0}; \
        memcpy(last, w, n *bytes); \
        return load_##type(last); \
    }
LOAD_LAST(f32, 4)
LOAD_LAST(f16, 2)
LOAD_LAST(bf16, 2)

static inline __m256i load_bytes(const void *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}
