/* parts[pair] = down h[pair] + bias for all pairs of many tokens.
 *
 * Work-group (x, y) makes the tile of rows 64 x ... and of the pairs of tile number y
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

/* Of four rows of an expert. */
vec4 biases(uint expert, uint row)
{
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 4u; i++) {
        if (row + i < args.hidden) {
            four[i] = bias_at(args.bias, expert * args.hidden + row + i);
        }
    }
    return four;
}

/* Four rows of the pair at a place of the list; nothing past the tile's end. */
void store(uint place, uint end, uint row, vec4 rows)
{
    if (place >= end) {
        return;
    }
    uint pair = args.pairs.v[place];
    for (uint i = 0u; i < 4u; i++) {
        if (row + i < args.hidden) {
            args.parts.v[pair * args.hidden + row + i] = rows[i];
        }
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
    words down = words(address_add(slab, args.down_offset));
    uint fetched = begin + tile_fetched_vector();
    uint h_row = NO_VECTOR;
    if (fetched < end) {
        h_row = args.pairs.v[fetched] * args.ffn;
    }
    uint first_row = gl_WorkGroupID.x * TILE_ROWS;
    vec4 low[4];
    vec4 high[4];
    tile_product(down, args.hidden, args.ffn, first_row, args.h, h_row, low, high);

    uint row = first_row + tile_row();
    vec4 low_bias = biases(expert, row);
    vec4 high_bias = biases(expert, row + TILE_HIGH_ROW);
    for (uint j = 0u; j < 4u; j++) {
        uint place = begin + tile_vector() + j;
        store(place, end, row, low[j] + low_bias);
        store(place + TILE_HIGH_VECTOR, end, row + TILE_HIGH_ROW, high[j] + high_bias);
    }
}
