/* h[slot][f] = activation(gate[f] x + gate_bias[f], up[f] x + up_bias[f]) of the chosen experts of one token.
 *
 * A team of LANES invocations makes one f: its gate and up rows are neighbours in the slab. Work-
 * groups along x and y cover the rows, z is the slot. An expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/activation.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_gate_up_args args;
};

void main()
{
    uint slot = gl_WorkGroupID.z;
    uint expert = min(args.ids.v[slot], args.n_experts - 1u);
    uvec2 slab = args.slabs.v[expert];
    if (slab == uvec2(0u)) {
        return;
    }
    uint row = team_row();
    uint rows = args.ffn * 2u;
    vec2 gate_up = team_product(words(slab), rows, args.hidden, row, args.x, 0u);
    if (team_writes() && row < rows) {
        uint f = row / 2u;
        uint bias_stride = (args.ffn + 3u) & ~3u; /* rows are padded to 16 bytes */
        float gate = gate_up.x + bias_at(args.gate_bias, expert * bias_stride + f);
        float up = gate_up.y + bias_at(args.up_bias, expert * bias_stride + f);
        args.h.v[slot * args.ffn + f] =
            activate(args.activation, gate, up, args.limit, args.alpha);
    }
}
