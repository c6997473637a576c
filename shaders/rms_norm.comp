/* y = x / sqrt(mean(x^2) + epsilon) * weight over rows of dim.
 *
 * Work-group (x, y) has row x of token y; its invocations take turns at the elements. last_only: y
 * is 0 and reads the last token. Any dim.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

#include "lib/reduce.glsl"

layout(push_constant) uniform push
{
    rms_norm_args args;
};

void main()
{
    uint n = args.step.n_tokens;
    uint t = gl_WorkGroupID.y;
    if (t >= n) {
        return;
    }
    uint read_token = args.last_only != 0u ? n - 1u : t;
    uint from = (read_token * args.rows_per_token + gl_WorkGroupID.x) * args.dim;
    uint to = (t * args.rows_per_token + gl_WorkGroupID.x) * args.dim;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < args.dim; i += GROUP_SIZE) {
        float x = args.x.v[from + i];
        sum += x * x;
    }
    float factor = 1.0 / sqrt(reduce_sum(sum) / float(args.dim) + args.epsilon);
    for (uint i = gl_LocalInvocationIndex; i < args.dim; i += GROUP_SIZE) {
        args.y.v[to + i] = args.x.v[from + i] * factor * args.weight.v[i];
    }
}
