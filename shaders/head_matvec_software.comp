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
    for (uint t = 0u; t < n; t++) {
        uint vector = t * args.heads + head;
        team_sums sums = team_zero();
        team_multiply(args.weight, args.heads * rows, args.cols, head * rows + row, args.x, vector,
                      args.x, sums);
        float product = team_product_of(sums, lane);
        if (row + lane < rows) {
            args.y.v[vector * rows + row + lane] = product;
        }
    }
}
