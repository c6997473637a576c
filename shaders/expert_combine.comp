/* y[t] = residual[t] + sum over slots, in order, of weights[t][slot] * parts[t * top_k + slot].
 *
 * Invocation x of row y makes element x of token y: no atomics, the same sum every time.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

layout(push_constant) uniform push
{
    expert_combine_args args;
};

void main()
{
    uint t = gl_WorkGroupID.y;
    uint column = gl_GlobalInvocationID.x;
    if (t >= args.step.n_tokens || column >= args.hidden) {
        return;
    }
    float sum = args.residual.v[t * args.hidden + column];
    for (uint slot = 0u; slot < args.top_k; slot++) {
        uint pair = t * args.top_k + slot;
        sum += args.weights.v[pair] * args.parts.v[pair * args.hidden + column];
    }
    args.y.v[t * args.hidden + column] = sum;
}
