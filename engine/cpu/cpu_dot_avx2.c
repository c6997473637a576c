/* The rung of AVX2, FMA and F16C: float types in floats here, block types on int8 activations. */
#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_dot_int8.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"
#include "format/f16.h"

#define SIGNED_OFFSET 0

/* Pairs of products add up to 16 bits: at most 255 * 127 * 2 would overflow, but our weights are at
 * most 128, so they do not. */
static inline __m256i multiply_unsigned(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}

/* Sums of four fit, too. */
static inline __m256i multiply_two_small(__m256i w, __m256i x, __m256i v, __m256i z)
{
    __m256i fours = _mm256_add_epi16(_mm256_maddubs_epi16(w, x), _mm256_maddubs_epi16(v, z));
    return _mm256_madd_epi16(fours, _mm256_set1_epi16(1));
}

static inline __m256i shift_signed(__m256i w)
{
    return w;
}

/* The signs of weights go to the activations. */
static inline __m256i multiply_signed(__m256i w, __m256i x)
{
    return multiply_unsigned(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

static inline __m256i multiply_two_signed(__m256i w, __m256i x, __m256i v, __m256i z)
{
    return _mm256_add_epi32(multiply_signed(w, x), multiply_signed(v, z));
}

#include "engine/cpu/cpu_dot_blocks_avx2.h"
#include "engine/cpu/cpu_dot_k_avx2.h"

#define FLOAT_DOT(type, bytes) \
    static float dot_##type(const uint8_t *const planes[], const void *activations, uint64_t n) \
    { \
        const uint8_t *w = planes[0]; \
        const float *x = activations; \
        __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), \
                          _mm256_setzero_ps()}; \
        uint64_t i = 0; \
        for (; i + 32 <= n; i += 32) { \
            for (uint64_t k = 0; k < 4; k++) { \
                sums[k] = _mm256_fmadd_ps(load_##type(w + (i + 8 * k) * bytes), \
                                          _mm256_loadu_ps(x + i + 8 * k), sums[k]); \
            } \
        } \
        for (; i + 8 <= n; i += 8) { \
            sums[0] = \
                _mm256_fmadd_ps(load_##type(w + i * bytes), _mm256_loadu_ps(x + i), sums[0]); \
        } \
        if (i < n) { \
            sums[1] = _mm256_fmadd_ps(load_##type##_last(w + i * bytes, n - i), \
                                      load_f32_last((const uint8_t *)(x + i), n - i), sums[1]); \
        } \
        return add_lanes( \
            _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

const struct cpu_level cpu_level_avx2 = {
    .name = "avx2",
    .features = CPU_AVX2,
    .dots = {[CPU_DTYPE_F32] = {.dot = dot_f32},
             [CPU_DTYPE_F16] = {.dot = dot_f16},
             [CPU_DTYPE_BF16] = {.dot = dot_bf16},
#define X(NAME, name) \
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, dot_##name, dot_rows_##name},
             INT8_TYPES(X)
#undef X
    },
    .tiles =
        {
#define X(NAME, name) [CPU_DTYPE_##NAME] = {cpu_block_##name##_avx2, 0, 4, 1},
            BLOCK_TYPES(X)
#undef X
#define X(NAME, name, groups, minima, offset, quads, from, from_avx512_vnni) \
    [CPU_DTYPE_##NAME] = {cpu_tile_##name##_avx2, CPU_TILE_BYTES(32), 16, from},
                TILE_TYPES(X)
#undef X
        },
    .attention = &cpu_attention_math_avx2,
};
