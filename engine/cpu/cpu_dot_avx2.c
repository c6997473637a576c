/* The rung of AVX2, FMA and F16C: float types in floats here, block types on int8 activations. */
#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_dot_avx2.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"
#include "format/f16.h"

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
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, cpu_dot_##name##_avx2, NULL},
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
