/* parts[pair] = down h[pair] + bias of the chosen experts of few tokens.
 *
 * A team of LANES invocations makes two neighbouring rows. Work-groups along x and y cover the
 * rows, z is the slot or the expert (lib/expert_team.glsl). An expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/expert_team.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_down_args args;
};

void store(uint expert, uint pair, uint row, float product)
{
    if (row < args.hidden) {
        args.parts.v[pair * args.hidden + row] =
            product + bias_at(args.bias, expert * args.hidden + row);
    }
}

void main()
{
    uint expert, begin, end;
    if (!expert_team_find(args.ids, args.tiles, args.n_experts, expert, begin, end)) {
        return;
    }
    uvec2 slab = args.slabs.v[expert];
    if (slab == uvec2(0u)) {
        return;
    }
    words down = words(address_add(slab, args.down_offset));
    uint row = team_row();
    for (uint first = begin; first < end; first += COLUMNS) {
        uint pairs[COLUMNS];
        uint h_rows[COLUMNS];
        vec2 sums[COLUMNS];
        expert_team_pairs(args.pairs, first, end, pairs);
        for (uint c = 0u; c < COLUMNS; c++) {
            h_rows[c] = pairs[c] == NO_VECTOR ? NO_VECTOR : pairs[c] * args.ffn;
        }
        team_product(down, args.hidden, args.ffn, row, args.h, h_rows, args.h, 0.0, sums);
        for (uint c = 0u; c < COLUMNS; c++) {
            if (team_writes() && pairs[c] != NO_VECTOR) {
                store(expert, pairs[c], row, sums[c].x);
                store(expert, pairs[c], row + 1u, sums[c].y);
            }
        }
    }
}
