/* The rung of AVX2, FMA and F16C: float types in floats here, block types on int8 activations. */
#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_avx2.h"
#include "engine/cpu/cpu_dot_x86.h"
#include "format/f16.h"

static inline __m256 load_f32(const uint8_t *w)
{
    return _mm256_loadu_ps((const float *)(const void *)w);
}

static inline __m256 load_bf16(const uint8_t *w)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* The last elements of a row, fewer than a vector, with zeros behind them. */
static inline __m256 load_last_x(const float *x, uint64_t n)
{
    float padded[8] = {0};
    memcpy(padded, x, n * sizeof(float));
    return _mm256_loadu_ps(padded);
}

#define FLOAT_DOT(type, bytes) \
    static float dot_##type##_row(const void *row, const float *x, uint64_t n) \
    { \
        const uint8_t *w = row; \
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
            uint8_t last[8 * bytes] = {0}; \
            memcpy(last, w + i * bytes, (n - i) * bytes); \
            sums[1] = _mm256_fmadd_ps(load_##type(last), load_last_x(x + i, n - i), sums[1]); \
        } \
        return add_lanes( \
            _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))); \
    } \
    static float dot_##type(const uint8_t *const planes[], const void *x, uint64_t cols) \
    { \
        return dot_##type##_row(planes[0], x, cols); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

static void add_scaled_f32(const void *row, float scale, uint64_t n, float *y)
{
    const float *values = row;
    __m256 factor = _mm256_set1_ps(scale);
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 sum = _mm256_fmadd_ps(factor, _mm256_loadu_ps(values + i), _mm256_loadu_ps(y + i));
        _mm256_storeu_ps(y + i, sum);
    }
    for (; i < n; i++) {
        y[i] += scale * values[i];
    }
}

static void add_scaled_f16(const void *row, float scale, uint64_t n, float *y)
{
    const uint16_t *halves = row;
    __m256 factor = _mm256_set1_ps(scale);
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 values = load_f16((const uint8_t *)(halves + i));
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, values, _mm256_loadu_ps(y + i)));
    }
    for (; i < n; i++) {
        y[i] += scale * f32_from_f16(halves[i]);
    }
}

const struct cpu_level cpu_level_avx2 = {
    .name = "avx2",
    .features = CPU_AVX2,
    .dots = {[CPU_DTYPE_F32] = {.dot = dot_f32},
             [CPU_DTYPE_F16] = {.dot = dot_f16},
             [CPU_DTYPE_BF16] = {.dot = dot_bf16},
#define X(NAME, name) \
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, cpu_dot_##name##_avx2},
             INT8_TYPES(X)
#undef X
    },
    .f32_cache = {dot_f32_row, add_scaled_f32},
    .f16_cache = {dot_f16_row, add_scaled_f16},
};
