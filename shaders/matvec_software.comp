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
    uint t = 0u;
    do {
        vec2 products =
            team_multiply(args.weight, args.rows, cols, row, args.x, t, args.norm, args.epsilon);
        for (uint half_team = 0u; half_team < 2u; half_team++) {
            uint own = row + lane + half_team * LANES;
            if (own < args.rows) {
                uint i = t * args.rows + own;
                args.y.v[i] =
                    products[half_team] + bias_at(args.bias, own) + bias_at(args.residual, i);
            }
        }
        t++;
    } while (t < n);
}
