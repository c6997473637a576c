/* y[t][h] = W_h x[t][h] for many tokens: y[t][h][r] = sum over c of weight[h rows + r][c]
 * x[t][h][c].
 *
 * Work-group (x, y, h) makes the tile of rows 64 x ... of head h and tokens TILE_TOKENS y ...
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

/* Four neighbouring rows of the head, for one token. */
void write_rows(uint t, uint row, vec4 values)
{
    if (t >= args.step.n_tokens) {
        return;
    }
    uint y = (t * args.heads + gl_WorkGroupID.z) * args.rows;
    for (uint i = 0u; i < 4u && row + i < args.rows; i++) {
        args.y.v[y + row + i] = values[i];
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
    uint first_row = gl_WorkGroupID.x * TILE_ROWS;
    vec4 low[4];
    vec4 high[4];
    tile_product(args.weight, args.heads * args.rows, args.cols, head * args.rows + first_row,
                 args.x, x_row, low, high);

    uint row = first_row + tile_row();
    for (uint j = 0u; j < 4u; j++) {
        uint t = first_token + tile_vector() + j;
        write_rows(t, row, low[j]);
        write_rows(t + TILE_HIGH_VECTOR, row + TILE_HIGH_ROW, high[j]);
    }
}
