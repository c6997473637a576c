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
    uint own = row + lane;
    float own_bias = 0.0;
    team_sums sums = team_zero();
    for (uint slot = 0u; slot < top_k; slot++) {
        uint expert = min(ids.v[slot], last);
        uvec2 slab = slabs.v[expert];
        if (slab != uvec2(0u)) {
            float weight = weights.v[slot];
            team_sums of_slot = team_zero();
            team_multiply(words(address_add(slab, down_offset)), hidden, ffn, row, h, slot, h,
                          of_slot);
#define ADD(r) sums.rows[r] += weight * of_slot.rows[r];
            EACH_OF_EIGHT(ADD)
#undef ADD
            if (own < hidden) {
                own_bias += weight * bias_at(bias, expert * hidden + own);
            }
        }
    }
    float product = team_product_of(sums, lane);
    if (own < hidden) {
        args.y.v[own] = args.residual.v[own] + (product + own_bias);
    }
}
