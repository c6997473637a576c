/* h[pair] = activation(gate norm(x[t]) + gate_bias, up norm(x[t]) + up_bias), t = pair / top_k, of the
 * chosen experts of one token or few, as expert_gate_up_vec.comp; by teams of eight lanes and rows
 * (lib/matvec_software.glsl): a team makes eight f, whose gate and up rows are neighbours. z is the
 * slot or a tile of pairs (lib/expert_team_software.glsl). An expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_software.glsl"
#include "lib/expert_team_software.glsl"
#include "lib/activation.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_gate_up_args args;
};

void store(uint expert, uint pair, uint f, float gate, float up)
{
    uint bias = expert * ((args.ffn + 3u) & ~3u) + f; /* rows are padded to 16 bytes */
    args.h.v[pair * args.ffn + f] =
        activate(args.activation, gate + bias_at(args.gate_bias, bias),
                 up + bias_at(args.up_bias, bias), args.limit, args.alpha);
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
    uint row = team_row();
    uint lane = team_lane();
    uint hidden = args.hidden;
    uint place = begin;
    do {
        uint pair = expert_team_pair(args.pairs, place);
        uint t = SEVERAL != 0u ? pair / args.top_k : 0u;
        vec2 products = team_multiply(words(slab), args.ffn * 2u, hidden, row, args.x, t, args.norm,
                                      args.epsilon);
        vec2 up = subgroupShuffleXor(products, 1u); /* of even lanes, which have the gate */
        for (uint half_team = 0u; half_team < 2u; half_team++) {
            uint f = (row + lane) / 2u + half_team * (LANES / 2u);
            if (lane % 2u == 0u && f < args.ffn) {
                store(expert, pair, f, products[half_team], up[half_team]);
            }
        }
        place++;
    } while (place < end);
}
