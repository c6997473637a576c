/* y[t] = row token[t] of the table.
 *
 * Work-group (x, y) copies eight elements an invocation of the row of token y. Any dim that the
 * type allows.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/quant.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

layout(push_constant) uniform push
{
    embed_args args;
};

void main()
{
    uint t = gl_WorkGroupID.y;
    uint column = gl_GlobalInvocationID.x * 8u;
    if (t >= args.step.n_tokens || column >= args.dim) {
        return;
    }
    uint row = min(args.step.tokens[t], args.rows - 1u);
    vec4 low;
    vec4 high;
    weights_load8(args.table, args.rows, args.dim, row, column, low, high);
    uint count = min(args.dim - column, 8u);
    for (uint i = 0u; i < count; i++) {
        args.y.v[t * args.dim + column + i] = i < 4u ? low[i] : high[i - 4u];
    }
}
