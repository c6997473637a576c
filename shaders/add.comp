/* y = a + b. Invocation x of row y adds element x of token y. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

layout(push_constant) uniform push
{
    add_args args;
};

void main()
{
    uint t = gl_WorkGroupID.y;
    uint column = gl_GlobalInvocationID.x;
    if (t < args.step.n_tokens && column < args.dim) {
        uint i = t * args.dim + column;
        args.y.v[i] = args.a.v[i] + args.b.v[i];
    }
}
