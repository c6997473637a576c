/* y[t] = W x[t] + bias + residual[t] for many tokens.
 *
 * Work-group (x, y) makes the tile of rows 64 x ... and tokens TILE_TOKENS y ... (lib/tile.glsl).
 * Any rows, cols and tokens.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/tile.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    matmul_args args;
};

/* A row's products with four tokens. */
void store(uint row, uint first_token, vec4 products)
{
    if (row >= args.rows) {
        return;
    }
    products += bias_at(args.bias, row);
    for (uint j = 0u; j < 4u; j++) {
        if (first_token + j < args.step.n_tokens) {
            uint i = (first_token + j) * args.rows + row;
            args.y.v[i] = products[j] + bias_at(args.residual, i);
        }
    }
}

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
    uint token = first_token + tile_vector();
    for (uint i = 0u; i < 4u; i++) {
        store(row + i, token, vec4(low[0][i], low[1][i], low[2][i], low[3][i]));
        store(row + TILE_HIGH_ROW + i, token + TILE_HIGH_VECTOR,
              vec4(high[0][i], high[1][i], high[2][i], high[3][i]));
    }
}
