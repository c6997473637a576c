/* y = vectors of x in the format float16 of lib/packed.glsl.
 *
 * Work-group (x, y) packs vector x of token y. The scale is a power of two, so that nothing but f16
 * rounds. An infinity stays one, and NaN stays NaN.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/packed.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

#include "lib/reduce.glsl"

layout(push_constant) uniform push
{
    pack_args args;
};

/* Its exponent, as f32 has it: kept where the scale and its inverse are normal numbers. */
uint exponent_of(float largest)
{
    return min(floatBitsToUint(largest) >> 23, 251u);
}

void main()
{
    uint t = gl_WorkGroupID.y;
    if (t >= args.step.n_tokens) {
        return;
    }
    uint vector = t * args.vectors_per_token + gl_WorkGroupID.x;
    uint row = vector * args.cols;
    float largest = 0.0;
    for (uint column = gl_LocalInvocationIndex * 4u; column < args.cols;
         column += GROUP_SIZE * 4u) {
        vec4 four = abs(row_load4(args.x, row, args.cols, column));
        largest = max(largest, max(max(four.x, four.y), max(four.z, four.w)));
    }
    uint exponent = exponent_of(reduce_max(largest));
    float inverse = uintBitsToFloat(252u - exponent << 23);

    uint units = PACK_FLOAT16_UNITS(args.cols);
    uint first = vector * units * 4u;
    if (gl_LocalInvocationIndex == 0u) {
        args.y.v[first] = exponent + 2u << 23;
    }
    for (uint four = gl_LocalInvocationIndex; four < (units - 1u) * 2u; four += GROUP_SIZE) {
        vec4 values = row_load4(args.x, row, args.cols, four * 4u) * inverse;
        args.y.v[first + 4u + four * 2u] = packHalf2x16(values.xz);
        args.y.v[first + 5u + four * 2u] = packHalf2x16(values.yw);
    }
}
