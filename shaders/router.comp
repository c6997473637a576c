/* The experts of each token by its logits, and their weights (struct router_args).
 *
 * Work-group y has token y (lib/router.glsl).
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/bias.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

#include "lib/reduce.glsl"

layout(push_constant) uniform push
{
    router_args args;
};

float router_logit(uint t, uint expert)
{
    return args.logits.v[t * args.rule.n_experts + expert];
}

#include "lib/router.glsl"

void main()
{
    if (gl_WorkGroupID.y < args.step.n_tokens) {
        choose(gl_WorkGroupID.y);
    }
}
