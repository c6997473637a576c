/* Sorts the (token, slot) pairs by expert, stably.
 *
 * Work-group x has expert x: it finds where the expert's pairs begin by counting the ids below x,
 * and lists the pairs whose id is x. Its invocations have equal shares of the ids, in order, and
 * learn by a scan how many were found before theirs. So no work-group waits for another.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

layout(push_constant) uniform push
{
    expert_group_args args;
};

/* x: ids below the work-group's expert; y: ids equal to it. */
shared uvec2 counts[GROUP_SIZE];

void main()
{
    uint expert = gl_WorkGroupID.x;
    uint me = gl_LocalInvocationIndex;
    uint pairs = args.step.n_tokens * args.top_k;
    uint share = (pairs + GROUP_SIZE - 1u) / GROUP_SIZE;
    uint first = min(me * share, pairs);
    uint last = min(first + share, pairs);
    uvec2 count = uvec2(0u);
    for (uint pair = first; pair < last; pair++) {
        uint id = args.ids.v[pair];
        count += uvec2(id < expert ? 1u : 0u, id == expert ? 1u : 0u);
    }
    counts[me] = count;
    barrier();
    for (uint distance = 1u; distance < GROUP_SIZE; distance *= 2u) {
        uvec2 before = me >= distance ? counts[me - distance] : uvec2(0u);
        barrier();
        counts[me] += before;
        barrier();
    }
    uint begin = counts[GROUP_SIZE - 1u].x;
    if (me == 0u) {
        args.offsets.v[expert] = begin;
        if (expert == args.n_experts - 1u) {
            args.offsets.v[args.n_experts] = begin + counts[GROUP_SIZE - 1u].y;
        }
    }
    uint place = begin + counts[me].y - count.y;
    for (uint pair = first; pair < last; pair++) {
        if (args.ids.v[pair] == expert) {
            args.pairs.v[place] = pair;
            place++;
        }
    }
}
