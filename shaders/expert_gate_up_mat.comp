/* h[pair] = activation(gate x[t] + gate_bias, up x[t] + up_bias), t = pair / top_k, for all pairs of
 * many tokens.
 *
 * Work-group (x, y) makes the tile of slab rows TILE_ROWS x ... (gates and their ups, interleaved) and
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

uint expert, begin, end; /* those of the tile's pairs */

/* Of four slab rows (gate, up, gate, up). */
vec4 tile_bias(uint row)
{
    uint bias_stride = (args.ffn + 3u) & ~3u; /* rows are padded to 16 bytes */
    uint first = (gl_WorkGroupID.x * TILE_ROWS + row) / 2u;
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 2u; i++) {
        if (first + i < args.ffn) {
            four[2u * i] = bias_at(args.gate_bias, expert * bias_stride + first + i);
            four[2u * i + 1u] = bias_at(args.up_bias, expert * bias_stride + first + i);
        }
    }
    return four;
}

void tile_store(uint vector, uint row, vec4 four)
{
    uint f = (gl_WorkGroupID.x * TILE_ROWS + row) / 2u;
    if (begin + vector >= end) {
        return;
    }
    uint pair = args.pairs.v[begin + vector];
    if (f < args.ffn) {
        args.h.v[pair * args.ffn + f] =
            activate(args.activation, four.x, four.y, args.limit, args.alpha);
    }
    if (f + 1u < args.ffn) {
        args.h.v[pair * args.ffn + f + 1u] =
            activate(args.activation, four.z, four.w, args.limit, args.alpha);
    }
}

void main()
{
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
    tile_multiply(words(slab), args.ffn * 2u, args.hidden, gl_WorkGroupID.x * TILE_ROWS, args.x,
                  x_row);
}
