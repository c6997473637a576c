/* Reads: neighbouring invocations read neighbouring 16 bytes, PEAK_READS of them at once a repeat,
 * all invocations together from one end of x to the other and again from the beginning. Bytes:
 * invocations x repeats x PEAK_READS x 16. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/peak.glsl"

void main()
{
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
    uint at = gl_GlobalInvocationID.x;
    uvec4 sum = uvec4(0u);
    for (uint i = 0u; i < args.repeats; i++) {
        uvec4 read[PEAK_READS];
        for (uint j = 0u; j < PEAK_READS; j++) {
            read[j] = args.x.v[(at + j * stride) & args.mask];
        }
        for (uint j = 0u; j < PEAK_READS; j++) {
            sum += read[j];
        }
        at += PEAK_READS * stride;
    }
    keep(sum.x ^ sum.y ^ sum.z ^ sum.w);
}
