/* y[t][h] = W_h x[t][h] for one token or few, as head_matvec.comp; by teams of eight lanes and rows
 * (lib/matvec_software.glsl). Work-groups (x, y, h) have head h.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_software.glsl"

layout(push_constant) uniform push
{
    head_matmul_args args;
};

void main()
{
    uint head = gl_WorkGroupID.z;
    uint row = team_row();
    uint lane = team_lane();
    uint rows = args.rows;
    uint n = SEVERAL != 0u ? args.step.n_tokens : 1u;
    uint t = 0u;
    do {
        uint vector = t * args.heads + head;
        vec2 products = team_multiply(args.weight, args.heads * rows, args.cols, head * rows + row,
                                      args.x, vector, args.x, 0.0);
        for (uint half_team = 0u; half_team < 2u; half_team++) {
            uint own = row + lane + half_team * LANES;
            if (own < rows) {
                args.y.v[vector * rows + own] = products[half_team];
            }
        }
        t++;
    } while (t < n);
}
