/* parts[pair] = down h[pair] + bias of the chosen experts of one token or few, as expert_down_vec.comp;
 * by teams of eight lanes and rows (lib/matvec_software.glsl). z is the slot or a tile of pairs
 * (lib/expert_team_software.glsl). An expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_software.glsl"
#include "lib/expert_team_software.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_down_args args;
};

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
    uint lane = team_lane();
    uint place = begin;
    do {
        uint pair = expert_team_pair(args.pairs, place);
        vec2 products =
            team_multiply(down, args.hidden, args.ffn, row, args.h, pair, args.h, 0.0);
        for (uint half_team = 0u; half_team < 2u; half_team++) {
            uint own = row + lane + half_team * LANES;
            if (own < args.hidden) {
                args.parts.v[pair * args.hidden + own] =
                    products[half_team] + bias_at(args.bias, expert * args.hidden + own);
            }
        }
        place++;
    } while (place < end);
}
