/* y[t] = W x[t] + bias + residual[t] for many tokens.
 *
 * Work-group (x, y) makes the tile of rows TILE_ROWS x ... and tokens TILE_TOKENS y ... (lib/tile.glsl).
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

vec4 tile_bias(uint row)
{
    uint first = gl_WorkGroupID.x * TILE_ROWS + row;
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 4u; i++) {
        if (first + i < args.rows) {
            four[i] = bias_at(args.bias, first + i);
        }
    }
    return four;
}

void tile_store(uint vector, uint row, vec4 four)
{
    uint token = gl_WorkGroupID.y * TILE_TOKENS + vector;
    uint first = gl_WorkGroupID.x * TILE_ROWS + row;
    if (token >= args.step.n_tokens) {
        return;
    }
    for (uint i = 0u; i < 4u; i++) {
        if (first + i < args.rows) {
            uint at = token * args.rows + first + i;
            args.y.v[at] = four[i] + bias_at(args.residual, at);
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
    tile_multiply(args.weight, args.rows, args.cols, gl_WorkGroupID.x * TILE_ROWS, args.x, x_row);
}
