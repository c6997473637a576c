/* Multiply-adds of 32-bit floats in registers: eight independent sums of four, eight times a repeat. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/peak.glsl"

void main()
{
    float seed = float(gl_GlobalInvocationID.x & 255u) * 1e-6;
    vec4 factor = vec4(0.999, 0.998, 0.997, 0.996) - seed;
    vec4 sums[8];
    for (uint j = 0u; j < 8u; j++) {
        sums[j] = vec4(seed) + float(j);
    }
    for (uint i = 0u; i < args.repeats; i++) {
        for (uint k = 0u; k < PEAK_MULTIPLY_ADDS / 32u; k++) {
            for (uint j = 0u; j < 8u; j++) {
                sums[j] = sums[j] * factor + seed;
            }
        }
    }
    vec4 sum = vec4(0.0);
    for (uint j = 0u; j < 8u; j++) {
        sum += sums[j];
    }
    keep(floatBitsToUint(sum.x + sum.y + sum.z + sum.w));
}
