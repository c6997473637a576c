/* y[t] = W x[t] for many tokens: y[t][r] = sum over c of weight[r][c] x[t][c].
 *
 * Work-group (x, y) makes the tile of rows 64 x ... and tokens TILE_TOKENS y ... (lib/tile.glsl).
 * Any rows, cols and tokens.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/tile.glsl"

layout(push_constant) uniform push
{
    matmul_args args;
};

void main()
{
    uint n = args.step.n_tokens;
    uint first_token = gl_WorkGroupID.y * TILE_TOKENS;
    if (first_token >= n) {
        return;
    }
    uint fetched = first_token + tile_fetched_vector();
    uint x_row = fetched < n ? fetched * args.cols : NO_VECTOR;
    uint first_row = gl_WorkGroupID.x * TILE_ROWS;
    vec4 low[4];
    vec4 high[4];
    tile_product(args.weight, args.rows, args.cols, first_row, args.x, x_row, low, high);

    uint row = first_row + tile_row();
    for (uint j = 0u; j < 4u; j++) {
        uint t = first_token + tile_vector() + j;
        for (uint i = 0u; i < 4u; i++) {
            if (t < n && row + i < args.rows) {
                args.y.v[t * args.rows + row + i] = low[j][i];
            }
            if (t < n && row + 32u + i < args.rows) {
                args.y.v[t * args.rows + row + 32u + i] = high[j][i];
            }
        }
    }
}
