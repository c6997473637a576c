/* parts[pair] = down h[pair] + bias for all pairs of many tokens.
 *
 * Work-group (x, y) makes the tile of rows TILE_ROWS x ... and of the pairs of tile number y
 * (lib/expert_tile.glsl): it gathers their h, multiplies (lib/tile.glsl) and scatters to parts.
 * Work-groups past the last tile leave at once, and so do those of an expert that is not here.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/tile.glsl"
#include "lib/expert_tile.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_down_args args;
};

uint expert, begin, end; /* those of the tile's pairs */

vec4 tile_bias(uint row)
{
    uint first = gl_WorkGroupID.x * TILE_ROWS + row;
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 4u; i++) {
        if (first + i < args.hidden) {
            four[i] = bias_at(args.bias, expert * args.hidden + first + i);
        }
    }
    return four;
}

void tile_store(uint vector, uint row, vec4 four)
{
    uint first = gl_WorkGroupID.x * TILE_ROWS + row;
    if (begin + vector >= end) {
        return;
    }
    uint pair = args.pairs.v[begin + vector];
    for (uint i = 0u; i < 4u; i++) {
        if (first + i < args.hidden) {
            args.parts.v[pair * args.hidden + first + i] = four[i];
        }
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
    words down = words(address_add(slab, args.down_offset));
    uint fetched = begin + tile_fetched_vector();
    uint h_row = NO_VECTOR;
    if (fetched < end) {
        h_row = args.pairs.v[fetched] * args.ffn;
    }
    tile_multiply(down, args.hidden, args.ffn, gl_WorkGroupID.x * TILE_ROWS, args.h, h_row);
}
