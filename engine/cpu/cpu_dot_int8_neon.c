/* Activations as int8, with NEON. */
#include <stdbool.h>

#include "engine/cpu/cpu_dot_neon.h"

uint64_t cpu_int8_bytes_neon(uint64_t cols)
{
    uint64_t padded = int8_padded(cols);
    return padded + (padded / 32 + padded / 16 + padded / 32) * sizeof(float) +
           (padded / 16 + padded / 32) * sizeof(int32_t);
}

/* Below this, 127 / largest would be infinite; such a block is zero. */
#define SMALLEST_MAGNITUDE 1e-30f

/* Where the numbers of one block go. */
struct block {
    int8_t *q;
    float *scale, *sums16, *sums32;
    int32_t *shifts16, *shifts32;
};

/* Four vectors of 4 as 16 bytes. */
static int8x16_t narrow(const int32x4_t n[4])
{
    int16x8_t first = vcombine_s16(vmovn_s32(n[0]), vmovn_s32(n[1]));
    int16x8_t second = vcombine_s16(vmovn_s32(n[2]), vmovn_s32(n[3]));
    return vcombine_s8(vmovn_s16(first), vmovn_s16(second));
}

static void prepare_block(const float *source, struct block to)
{
    float32x4_t x[8];
    /* 0 if all are finite, else NaN: infinity and NaN times zero are NaN. */
    float32x4_t largest = vdupq_n_f32(0), zeros = largest;
    for (int k = 0; k < 8; k++) {
        x[k] = vld1q_f32(source + 4 * k);
        largest = vmaxq_f32(largest, vabsq_f32(x[k]));
        zeros = vfmaq_f32(zeros, x[k], vdupq_n_f32(0));
    }
    float magnitude = vmaxvq_f32(largest);
    bool zero = magnitude < SMALLEST_MAGNITUDE;
    float d = (zero ? 0 : magnitude / 127) + vaddvq_f32(zeros);
    float32x4_t inverse = vdupq_n_f32(zero ? 0 : 127 / magnitude);
    int32x4_t n[8];
    for (int k = 0; k < 8; k++) {
        n[k] = vcvtnq_s32_f32(vmulq_f32(x[k], inverse));
    }
    for (int half = 0; half < 2; half++) {
        int8x16_t q = narrow(n + 4 * half);
        vst1q_s8(to.q + 16 * half, q);
        int32_t sum = vaddlvq_s8(q);
        to.sums16[half] = d * (float)sum;
        to.shifts16[half] = -128 * sum;
    }
    *to.scale = d;
    *to.shifts32 = to.shifts16[0] + to.shifts16[1];
    *to.sums32 = to.sums16[0] + to.sums16[1];
}

void cpu_int8_prepare_neon(const float *x, uint64_t cols, void *prepared)
{
    struct int8_row row = int8_row_of(prepared, cols);
    int8_t *q = prepared;
    float *scales = (float *)row.scales;
    float *sums16 = (float *)row.sums16;
    float *sums32 = (float *)row.sums32;
    int32_t *shifts16 = (int32_t *)row.shifts16;
    int32_t *shifts32 = (int32_t *)row.shifts32;
    uint64_t blocks = cols / 32, padding = int8_padded(cols) / 32 - blocks;
    for (uint64_t b = 0; b < blocks; b++) {
        prepare_block(x + 32 * b, (struct block){q + 32 * b, scales + b, sums16 + 2 * b, sums32 + b,
                                                 shifts16 + 2 * b, shifts32 + b});
    }
    memset(q + 32 * blocks, 0, 32 * padding);
    memset(scales + blocks, 0, padding * sizeof(float));
    memset(sums16 + 2 * blocks, 0, 2 * padding * sizeof(float));
    memset(sums32 + blocks, 0, padding * sizeof(float));
    memset(shifts16 + 2 * blocks, 0, 2 * padding * sizeof(int32_t));
    memset(shifts32 + blocks, 0, padding * sizeof(int32_t));
}
