/* y[t] = W norm(x[t]) + bias + residual[t] for one token or few, as matvec.comp; by teams of eight
 * lanes and rows (lib/matvec_software.glsl).
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_software.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    matmul_args args;
};

void main()
{
    uint n = SEVERAL != 0u ? args.step.n_tokens : 1u;
    uint row = team_row();
    uint lane = team_lane();
    uint cols = args.cols;
    uint own = row + lane;
    for (uint t = 0u; t < n; t++) {
        team_sums sums = team_zero();
        team_multiply(args.weight, args.rows, cols, row, args.x, t, args.norm, sums);
        float product = team_product_of(sums, lane) * team_norm_factor(sums, cols, args.epsilon);
        if (own < args.rows) {
            uint i = t * args.rows + own;
            args.y.v[i] = product + bias_at(args.bias, own) + bias_at(args.residual, i);
        }
    }
}
