/* y[t] = W norm(x[t]) + bias + residual[t] for one token or at most COLUMNS.
 *
 * A team of LANES invocations makes two neighbouring rows; the work-group GROUP_SIZE / LANES teams;
 * work-groups are folded into x and y. Serves one_row, or evaluations of few tokens. Any rows and
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

void store(uint t, uint row, float product)
{
    uint i = t * args.rows + row;
    args.y.v[i] = product + bias_at(args.bias, row) + bias_at(args.residual, i);
}

void main()
{
    uint n = COLUMNS == 1u ? 1u : args.step.n_tokens;
    uint row = team_row();
    uint x_rows[COLUMNS];
    vec2 sums[COLUMNS];
    for (uint t = 0u; t < COLUMNS; t++) {
        x_rows[t] = t < n ? t * args.cols : NO_VECTOR;
    }
    team_product(args.weight, args.rows, args.cols, row, args.x, x_rows, args.norm, args.epsilon,
                 sums);
    if (!team_writes()) {
        return;
    }
    for (uint t = 0u; t < COLUMNS; t++) {
        if (t < n && row < args.rows) {
            store(t, row, sums[t].x);
        }
        if (t < n && row + 1u < args.rows) {
            store(t, row + 1u, sums[t].y);
        }
    }
}
