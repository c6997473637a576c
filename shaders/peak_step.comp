/* Next to nothing: one invocation adds `repeats` to y; nothing at all if that is 0. Empty ones, one
 * after the other, cost what dispatches cost; with barriers between, what dependent steps cost. */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/peak.glsl"

void main()
{
    if (args.repeats > 0u && gl_GlobalInvocationID.x == 0u) {
        args.y.v[0] += args.repeats;
    }
}
