/* What the kernels that measure a device share: 64 invocations a work-group and one argument struct. */
#include "lib/types.glsl"
#include "../peak_args.h"

layout(local_size_x = 64) in;

layout(push_constant) uniform push
{
    peak_args args;
};

/* A compiler cannot know that the sum is never this. */
void keep(uint sum)
{
    if (sum == 0x9E3779B9u) {
        args.y.v[0] = sum;
    }
}
