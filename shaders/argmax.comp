/* id = index of the largest of x; ties: the lowest index; NaN only if there is nothing else.
 *
 * One work-group; its invocations take turns at the elements, then the best of each pair goes on,
 * in a tree. GROUP_SIZE is a power of two.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/order.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

layout(push_constant) uniform push
{
    argmax_args args;
};

shared uvec2 best_of[GROUP_SIZE]; /* order key, index */

void main()
{
    uint me = gl_LocalInvocationIndex;
    uvec2 best = uvec2(0u, 0xFFFFFFFFu);
    for (uint i = me; i < args.dim; i += GROUP_SIZE) {
        uint key = order_key(args.x.v[i]);
        if (key > best.x || best.y == 0xFFFFFFFFu) {
            best = uvec2(key, i);
        }
    }
    best_of[me] = best;
    barrier();
    for (uint live = GROUP_SIZE / 2u; live > 0u; live /= 2u) {
        if (me < live) {
            uvec2 mine = best_of[me];
            uvec2 other = best_of[me + live];
            if (other.x > mine.x || (other.x == mine.x && other.y < mine.y)) {
                best_of[me] = other;
            }
        }
        barrier();
    }
    if (me == 0u) {
        args.id.v[0] = best_of[0].y;
    }
}
