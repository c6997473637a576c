/* IEEE half and bfloat16 to and from float, in plain C. Rounding is to nearest, ties to even;
 * subnormals, infinities and NaN are kept. */
#pragma once

#include <stdint.h>
#include <string.h>

static inline float f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint32_t f32_to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float f32_from_bf16(uint16_t bits)
{
    return f32_from_bits((uint32_t)bits << 16);
}

static inline uint16_t bf16_from_f32(float value)
{
    uint32_t bits = f32_to_bits(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return (uint16_t)(bits >> 16 | 64u); /* keep it a NaN after the cut */
    }
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

/* With masks instead of branches, so that loops over it become vectors. */
static inline float f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t magnitude = half & 0x7FFFu;
    uint32_t is_subnormal = 0u - (magnitude < 0x0400u);
    uint32_t is_special = 0u - (magnitude >= 0x7C00u); /* infinity or NaN: exponent 255 */
    uint32_t subnormal = f32_to_bits((float)(int32_t)magnitude * 0x1p-24f);
    uint32_t normal = (magnitude << 13) + (112u << 23) + (is_special & 112u << 23);
    return f32_from_bits(sign | (is_subnormal & subnormal) | (~is_subnormal & normal));
}

static inline uint16_t f16_from_f32(float value)
{
    uint32_t bits = f32_to_bits(value);
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    uint32_t is_subnormal = 0u - (magnitude < 0x38800000u); /* below 2^-14 */
    uint32_t is_huge = 0u - (magnitude >= 0x477FF000u);     /* 65520 and above: infinity */
    uint32_t is_nan = 0u - (magnitude > 0x7F800000u);
    /* The addition rounds to whole steps of 2^-24. */
    uint32_t subnormal = f32_to_bits(f32_from_bits(magnitude) + 0.5f) - f32_to_bits(0.5f);
    uint32_t normal = (magnitude + 0xFFFu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13;
    uint32_t half = (is_subnormal & subnormal) | (~is_subnormal & normal);
    half = (is_huge & 0x7C00u) | (~is_huge & half) | (is_nan & 0x7E00u);
    return (uint16_t)((bits >> 16 & 0x8000u) | half);
}
