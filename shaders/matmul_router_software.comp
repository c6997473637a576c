/* logits = W norm(x) + bias of one token, and the experts that the router chooses by them, as
 * matmul_router.comp; rows by teams of eight lanes and rows (lib/matvec_software.glsl).
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec_software.glsl"
#include "lib/bias.glsl"
#include "lib/reduce.glsl"
#include "lib/arrival.glsl"

layout(push_constant) uniform push
{
    matmul_router_args args;
};

float router_logit(uint t, uint expert)
{
    return uintBitsToFloat(args.logits.v[expert]);
}

#include "lib/router.glsl"

void main()
{
    uint row = team_row();
    uint lane = team_lane();
    uint cols = args.cols, rows = args.rule.n_experts;
    vec2 products =
        team_multiply(args.weight, rows, cols, row, args.x, 0u, args.norm, args.epsilon);
    for (uint half_team = 0u; half_team < 2u; half_team++) {
        uint own = row + lane + half_team * LANES;
        if (own < rows) {
            args.logits.v[own] = floatBitsToUint(products[half_team] + bias_at(args.bias, own));
        }
    }
    if (!arrives_last(args.arrived, 0u, gl_NumWorkGroups.x * gl_NumWorkGroups.y)) {
        return;
    }
    if (gl_LocalInvocationIndex == 0u) {
        args.arrived.v[0] = 0u;
    }
    choose(0u);
}
