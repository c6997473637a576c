/* What the dot products with NEON share. */
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "engine/cpu/cpu_int8_row.h"

/* In cpu_dot_int8_neon.c, for both rungs. A row with an infinity or NaN gets a NaN scale in that
 * block, so that the result is NaN as it is in floats. */
uint64_t cpu_int8_bytes_neon(uint64_t cols);
void cpu_int8_prepare_neon(const float *x, uint64_t cols, void *prepared);

static inline float32x4_t load_f32(const uint8_t *w)
{
    return vreinterpretq_f32_u8(vld1q_u8(w));
}

static inline float32x4_t load_f16(const uint8_t *w)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(w)));
}

static inline float32x4_t load_bf16(const uint8_t *w)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(w)), 16));
}

/* Element i of the result is the sum of products[i]. */
static inline int32x4_t sum_each(const int32x4_t products[4])
{
    return vpaddq_s32(vpaddq_s32(products[0], products[1]), vpaddq_s32(products[2], products[3]));
}

/* Takes away what codes that are too large by an offset, a power of two, have added. */
static inline int32x4_t take_offset(int32x4_t sums, const int32_t *shifts, int offset)
{
    return sums + (vld1q_s32(shifts) >> (7 - __builtin_ctz((unsigned)offset)));
}

static inline float32x4_t add_scaled(float32x4_t to, int32x4_t sums, float32x4_t scales)
{
    return vfmaq_f32(to, vcvtq_f32_s32(sums), scales);
}

/* Signed bytes as 32-bit numbers. */
struct sixteen {
    int32x4_t four[4];
};

static inline struct sixteen widen(int8x16_t bytes)
{
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return (struct sixteen){{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                             vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)}};
}
