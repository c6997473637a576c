/* The rung of NEON as every 64-bit ARM has it: float types in floats here, block types on int8
 * activations.
 */
#include <stdbool.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_dot_neon.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"

/* Products are added up in pairs to 16 bits: at most 2 * 128 * 127. */
static inline int32x4_t multiply_quads(int32x4_t sums, int8x16_t w, int8x16_t x)
{
    int16x8_t pairs = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    return vpadalq_s16(sums, vmlal_high_s8(pairs, w, x));
}

#include "engine/cpu/cpu_dot_k_neon.h"

/* The last elements of a row, fewer than a vector, get zeros behind them. */
#define FLOAT_DOT(type, bytes) \
    static float dot_##type(const uint8_t *const planes[], const void *activations, uint64_t n) \
    { \
        const uint8_t *w = planes[0], *x = activations; \
        float32x4_t sums[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)}; \
        uint64_t i = 0; \
        for (; i + 16 <= n; i += 16) { \
            _Pragma("GCC unroll 4") for (uint64_t k = 0; k < 4; k++) \
            { \
                sums[k] = vfmaq_f32(sums[k], load_##type(w + (i + 4 * k) * bytes), \
                                    load_f32(x + (i + 4 * k) * 4)); \
            } \
        } \
        for (; i + 4 <= n; i += 4) { \
            sums[0] = vfmaq_f32(sums[0], load_##type(w + i * bytes), load_f32(x + i * 4)); \
        } \
        if (i < n) { \
            uint8_t last_w[4 * bytes] = {0}, last_x[16] = {0}; \
            memcpy(last_w, w + i * bytes, (n - i) * bytes); \
            memcpy(last_x, x + i * 4, (n - i) * 4); \
            sums[1] = vfmaq_f32(sums[1], load_##type(last_w), load_f32(last_x)); \
        } \
        return vaddvq_f32(vaddq_f32(vaddq_f32(sums[0], sums[1]), vaddq_f32(sums[2], sums[3]))); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

const struct cpu_level cpu_level_neon = {
    .name = "neon",
    .features = CPU_NEON,
    .dots = {[CPU_DTYPE_F32] = {.dot = dot_f32},
             [CPU_DTYPE_F16] = {.dot = dot_f16},
             [CPU_DTYPE_BF16] = {.dot = dot_bf16},
#define X(NAME, name, ...) \
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_neon, cpu_int8_prepare_neon, dot_##name, NULL},
             TILE_TYPES(X)
#undef X
    },
    .attention = &cpu_attention_math_neon,
};
