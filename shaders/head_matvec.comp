/* y[h] = W_h x[h] for one token: y[h][r] = sum over c of weight[h rows + r][c] x[h][c].
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
    uint head = gl_WorkGroupID.z;
    uint row = team_row();
    vec2 sums = team_product(args.weight, args.heads * args.rows, args.cols, head * args.rows + row,
                             args.x, head * args.cols);
    if (team_writes()) {
        if (row < args.rows) {
            args.y.v[head * args.rows + row] = sums.x;
        }
        if (row + 1u < args.rows) {
            args.y.v[head * args.rows + row + 1u] = sums.y;
        }
    }
}
