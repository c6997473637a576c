/* Dot products of the types with blocks of 32 with NEON, four blocks at a time; written once for
 * both rungs, which define
 *
 *     multiply_quads(sums, w, x)    adds 16 products of signed bytes to the 4 lanes of sums
 */
#pragma once

#include "engine/cpu/cpu_dot_neon.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The values of nibbles in iq4_nl and iq4_xs, and in mxfp4 (E2M1 doubled). */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 32 codes times 32 activations. */
ALWAYS_INLINE int32x4_t multiply_block(int8x16_t first, int8x16_t second, const int8_t *x)
{
    int32x4_t sums = multiply_quads(vdupq_n_s32(0), first, vld1q_s8(x));
    return multiply_quads(sums, second, vld1q_s8(x + 16));
}

ALWAYS_INLINE int8x16_t low_nibbles(uint8x16_t bytes)
{
    return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
}

ALWAYS_INLINE int8x16_t high_nibbles(uint8x16_t bytes)
{
    return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
}

/* 16 bytes with elements 0..15 in low and 16..31 in high nibbles, as they are or looked up. */
ALWAYS_INLINE int32x4_t multiply_nibbles(const uint8_t *w, const int8_t *x)
{
    uint8x16_t bytes = vld1q_u8(w);
    return multiply_block(low_nibbles(bytes), high_nibbles(bytes), x);
}

ALWAYS_INLINE int32x4_t multiply_looked_up(const uint8_t *w, const int8_t *values, const int8_t *x)
{
    uint8x16_t bytes = vld1q_u8(w);
    int8x16_t table = vld1q_s8(values);
    return multiply_block(vqtbl1q_s8(table, vreinterpretq_u8_s8(low_nibbles(bytes))),
                          vqtbl1q_s8(table, vreinterpretq_u8_s8(high_nibbles(bytes))), x);
}

/* Sums of products of up to four blocks; those that are not there are 0. */
#define FOUR_BLOCKS(type, product) \
    ALWAYS_INLINE int32x4_t multiply_##type(const uint8_t *const planes[], const int8_t *q, \
                                            uint64_t b, uint64_t n) \
    { \
        int32x4_t products[4]; \
        _Pragma("GCC unroll 4") for (uint64_t i = 0; i < 4; i++) \
        { \
            const int8_t *x = q + 32 * (b + i); \
            products[i] = i < n ? (product) : vdupq_n_s32(0); \
        } \
        return sum_each(products); \
    }

FOUR_BLOCKS(q4_0, multiply_nibbles(planes[0] + 16 * (b + i), x))
FOUR_BLOCKS(iq4_nl, multiply_looked_up(planes[0] + 16 * (b + i), iq4_values, x))
FOUR_BLOCKS(mxfp4, multiply_looked_up(planes[0] + 16 * (b + i), mxfp4_values, x))
FOUR_BLOCKS(q8_0, multiply_block(vreinterpretq_s8_u8(vld1q_u8(planes[0] + 32 * (b + i))),
                                 vreinterpretq_s8_u8(vld1q_u8(planes[0] + 32 * (b + i) + 16)), x))

/* Bytes first.. and the one behind it, 8 bits each, as bit 4 of 16 codes. */
ALWAYS_INLINE int8x16_t add_fifth_bits(int8x16_t codes, uint8x16_t bits, uint64_t first)
{
    uint8x16_t spread =
        vqtbl1q_u8(bits, vcombine_u8(vdup_n_u8((uint8_t)first), vdup_n_u8((uint8_t)(first + 1))));
    const uint8x8_t each = vcreate_u8(0x8040201008040201);
    uint8x16_t set = vtstq_u8(spread, vcombine_u8(each, each));
    uint8x16_t fifth = vandq_u8(set, vdupq_n_u8(16));
    return vreinterpretq_s8_u8(vorrq_u8(vreinterpretq_u8_s8(codes), fifth));
}

ALWAYS_INLINE int32x4_t multiply_fives(const uint8_t *w, uint8x16_t bits, uint64_t i,
                                       const int8_t *x)
{
    uint8x16_t bytes = vld1q_u8(w);
    return multiply_block(add_fifth_bits(low_nibbles(bytes), bits, 4 * i),
                          add_fifth_bits(high_nibbles(bytes), bits, 4 * i + 2), x);
}

FOUR_BLOCKS(q5_0, multiply_fives(planes[0] + 16 * (b + i), vld1q_u8(planes[1] + 4 * b), i, x))

/* Scales and minima of four blocks. What lies behind a row's last block, up to its stride, is
 * zero. */
struct factors {
    float32x4_t scales, minima;
};

ALWAYS_INLINE struct factors load_pairs(const uint8_t *w)
{
    uint16x4x2_t pairs = vld2_u16((const uint16_t *)(const void *)w);
    return (struct factors){vcvt_f32_f16(vreinterpret_f16_u16(pairs.val[0])),
                            vcvt_f32_f16(vreinterpret_f16_u16(pairs.val[1]))};
}

ALWAYS_INLINE struct factors load_scales(const uint8_t *w)
{
    return (struct factors){.scales = load_f16(w)};
}

/* 2^(e - 128), subnormals included: E2M1 is doubled. */
ALWAYS_INLINE struct factors load_e8m0(const uint8_t *w)
{
    uint32_t four;
    memcpy(&four, w, sizeof(four));
    uint16x8_t wide = vmovl_u8(vcreate_u8(four));
    uint32x4_t e = vmovl_u16(vget_low_u16(wide));
    uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
    uint32x4_t subnormal = vshlq_n_u32(vaddq_u32(e, vdupq_n_u32(1)), 21);
    uint32x4_t bits = vbslq_u32(vcgtq_u32(e, vdupq_n_u32(1)), normal, subnormal);
    return (struct factors){.scales = vreinterpretq_f32_u32(bits)};
}

/* codes: which multiply_<codes>; factors: of blocks b to b + 3. */
#define BLOCK_DOT(type, codes, offset, has_minima, load_factors) \
    ALWAYS_INLINE void add_##type(const uint8_t *const planes[], const struct int8_row *x, \
                                  uint64_t b, uint64_t n, struct factors *sums) \
    { \
        struct factors factors = load_factors; \
        int32x4_t products = multiply_##codes(planes, x->q, b, n); \
        if (offset) { \
            products = take_offset(products, x->shifts32 + b, offset); \
        } \
        float32x4_t scales = vmulq_f32(factors.scales, vld1q_f32(x->scales + b)); \
        sums->scales = add_scaled(sums->scales, products, scales); \
        if (has_minima) { \
            sums->minima = vfmaq_f32(sums->minima, factors.minima, vld1q_f32(x->sums32 + b)); \
        } \
    } \
    static float dot_##type(const uint8_t *const planes[], const void *prepared, uint64_t cols) \
    { \
        struct int8_row x = int8_row_of(prepared, cols); \
        struct factors sums = {vdupq_n_f32(0), vdupq_n_f32(0)}; \
        uint64_t blocks = cols / 32, b = 0; \
        for (; b + 4 <= blocks; b += 4) { \
            add_##type(planes, &x, b, 4, &sums); \
        } \
        if (b < blocks) { \
            add_##type(planes, &x, b, blocks - b, &sums); \
        } \
        return vaddvq_f32(vaddq_f32(sums.scales, sums.minima)); \
    }

BLOCK_DOT(q4_0, q4_0, 8, false, load_scales(planes[1] + 2 * b))
BLOCK_DOT(q4_1, q4_0, 0, true, load_pairs(planes[1] + 4 * b))
BLOCK_DOT(q5_0, q5_0, 16, false, load_scales(planes[2] + 2 * b))
BLOCK_DOT(q5_1, q5_0, 0, true, load_pairs(planes[2] + 4 * b))
BLOCK_DOT(q8_0, q8_0, 0, false, load_scales(planes[1] + 2 * b))
BLOCK_DOT(iq4_nl, iq4_nl, 0, false, load_scales(planes[1] + 2 * b))
BLOCK_DOT(mxfp4, mxfp4, 0, false, load_e8m0(planes[1] + b))
