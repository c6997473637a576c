/* expert_combine.comp for CPUs that play GPUs (lib/load_int64.glsl): a work-group is one subgroup of
 * eight lanes and makes 256 elements of token y, eight fours a lane, whose sums stay in registers
 * while it goes through the slots. hidden is a multiple of 4.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "lib/types.glsl"
#include "lib/load_int64.glsl"
#include "lib/store_int64.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 8u;
layout(local_size_x_id = 0, local_size_x = 8) in;

#define LANES 8u
#define LANE_FOURS 8u

layout(push_constant) uniform push
{
    expert_combine_args args;
};

/* This lane's i-th four, perhaps past the end of the row: then the last one is loaded. */
uint own_four(uint i)
{
    return (gl_WorkGroupID.x * LANE_FOURS + i) * LANES + gl_LocalInvocationIndex;
}

vec4 load_four(f32s x, uint row, uint i)
{
    uint fours = args.hidden / 4u;
    return uintBitsToFloat(load16(words(uvec2(x)), row * fours + min(own_four(i), fours - 1u)));
}

void main()
{
    uint t = gl_WorkGroupID.y;
    if (t >= args.step.n_tokens) {
        return;
    }
    vec4 sums[LANE_FOURS];
    [[unroll]] for (uint i = 0u; i < LANE_FOURS; i++) {
        sums[i] = load_four(args.residual, t, i);
    }
    uint slot = 0u;
    do {
        uint pair = t * args.top_k + slot;
        float weight = args.weights.v[pair];
        [[unroll]] for (uint i = 0u; i < LANE_FOURS; i++) {
            sums[i] += weight * load_four(args.parts, pair, i);
        }
        slot++;
    } while (slot < args.top_k);
    [[unroll]] for (uint i = 0u; i < LANE_FOURS; i++) {
        if (own_four(i) < args.hidden / 4u) {
            store_four(args.y, t * (args.hidden / 4u) + own_four(i), sums[i]);
        }
    }
}
