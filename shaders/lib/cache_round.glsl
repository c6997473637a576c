/* Numbers as caches store them: rounded to nearest, halves to even in f16, away from zero in q8_0
 * (format/quant_simple.c). */

/* packHalf2x16 may round as it likes. */
uint half_bits(float value)
{
    uint bits = floatBitsToUint(value);
    uint sign = bits >> 16 & 0x8000u;
    uint magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return sign | 0x7E00u; /* NaN */
    }
    if (magnitude >= 0x477FF000u) {
        return sign | 0x7C00u; /* 65520 and above round to infinity */
    }
    if (magnitude < 0x38800000u) {
        precise float shifted = uintBitsToFloat(magnitude) + 0.5; /* subnormal: the sum rounds */
        return sign | (floatBitsToUint(shifted) - 0x3F000000u);
    }
    uint rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    return sign | (rounded - 0x38000000u) >> 13;
}

const float F16_MAX = 65504.0;

/* NaN counts as 0 and infinity as the largest number that q8_0 has, as in the encoder in C. */
float q8_0_number(float value)
{
    return is_nan(value) ? 0.0 : clamp(value, -127.0 * F16_MAX, 127.0 * F16_MAX);
}

/* Of a block's scale. */
float q8_0_inverse(float d)
{
    return d > 1.2e-38 ? 1.0 / d : 0.0;
}

/* Eight bits. */
uint q8_0_code(float value, float inverse)
{
    float scaled = q8_0_number(value) * inverse;
    int code = clamp(int(scaled + (scaled < 0.0 ? -0.5 : 0.5)), -127, 127);
    return uint(code & 255);
}
