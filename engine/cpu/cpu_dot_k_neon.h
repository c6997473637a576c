/* Dot products of the types with super-blocks of 256 (q2_k to q6_k, iq4_xs) with NEON; written once
 * for both rungs, like the blocks of 32. Half h of a super-block holds its elements 128 h to
 * 128 h + 127, block b its elements 32 b to 32 b + 31.
 */
#pragma once

#include <stddef.h>

#include "engine/cpu/cpu_dot_blocks_neon.h"

ALWAYS_INLINE float half_at(const uint8_t *bytes)
{
    __fp16 half;
    memcpy(&half, bytes, sizeof(half));
    return (float)half;
}

/* ---- groups of 32: q4_k, q5_k, iq4_xs ---- */

/* The 8 scales, then the 8 minima of q4_k and q5_k: behind f16 d and dmin come S[12]; groups 0..3
 * have low bits of S[0..3] and S[4..7], groups 4..7 nibbles of S[8..11] and the upper two bits of
 * the others. */
ALWAYS_INLINE int8x16_t unpack_k(const uint8_t *field)
{
    uint64_t eight;
    uint32_t four;
    memcpy(&eight, field + 4, sizeof(eight));
    memcpy(&four, field + 12, sizeof(four));
    uint64_t nibbles = (uint64_t)(four >> 4 & 0x0F0F0F0Fu) << 32 | (four & 0x0F0F0F0Fu);
    uint64_t first_groups = eight & 0x3F3F3F3F3F3F3F3Fu;
    uint64_t last_groups = (eight >> 2 & 0x3030303030303030u) | nibbles;
    uint32x2_t first = vcreate_u32(first_groups), last = vcreate_u32(last_groups);
    return vreinterpretq_s8_u32(vcombine_u32(vzip1_u32(first, last), vzip2_u32(first, last)));
}

/* Bit 4 of 16 codes from bit `group` of as many bytes. */
ALWAYS_INLINE int8x16_t add_bit_4(int8x16_t codes, uint8x16_t high, int group)
{
    uint8x16_t moved = group < 4 ? high << (4 - group) : high >> (group - 4);
    return vreinterpretq_s8_u8(vorrq_u8(vreinterpretq_u8_s8(codes), moved & vdupq_n_u8(16)));
}

/* Two groups: low and high nibbles of 32 bytes. */
ALWAYS_INLINE void multiply_two_groups(const uint8_t *nibbles, const uint8x16_t *high, int group,
                                       const int8_t *x, int32x4_t products[2])
{
    uint8x16_t bytes[2] = {vld1q_u8(nibbles), vld1q_u8(nibbles + 16)};
    int8x16_t first[2], second[2];
    for (int i = 0; i < 2; i++) {
        first[i] = low_nibbles(bytes[i]);
        second[i] = high_nibbles(bytes[i]);
        if (high) {
            first[i] = add_bit_4(first[i], high[i], group);
            second[i] = add_bit_4(second[i], high[i], group + 1);
        }
    }
    products[0] = multiply_block(first[0], first[1], x);
    products[1] = multiply_block(second[0], second[1], x + 32);
}

/* q4_k, and q5_k with its high bits. */
ALWAYS_INLINE float dot_groups_of_32(const uint8_t *nibbles, const uint8_t *high_bits,
                                     const uint8_t *fields, const struct int8_row *x, uint64_t cols)
{
    float32x4_t sum = vdupq_n_f32(0), minimum = sum;
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *field = fields + 16 * s;
        struct sixteen integers = widen(unpack_k(field));
        float32x4_t d_and_dmin = load_f16(field);
        uint8x16_t high[2];
        if (high_bits) {
            high[0] = vld1q_u8(high_bits + 32 * s);
            high[1] = vld1q_u8(high_bits + 32 * s + 16);
        }
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            uint64_t b = 8 * s + 4 * (uint64_t)h;
            int32x4_t products[4];
#pragma GCC unroll 2
            for (int pair = 0; pair < 2; pair++) {
                multiply_two_groups(nibbles + 16 * b + 32 * pair, high_bits ? high : NULL,
                                    4 * h + 2 * pair, x->q + 32 * b + 64 * pair,
                                    products + 2 * pair);
            }
            float32x4_t scales = vmulq_laneq_f32(vld1q_f32(x->scales + b), d_and_dmin, 0);
            scales = vmulq_f32(scales, vcvtq_f32_s32(integers.four[h]));
            sum = add_scaled(sum, sum_each(products), scales);
            float32x4_t sums = vmulq_laneq_f32(vld1q_f32(x->sums32 + b), d_and_dmin, 1);
            minimum = add_scaled(minimum, integers.four[2 + h], sums);
        }
    }
    return vaddvq_f32(vsubq_f32(sum, minimum));
}

static float dot_q4_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    return dot_groups_of_32(planes[0], NULL, planes[1], &x, cols);
}

static float dot_q5_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    return dot_groups_of_32(planes[0], planes[1], planes[2], &x, cols);
}

/* Scales -32..31 of groups 4 h to 4 h + 3 of iq4_xs. The field is f16 d, 8 times two high bits, 8
 * times four low bits. */
ALWAYS_INLINE int32x4_t unpack_iq4_xs(const uint8_t *field, int h)
{
    const int32_t low_places[4] = {0, -4, -8, -12}, high_places[4] = {0, -2, -4, -6};
    uint16_t high_bits, low_bits;
    memcpy(&high_bits, field + 2, sizeof(high_bits));
    memcpy(&low_bits, field + 4 + 2 * h, sizeof(low_bits));
    uint32x4_t low = vshlq_u32(vdupq_n_u32(low_bits), vld1q_s32(low_places));
    uint32x4_t high = vshlq_u32(vdupq_n_u32((uint32_t)high_bits >> 8 * h), vld1q_s32(high_places));
    uint32x4_t codes =
        vorrq_u32(vandq_u32(low, vdupq_n_u32(15)), vshlq_n_u32(vandq_u32(high, vdupq_n_u32(3)), 4));
    return vsubq_s32(vreinterpretq_s32_u32(codes), vdupq_n_s32(32));
}

static float dot_iq4_xs(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    float32x4_t sum = vdupq_n_f32(0);
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *field = planes[1] + 8 * s;
        float32x4_t d = load_f16(field);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            uint64_t b = 8 * s + 4 * (uint64_t)h;
            float32x4_t scales = vmulq_laneq_f32(vld1q_f32(x.scales + b), d, 0);
            scales = vmulq_f32(scales, vcvtq_f32_s32(unpack_iq4_xs(field, h)));
            sum = add_scaled(sum, multiply_iq4_nl(planes, x.q, b, 4), scales);
        }
    }
    return vaddvq_f32(sum);
}

/* ---- groups of 16: q2_k, q3_k, q6_k ---- */

/* What the 8 groups of half a super-block add: products times scale, minus the offset. */
ALWAYS_INLINE int32x4_t sum_groups(const int32x4_t products[8], const struct sixteen *scales, int h,
                                   const int32_t *shifts, int offset)
{
    int32x4_t first = sum_each(products), second = sum_each(products + 4);
    if (offset) {
        first = take_offset(first, shifts, offset);
        second = take_offset(second, shifts + 4, offset);
    }
    return vpaddq_s32(vmulq_s32(first, scales->four[2 * h]),
                      vmulq_s32(second, scales->four[2 * h + 1]));
}

ALWAYS_INLINE int32x4_t multiply_group(uint8x16_t codes, const int8_t *x)
{
    return multiply_quads(vdupq_n_s32(0), vreinterpretq_s8_u8(codes), vld1q_s8(x));
}

/* Bits of `mask` of each byte, which lie at bit `from`, moved to bit `to`. */
ALWAYS_INLINE uint8x16_t move_bits(uint8x16_t bytes, int mask, int from, int to)
{
    uint8x16_t moved = from < to ? bytes << (to - from) : bytes >> (from - to);
    return moved & vdupq_n_u8((uint8_t)(mask << to));
}

/* Codes of two bits, with a third one in `high`, if there. Group 2 k + i of the half is bits 2 k of
 * 16 bytes. */
ALWAYS_INLINE void multiply_pairs(const uint8_t *pairs, const uint8x16_t *high, int h,
                                  const int8_t *x, int32x4_t products[8])
{
    uint8x16_t bytes[2] = {vld1q_u8(pairs), vld1q_u8(pairs + 16)};
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        uint8x16_t codes = move_bits(bytes[g % 2], 3, 2 * (g / 2), 0);
        if (high) {
            codes |= move_bits(high[g % 2], 1, 4 * h + g / 2, 2);
        }
        products[g] = multiply_group(codes, x + 16 * g);
    }
}

static float dot_q2_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    float32x4_t sum = vdupq_n_f32(0), minimum = sum;
    for (uint64_t s = 0; s < cols / 256; s++) {
        uint8x16_t bytes = vld1q_u8(planes[1] + 16 * s);
        struct sixteen scales = widen(low_nibbles(bytes)), minima = widen(high_nibbles(bytes));
        float d = half_at(planes[2] + 4 * s), dmin = half_at(planes[2] + 4 * s + 2);
        float32x4_t lows = vdupq_n_f32(0);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            uint64_t b = 8 * s + 4 * (uint64_t)h;
            int32x4_t products[8];
            multiply_pairs(planes[0] + 8 * b, NULL, h, x.q + 32 * b, products);
            sum = add_scaled(sum, sum_groups(products, &scales, h, NULL, 0),
                             vmulq_n_f32(vld1q_f32(x.scales + b), d));
            lows = add_scaled(lows, minima.four[2 * h], vld1q_f32(x.sums16 + 2 * b));
            lows = add_scaled(lows, minima.four[2 * h + 1], vld1q_f32(x.sums16 + 2 * b + 4));
        }
        minimum = vfmaq_n_f32(minimum, lows, dmin);
    }
    return vaddvq_f32(vsubq_f32(sum, minimum));
}

/* The 16 scales of q3_k, -32..31: four low bits in 8 bytes, two high bits in 4. */
ALWAYS_INLINE int8x16_t unpack_q3_k(const uint8_t *field)
{
    const int8_t places[16] = {4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0, -2, -2, -2, -2};
    uint32_t four;
    memcpy(&four, field + 8, sizeof(four));
    uint8x8_t low = vld1_u8(field);
    uint8x16_t codes = vcombine_u8(vand_u8(low, vdup_n_u8(15)), vshr_n_u8(low, 4));
    uint8x16_t high = vshlq_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), vld1q_s8(places));
    codes = vorrq_u8(codes, vandq_u8(high, vdupq_n_u8(0x30)));
    return vsubq_s8(vreinterpretq_s8_u8(codes), vdupq_n_s8(32));
}

static float dot_q3_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    float32x4_t sum = vdupq_n_f32(0);
    for (uint64_t s = 0; s < cols / 256; s++) {
        struct sixteen scales = widen(unpack_q3_k(planes[2] + 12 * s));
        float d = half_at(planes[3] + 2 * s);
        uint8x16_t high[2] = {vld1q_u8(planes[1] + 32 * s), vld1q_u8(planes[1] + 32 * s + 16)};
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            uint64_t b = 8 * s + 4 * (uint64_t)h;
            int32x4_t products[8];
            multiply_pairs(planes[0] + 8 * b, high, h, x.q + 32 * b, products);
            sum = add_scaled(sum, sum_groups(products, &scales, h, x.shifts16 + 2 * b, 4),
                             vmulq_n_f32(vld1q_f32(x.scales + b), d));
        }
    }
    return vaddvq_f32(sum);
}

/* Half a super-block: bytes of two groups, low nibbles first, and two bits more of all groups. */
ALWAYS_INLINE void multiply_sixes(const uint8_t *low, const uint8_t *pairs, const int8_t *x,
                                  int32x4_t products[8])
{
    uint8x16_t high[2] = {vld1q_u8(pairs), vld1q_u8(pairs + 16)};
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        uint8x16_t bytes = vld1q_u8(low + 16 * i);
        uint8x16_t first = move_bits(high[i % 2], 3, 2 * (i / 2), 4) | (bytes & vdupq_n_u8(15));
        uint8x16_t second = move_bits(high[i % 2], 3, 2 * (i / 2) + 4, 4) | bytes >> 4;
        products[i] = multiply_group(first, x + 16 * i);
        products[4 + i] = multiply_group(second, x + 64 + 16 * i);
    }
}

static float dot_q6_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    float32x4_t sum = vdupq_n_f32(0);
    for (uint64_t s = 0; s < cols / 256; s++) {
        struct sixteen scales = widen(vreinterpretq_s8_u8(vld1q_u8(planes[2] + 16 * s)));
        float d = half_at(planes[3] + 2 * s);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            uint64_t b = 8 * s + 4 * (uint64_t)h;
            int32x4_t products[8];
            multiply_sixes(planes[0] + 16 * b, planes[1] + 8 * b, x.q + 32 * b, products);
            sum = add_scaled(sum, sum_groups(products, &scales, h, x.shifts16 + 2 * b, 32),
                             vmulq_n_f32(vld1q_f32(x.scales + b), d));
        }
    }
    return vaddvq_f32(sum);
}
