/* h[pair] = activation(gate x[t] + gate_bias, up x[t] + up_bias), t = pair / top_k, for all pairs of
 * many tokens.
 *
 * Work-group (x, y) makes the tile of slab rows 64 x ... (32 gates and their ups, interleaved) and
 * of the pairs of tile number y (lib/expert_tile.glsl): it gathers their x, multiplies
 * (lib/tile.glsl) and scatters to h. Work-groups past the last tile leave at once, and so do those
 * of an expert that is not here.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/tile.glsl"
#include "lib/expert_tile.glsl"
#include "lib/activation.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_gate_up_args args;
};

/* Of four slab rows (gate, up, gate, up) of an expert. */
vec4 biases(uint expert, uint row)
{
    uint bias_stride = (args.ffn + 3u) & ~3u; /* rows are padded to 16 bytes */
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 2u; i++) {
        uint f = row / 2u + i;
        if (f < args.ffn) {
            four[2u * i] = bias_at(args.gate_bias, expert * bias_stride + f);
            four[2u * i + 1u] = bias_at(args.up_bias, expert * bias_stride + f);
        }
    }
    return four;
}

/* Those of the pair at a place of the list; nothing past the tile's end. */
void store(uint place, uint end, uint row, vec4 rows)
{
    if (place >= end) {
        return;
    }
    uint pair = args.pairs.v[place];
    uint f = row / 2u;
    if (f < args.ffn) {
        args.h.v[pair * args.ffn + f] =
            activate(args.activation, rows.x, rows.y, args.limit, args.alpha);
    }
    if (f + 1u < args.ffn) {
        args.h.v[pair * args.ffn + f + 1u] =
            activate(args.activation, rows.z, rows.w, args.limit, args.alpha);
    }
}

void main()
{
    uint expert, begin, end;
    if (!expert_tile_find(args.tiles, gl_WorkGroupID.y, expert, begin, end)) {
        return;
    }
    uvec2 slab = args.slabs.v[expert];
    if (slab == uvec2(0u)) {
        return;
    }
    uint fetched = begin + tile_fetched_vector();
    uint x_row = NO_VECTOR;
    if (fetched < end) {
        x_row = args.pairs.v[fetched] / args.top_k * args.hidden;
    }
    uint first_row = gl_WorkGroupID.x * TILE_ROWS;
    vec4 low[4];
    vec4 high[4];
    tile_product(words(slab), args.ffn * 2u, args.hidden, first_row, args.x, x_row, low, high);

    uint row = first_row + tile_row();
    vec4 low_bias = biases(expert, row);
    vec4 high_bias = biases(expert, row + TILE_HIGH_ROW);
    for (uint j = 0u; j < 4u; j++) {
        uint place = begin + tile_vector() + j;
        store(place, end, row, low[j] + low_bias);
        store(place + TILE_HIGH_VECTOR, end, row + TILE_HIGH_ROW, high[j] + high_bias);
    }
}
