/* y[t][h] = W_h x[t][h] for many tokens: y[t][h][r] = sum over c of weight[h rows + r][c]
 * x[t][h][c].
 *
 * Work-group (x, y, h) makes the tile of rows TILE_ROWS x ... of head h and tokens TILE_TOKENS y ...
 * (lib/tile.glsl). Rows of the next head that the tile reaches are not written. Any heads, rows,
 * cols and tokens.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/tile.glsl"

layout(push_constant) uniform push
{
    head_matmul_args args;
};

vec4 tile_bias(uint row)
{
    return vec4(0.0);
}

void tile_store(uint vector, uint row, vec4 four)
{
    uint token = gl_WorkGroupID.y * TILE_TOKENS + vector;
    uint first = gl_WorkGroupID.x * TILE_ROWS + row;
    if (token >= args.step.n_tokens) {
        return;
    }
    uint y = (token * args.heads + gl_WorkGroupID.z) * args.rows;
    for (uint i = 0u; i < 4u && first + i < args.rows; i++) {
        args.y.v[y + first + i] = four[i];
    }
}

void main()
{
    uint n = args.step.n_tokens;
    uint first_token = gl_WorkGroupID.y * TILE_TOKENS;
    if (first_token >= n) {
        return;
    }
    uint head = gl_WorkGroupID.z;
    uint fetched = first_token + tile_fetched_vector();
    uint x_row = fetched < n ? (fetched * args.heads + head) * args.cols : NO_VECTOR;
    tile_multiply(args.weight, args.heads * args.rows, args.cols,
                  head * args.rows + gl_WorkGroupID.x * TILE_ROWS, args.x, x_row);
}
