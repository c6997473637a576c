/* Dot products of the float types with AVX-512. Block types stay with the rung below here: without
 * VNNI, wider vectors gain them nothing over memory.
 */
#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_dot_avx512.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"

#define FLOAT_DOT(type, bytes) \
    static float dot_##type(const uint8_t *const planes[], const void *activations, uint64_t n) \
    { \
        const uint8_t *w = planes[0]; \
        const float *x = activations; \
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
            sums[0] = _mm512_fmadd_ps(load_##type##_last(w + i * bytes, n - i), \
                                      _mm512_maskz_loadu_ps(mask, x + i), sums[0]); \
        } \
        return _mm512_reduce_add_ps( \
            _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]))); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

const struct cpu_level cpu_level_avx512 = {
    .name = "avx512",
    .features = CPU_AVX2 | CPU_AVX512,
    .dots =
        {
            [CPU_DTYPE_F32] = {.dot = dot_f32},
            [CPU_DTYPE_F16] = {.dot = dot_f16},
            [CPU_DTYPE_BF16] = {.dot = dot_bf16},
        },
    .tiles =
        {
#define X(NAME, name) [CPU_DTYPE_##NAME] = {cpu_block_##name##_avx512, 0, 4, 1},
            BLOCK_TYPES(X)
#undef X
        },
    .attention = &cpu_attention_math_avx512,
};
