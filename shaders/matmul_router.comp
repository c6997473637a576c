/* logits = W norm(x) + bias of one token, and the experts that the router chooses by them.
 *
 * Work-groups make rows as those of matvec.comp do; the one that is done last makes the choice
 * (lib/router.glsl). Any n_experts and cols that the type allows.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/matvec.glsl"
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

void store(uint row, float product)
{
    if (row < args.rule.n_experts) {
        args.logits.v[row] = floatBitsToUint(product + bias_at(args.bias, row));
    }
}

void main()
{
    uint row = team_row();
    uint x_rows[COLUMNS];
    vec2 sums[COLUMNS];
    for (uint t = 0u; t < COLUMNS; t++) {
        x_rows[t] = t == 0u ? 0u : NO_VECTOR;
    }
    team_product(args.weight, args.rule.n_experts, args.cols, row, args.x, x_rows, args.norm,
                 args.epsilon, sums);
    if (team_writes()) {
        store(row, sums[0].x);
        store(row + 1u, sums[0].y);
    }
    if (!arrives_last(args.arrived, 0u, gl_NumWorkGroups.x * gl_NumWorkGroups.y)) {
        return;
    }
    if (gl_LocalInvocationIndex == 0u) {
        args.arrived.v[0] = 0u;
    }
    choose(0u);
}
