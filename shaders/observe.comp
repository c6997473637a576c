/* sums[g][c] += x[row][c]^2 and counts[g] += 1 for every (token, slot) pair of group g.
 *
 * Invocation x of work-groups of row g has column x of group g and looks through all pairs for its
 * own: a sum has one writer and one order. The invocations of column 0 count. A sum of squares of
 * this evaluation joins the old one at the end.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

layout(push_constant) uniform push
{
    observe_args args;
};

void main()
{
    uint column = gl_GlobalInvocationID.x;
    uint group = gl_WorkGroupID.y;
    if (column >= args.dim) {
        return;
    }
    bool grouped = uvec2(args.ids) != uvec2(0u);
    /* Always the address of something: lavapipe of Mesa 26 reads the word of a uniform address also
     * where the branch that reads it is not taken. */
    u32s ids = u32s(grouped ? uvec2(args.ids) : uvec2(args.step));
    uint top_k = grouped ? args.top_k : 1u;
    uint n_pairs = args.step.n_tokens * top_k;
    uint count = 0u;
    float sum = 0.0;
    for (uint pair = 0u; pair < n_pairs; pair++) {
        uint of = grouped ? ids.v[pair] : 0u;
        if (of == group) {
            uint row = args.x_per_pair != 0u ? pair : pair / top_k;
            float value = args.x.v[row * args.dim + column];
            sum += value * value;
            count++;
        }
    }
    args.sums.v[group * args.dim + column] += sum;
    if (column == 0u) {
        args.counts.v[group] += float(count);
    }
}
