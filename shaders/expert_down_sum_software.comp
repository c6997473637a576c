/* y = residual + sum over slots of weights[slot] * (down h[slot] + bias) for one token, as
 * expert_down_sum.comp; by teams of eight lanes and rows (lib/matvec_software.glsl), each of which
 * goes through all slots. An expert that is not here adds nothing.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_software.glsl"
#include "lib/bias.glsl"

layout(push_constant) uniform push
{
    expert_down_sum_args args;
};

void main()
{
    uint row = team_row();
    uint lane = team_lane();
    uint hidden = args.hidden, ffn = args.ffn, top_k = args.top_k, last = args.n_experts - 1u;
    uint down_offset = args.down_offset;
    u32s ids = args.ids;
    addresses slabs = args.slabs;
    f32s weights = args.weights, bias = args.bias, h = args.h;
    uvec2 own = uvec2(row + lane, row + lane + LANES);
    vec2 sums = vec2(0.0);
    uint slot = 0u;
    do {
        uint expert = min(ids.v[slot], last);
        uvec2 slab = slabs.v[expert];
        if (slab != uvec2(0u)) {
            words down = words(address_add(slab, down_offset));
            vec2 products = team_multiply(down, hidden, ffn, row, h, slot, h, 0.0);
            if (own.x < hidden) {
                products.x += bias_at(bias, expert * hidden + own.x);
            }
            if (own.y < hidden) {
                products.y += bias_at(bias, expert * hidden + own.y);
            }
            sums += weights.v[slot] * products;
        }
        slot++;
    } while (slot < top_k);
    if (own.x < hidden) {
        args.y.v[own.x] = args.residual.v[own.x] + sums.x;
    }
    if (own.y < hidden) {
        args.y.v[own.y] = args.residual.v[own.y] + sums.y;
    }
}
