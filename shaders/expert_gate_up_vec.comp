/* h[slot][f] = activation(gate[f] x) * (up[f] x) of the chosen experts of one token.
 *
 * A team of LANES invocations makes one f: its gate and up rows are neighbours in the slab. Work-
 * groups along x and y cover the rows, z is the slot. An expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/activation.glsl"

layout(push_constant) uniform push
{
    expert_gate_up_args args;
};

void main()
{
    uint slot = gl_WorkGroupID.z;
    uvec2 slab = args.slabs.v[min(args.ids.v[slot], args.n_experts - 1u)];
    if (slab == uvec2(0u)) {
        return;
    }
    uint row = team_row();
    uint rows = args.ffn * 2u;
    vec2 gate_up = team_product(words(slab), rows, args.hidden, row, args.x, 0u);
    if (team_writes() && row < rows) {
        args.h.v[slot * args.ffn + row / 2u] = activate(args.activation, gate_up.x) * gate_up.y;
    }
}
