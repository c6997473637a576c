/* y = W x + bias for one token: y[r] = sum over c of weight[r][c] x[c] + bias[r].
 *
 * A team of LANES invocations makes two neighbouring rows; the work-group GROUP_SIZE / LANES teams;
 * work-groups are folded into x and y. Serves one_row, or evaluations of one token. Any rows and
 * cols that the type allows.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    matmul_args args;
};

void main()
{
    uint row = team_row();
    vec2 sums = team_product(args.weight, args.rows, args.cols, row, args.x, 0u);
    if (team_writes()) {
        if (row < args.rows) {
            args.y.v[row] = sums.x + bias_at(args.bias, row);
        }
        if (row + 1u < args.rows) {
            args.y.v[row + 1u] = sums.y + bias_at(args.bias, row + 1u);
        }
    }
}
