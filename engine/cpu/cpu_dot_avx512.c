/* Dot products of the float types with AVX-512. Block types stay with the rung below here: without
 * VNNI, wider vectors gain them nothing over memory. The end of a row is read through a mask.
 */
#include <immintrin.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_x86.h"

static inline __mmask16 first_lanes(uint64_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1);
}

static inline __m512 load_f32(const uint8_t *w)
{
    return _mm512_loadu_ps(w);
}

static inline __m512 load_f32_masked(const uint8_t *w, __mmask16 mask)
{
    return _mm512_maskz_loadu_ps(mask, w);
}

static inline __m512 load_f16(const uint8_t *w)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)w));
}

static inline __m512 load_f16_masked(const uint8_t *w, __mmask16 mask)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, w));
}

static inline __m512 bf16_to_f32(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static inline __m512 load_bf16(const uint8_t *w)
{
    return bf16_to_f32(_mm256_loadu_si256((const __m256i *)(const void *)w));
}

static inline __m512 load_bf16_masked(const uint8_t *w, __mmask16 mask)
{
    return bf16_to_f32(_mm256_maskz_loadu_epi16(mask, w));
}

#define FLOAT_DOT(type, bytes) \
    static float dot_##type##_row(const void *row, const float *x, uint64_t n) \
    { \
        const uint8_t *w = row; \
        __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), \
                          _mm512_setzero_ps()}; \
        uint64_t i = 0; \
        for (; i + 64 <= n; i += 64) { \
            for (uint64_t k = 0; k < 4; k++) { \
                sums[k] = _mm512_fmadd_ps(load_##type(w + (i + 16 * k) * bytes), \
                                          _mm512_loadu_ps(x + i + 16 * k), sums[k]); \
            } \
        } \
        for (; i < n; i += 16) { \
            __mmask16 mask = first_lanes(n - i); \
            sums[0] = _mm512_fmadd_ps(load_##type##_masked(w + i * bytes, mask), \
                                      _mm512_maskz_loadu_ps(mask, x + i), sums[0]); \
        } \
        return _mm512_reduce_add_ps( \
            _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]))); \
    } \
    static float dot_##type(const uint8_t *const planes[], const void *x, uint64_t cols) \
    { \
        return dot_##type##_row(planes[0], x, cols); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

#define ADD_SCALED(type, bytes) \
    static void add_scaled_##type(const void *row, float scale, uint64_t n, float *y) \
    { \
        const uint8_t *w = row; \
        for (uint64_t i = 0; i < n; i += 16) { \
            __mmask16 mask = first_lanes(n - i); \
            __m512 sum = \
                _mm512_fmadd_ps(_mm512_set1_ps(scale), load_##type##_masked(w + i * bytes, mask), \
                                _mm512_maskz_loadu_ps(mask, y + i)); \
            _mm512_mask_storeu_ps(y + i, mask, sum); \
        } \
    }

ADD_SCALED(f32, 4)
ADD_SCALED(f16, 2)

const struct cpu_level cpu_level_avx512 = {
    .name = "avx512",
    .features = CPU_AVX2 | CPU_AVX512,
    .dots =
        {
            [CPU_DTYPE_F32] = {.dot = dot_f32},
            [CPU_DTYPE_F16] = {.dot = dot_f16},
            [CPU_DTYPE_BF16] = {.dot = dot_bf16},
        },
    .f32_cache = {dot_f32_row, add_scaled_f32},
    .f16_cache = {dot_f16_row, add_scaled_f16},
};
