/* Rows position + t of the caches = k[t], v[t].
 *
 * Work-group (x, y) stores elements STORE_ELEMENTS x and on of token y in both caches.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

#define STORE_ELEMENTS (GROUP_SIZE * 2u)
#include "lib/cache_store.glsl"

layout(push_constant) uniform push
{
    kv_store_args args;
};

void store(words cache, f32s x, uint dim, uint row)
{
    uint first = gl_WorkGroupID.x * STORE_ELEMENTS;
    uint count = min(STORE_ELEMENTS, max(dim, first) - first);
    for (uint i = gl_LocalInvocationIndex; i < count; i += GROUP_SIZE) {
        stored_values[i] = x.v[gl_WorkGroupID.y * dim + first + i];
    }
    barrier();
    cache_store(cache, args.capacity, dim, row, first, count);
    barrier();
}

void main()
{
    uint row = args.step.position + gl_WorkGroupID.y;
    if (gl_WorkGroupID.y >= args.step.n_tokens || row >= args.capacity) {
        return;
    }
    store(args.k_cache, args.k, args.k_dim, row);
    store(args.v_cache, args.v, args.v_dim, row);
}
