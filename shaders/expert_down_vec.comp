/* parts[slot] = down h[slot] + bias of the chosen experts of one token.
 *
 * A team of LANES invocations makes two neighbouring rows. Work-groups along x and y cover the
 * rows, z is the slot. An expert that is not here is left out.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_down_args args;
};

void main()
{
    uint slot = gl_WorkGroupID.z;
    uint expert = min(args.ids.v[slot], args.n_experts - 1u);
    uvec2 slab = args.slabs.v[expert];
    if (slab == uvec2(0u)) {
        return;
    }
    words down = words(address_add(slab, args.down_offset));
    uint row = team_row();
    vec2 sums = team_product(down, args.hidden, args.ffn, row, args.h, slot * args.ffn);
    uint bias = expert * args.hidden + row;
    if (team_writes()) {
        if (row < args.hidden) {
            args.parts.v[slot * args.hidden + row] = sums.x + bias_at(args.bias, bias);
        }
        if (row + 1u < args.hidden) {
            args.parts.v[slot * args.hidden + row + 1u] = sums.y + bias_at(args.bias, bias + 1u);
        }
    }
}
