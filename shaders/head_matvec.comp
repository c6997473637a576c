/* y[t][h] = W_h x[t][h] for one token or at most COLUMNS: y[t][h][r] = sum over c of weight[h rows
 * + r][c] x[t][h][c].
 *
 * Work-groups (x, y, h) are to head h what those of matvec.comp are to its matrix. The second row
 * of a team may belong to the next head; it is not written then. Any heads, rows and cols that the
 * type allows.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"

layout(push_constant) uniform push
{
    head_matmul_args args;
};

void main()
{
    uint n = COLUMNS == 1u ? 1u : args.step.n_tokens;
    uint head = gl_WorkGroupID.z;
    uint row = team_row();
    uint x_rows[COLUMNS];
    vec2 sums[COLUMNS];
    for (uint t = 0u; t < COLUMNS; t++) {
        x_rows[t] = t < n ? (t * args.heads + head) * args.cols : NO_VECTOR;
    }
    team_product(args.weight, args.heads * args.rows, args.cols, head * args.rows + row, args.x,
                 x_rows, args.x, 0.0, sums);
    if (!team_writes()) {
        return;
    }
    for (uint t = 0u; t < COLUMNS && t < n; t++) {
        uint first = (t * args.heads + head) * args.rows;
        if (row < args.rows) {
            args.y.v[first + row] = sums[t].x;
        }
        if (row + 1u < args.rows) {
            args.y.v[first + row + 1u] = sums[t].y;
        }
    }
}
