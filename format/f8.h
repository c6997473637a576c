/* 8-bit floats to float, in plain C (OCP 8-bit Floating Point Specification 1.0, OCP Microscaling
 * Formats 1.0). */
#pragma once

#include <stdint.h>

#include "format/f16.h"

/* E4M3 ("fn"): sign, 4 bits of exponent (bias 7), 3 of mantissa. No infinities; 0x7F and 0xFF are
 * NaN; the largest value is 448. */
static inline float f32_from_f8_e4m3(uint8_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x80u) << 24;
    uint32_t magnitude = bits & 0x7Fu;
    uint32_t is_subnormal = 0u - (magnitude < 8);
    uint32_t is_nan = 0u - (magnitude == 0x7Fu);
    uint32_t subnormal = f32_to_bits((float)(int32_t)magnitude * 0x1p-9f);
    uint32_t normal = ((magnitude << 20) + (120u << 23)) | (is_nan & 0x7FC00000u);
    return f32_from_bits(sign | (is_subnormal & subnormal) | (~is_subnormal & normal));
}

/* E8M0: the power of two 2^(bits - 127); 255 is NaN. */
static inline float f32_from_e8m0(uint8_t bits)
{
    if (bits == 255) {
        return f32_from_bits(0x7FC00000u);
    }
    return f32_from_bits(bits == 0 ? 0x00400000u : (uint32_t)bits << 23);
}
