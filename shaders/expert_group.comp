/* Sorts the (token, slot) pairs by expert, stably, and cuts them into tiles.
 *
 * Work-group x has expert x: it finds where the expert's pairs begin by counting the ids below x,
 * and lists the pairs whose id is x. Its invocations have equal shares of the ids, in order, and
 * learn by a scan how many were found before theirs. One work-group more counts the pairs of all
 * experts and writes the tiles. So no work-group waits for another.
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

shared uvec2 counts[GROUP_SIZE];
shared uint expert_pairs[ROUTER_MAX_EXPERTS];

/* What the invocations before this one have in sum. */
uvec2 sum_before(uvec2 count)
{
    uint me = gl_LocalInvocationIndex;
    counts[me] = count;
    barrier();
    for (uint distance = 1u; distance < GROUP_SIZE; distance *= 2u) {
        uvec2 before = me >= distance ? counts[me - distance] : uvec2(0u);
        barrier();
        counts[me] += before;
        barrier();
    }
    return counts[me] - count;
}

uint tiles_of(uint pairs)
{
    return (pairs + args.tile_pairs - 1u) / args.tile_pairs;
}

void write_tiles(uint expert, uint begin, uint tile)
{
    uint pairs = expert_pairs[expert];
    for (uint done = 0u; done < pairs; done += args.tile_pairs) {
        uint at = 1u + tile * EXPERT_TILE_WORDS;
        args.tiles.v[at] = expert;
        args.tiles.v[at + 1u] = begin + done;
        args.tiles.v[at + 2u] = min(pairs - done, args.tile_pairs);
        tile++;
    }
}

/* The invocations have equal shares of the experts, in order. */
void cut(uint n_pairs)
{
    uint me = gl_LocalInvocationIndex;
    for (uint e = me; e < args.n_experts; e += GROUP_SIZE) {
        expert_pairs[e] = 0u;
    }
    barrier();
    for (uint pair = me; pair < n_pairs; pair += GROUP_SIZE) {
        atomicAdd(expert_pairs[min(args.ids.v[pair], args.n_experts - 1u)], 1u);
    }
    barrier();
    uint share = (args.n_experts + GROUP_SIZE - 1u) / GROUP_SIZE;
    uint first = min(me * share, args.n_experts);
    uint last = min(first + share, args.n_experts);
    uvec2 count = uvec2(0u); /* pairs, tiles */
    for (uint e = first; e < last; e++) {
        count += uvec2(expert_pairs[e], tiles_of(expert_pairs[e]));
    }
    uvec2 before = sum_before(count);
    if (me == GROUP_SIZE - 1u) {
        args.tiles.v[0] = before.y + count.y;
    }
    for (uint e = first; e < last; e++) {
        write_tiles(e, before.x, before.y);
        before += uvec2(expert_pairs[e], tiles_of(expert_pairs[e]));
    }
}

void sort(uint expert, uint n_pairs)
{
    uint me = gl_LocalInvocationIndex;
    uint share = (n_pairs + GROUP_SIZE - 1u) / GROUP_SIZE;
    uint first = min(me * share, n_pairs);
    uint last = min(first + share, n_pairs);
    uvec2 count = uvec2(0u); /* ids below the expert, ids equal to it */
    for (uint pair = first; pair < last; pair++) {
        uint id = args.ids.v[pair];
        count += uvec2(id < expert ? 1u : 0u, id == expert ? 1u : 0u);
    }
    uvec2 before = sum_before(count);
    uvec2 all = counts[GROUP_SIZE - 1u];
    if (me == 0u) {
        args.offsets.v[expert] = all.x;
        if (expert == args.n_experts - 1u) {
            args.offsets.v[args.n_experts] = all.x + all.y;
        }
    }
    uint place = all.x + before.y;
    for (uint pair = first; pair < last; pair++) {
        if (args.ids.v[pair] == expert) {
            args.pairs.v[place] = pair;
            place++;
        }
    }
}

void main()
{
    uint n_pairs = args.step.n_tokens * args.top_k;
    if (gl_WorkGroupID.x < args.n_experts) {
        sort(gl_WorkGroupID.x, n_pairs);
    } else {
        cut(n_pairs);
    }
}
