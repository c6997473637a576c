/* y = vectors of x in the format int8 of lib/packed.glsl.
 *
 * Work-group (x, y) packs vector x of token y; an invocation 32 columns at a time. The largest of
 * them becomes 127. Where one is infinite or NaN, the scale is NaN. Columns that are all next to
 * nothing, so that the scale has no inverse, become 0.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/packed.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

layout(push_constant) uniform push
{
    pack_args args;
};

#define INFINITY_BITS 0x7F800000u
#define NAN_BITS 0x7FC00000u
#define SMALLEST 1e-35

/* Positive floats, infinity and NaN are ordered as their bits are. */
uint largest_bits(vec4 four, uint before)
{
    uvec4 bits = floatBitsToUint(abs(four));
    return max(before, max(max(bits.x, bits.y), max(bits.z, bits.w)));
}

void pack_block(uint row, uint block, uint unit)
{
    vec4 fours[8];
    uint bits = 0u;
    for (uint i = 0u; i < 8u; i++) {
        fours[i] = row_load4(args.x, row, args.cols, block * 32u + i * 4u);
        bits = largest_bits(fours[i], bits);
    }
    float largest = uintBitsToFloat(bits);
    bool number = bits < INFINITY_BITS;
    float inverse = number && largest > SMALLEST ? 127.0 / largest : 0.0;
    float scale = number ? largest / 127.0 : uintBitsToFloat(NAN_BITS);
    int sums[2] = int[2](0, 0);
    for (uint i = 0u; i < 8u; i++) {
        ivec4 codes = number ? ivec4(roundEven(fours[i] * inverse)) : ivec4(0);
        sums[i / 4u] += codes.x + codes.y + codes.z + codes.w;
        codes &= 255;
        args.y.v[unit * 4u + i] = uint(codes.x | codes.y << 8 | codes.z << 16 | codes.w << 24);
    }
    args.y.v[unit * 4u + 8u] = floatBitsToUint(scale);
    args.y.v[unit * 4u + 9u] = floatBitsToUint(scale * float(sums[0]));
    args.y.v[unit * 4u + 10u] = floatBitsToUint(scale * float(sums[1]));
    args.y.v[unit * 4u + 11u] = floatBitsToUint(scale * float(sums[0] + sums[1]));
}

void main()
{
    uint t = gl_WorkGroupID.y;
    if (t >= args.step.n_tokens) {
        return;
    }
    uint vector = t * args.vectors_per_token + gl_WorkGroupID.x;
    uint units = PACK_INT8_UNITS(args.cols);
    for (uint block = gl_LocalInvocationIndex; block < units / 3u; block += GROUP_SIZE) {
        pack_block(vector * args.cols, block, vector * units + block * 3u);
    }
}
