/* h[pair] = activation(gate norm(x[t]) + gate_bias, up norm(x[t]) + up_bias), t = pair / top_k, of
 * the chosen experts of few tokens.
 *
 * A team of LANES invocations makes one f: its gate and up rows are neighbours in the slab. Work-
 * groups along x and y cover the rows, z is the slot or the expert (lib/expert_team.glsl). An
 * expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/expert_team.glsl"
#include "lib/activation.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_gate_up_args args;
};

void store(uint expert, uint pair, uint f, vec2 gate_up)
{
    uint bias_stride = (args.ffn + 3u) & ~3u; /* rows are padded to 16 bytes */
    float gate = gate_up.x + bias_at(args.gate_bias, expert * bias_stride + f);
    float up = gate_up.y + bias_at(args.up_bias, expert * bias_stride + f);
    args.h.v[pair * args.ffn + f] = activate(args.activation, gate, up, args.limit, args.alpha);
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
    uint rows = args.ffn * 2u;
    for (uint first = begin; first < end; first += COLUMNS) {
        uint pairs[COLUMNS];
        uint x_rows[COLUMNS];
        vec2 sums[COLUMNS];
        expert_team_pairs(args.pairs, first, end, pairs);
        for (uint c = 0u; c < COLUMNS; c++) {
            x_rows[c] = pairs[c] == NO_VECTOR ? NO_VECTOR : pairs[c] / args.top_k * args.hidden;
        }
        team_product(words(slab), rows, args.hidden, row, args.x, x_rows, args.norm, args.epsilon,
                     sums);
        for (uint c = 0u; c < COLUMNS; c++) {
            if (team_writes() && row < rows && pairs[c] != NO_VECTOR) {
                store(expert, pairs[c], row / 2u, sums[c]);
            }
        }
    }
}
