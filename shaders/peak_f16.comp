/* Multiply-adds of 16-bit floats in registers, in pairs as devices that are fast at it have them. Of
 * the tier of 16-bit arithmetic. */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "lib/peak.glsl"

void main()
{
    float seed = float(gl_GlobalInvocationID.x & 255u) * 1e-4;
    f16vec2 factor = f16vec2(0.9 - seed, 0.8 - seed);
    f16vec2 step = f16vec2(seed);
    f16vec2 sums[16];
    for (uint j = 0u; j < 16u; j++) {
        sums[j] = f16vec2(seed) + float16_t(j);
    }
    for (uint i = 0u; i < args.repeats; i++) {
        for (uint k = 0u; k < PEAK_MULTIPLY_ADDS / 32u; k++) {
            for (uint j = 0u; j < 16u; j++) {
                sums[j] = sums[j] * factor + step;
            }
        }
    }
    f16vec2 sum = f16vec2(0.0);
    for (uint j = 0u; j < 16u; j++) {
        sum += sums[j];
    }
    keep(floatBitsToUint(float(sum.x + sum.y)));
}
