/* Rotary position embedding: (a, b) = elements (j, j + n_rotated / 2) of a head become
 * (a cos - b sin, b cos + a sin) * scale with angle (position + t) frequencies[j]; elements from
 * n_rotated on are copied.
 *
 * Invocation x of row y has one item of one head of token y: the items of a head are its n_rotated
 * / 2 pairs, then its head_dim - n_rotated copies. n_rotated is even and at most head_dim.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/trigonometry.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

layout(push_constant) uniform push
{
    rope_args args;
};

void main()
{
    uint t = gl_WorkGroupID.y;
    uint pairs = args.n_rotated / 2u;
    uint items = args.head_dim - pairs;
    uint head = gl_GlobalInvocationID.x / items;
    uint item = gl_GlobalInvocationID.x % items;
    if (t >= args.step.n_tokens || head >= args.heads) {
        return;
    }
    uint first = (t * args.heads + head) * args.head_dim;
    if (item >= pairs) {
        uint i = first + item + pairs;
        args.y.v[i] = args.x.v[i];
        return;
    }
    vec2 turn = cosine_sine(float(args.step.position + t) * args.frequencies.v[item]) * args.scale;
    float a = args.x.v[first + item];
    float b = args.x.v[first + item + pairs];
    args.y.v[first + item] = a * turn.x - b * turn.y;
    args.y.v[first + item + pairs] = b * turn.x + a * turn.y;
}
