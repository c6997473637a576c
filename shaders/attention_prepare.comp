/* What stands between the products of a layer and its attention: q and k normed head by head, if
 * there are norms, and rotated; q to q_rotated, k and v to row position + t of the caches.
 *
 * Work-group (x, y) has head x of q of token y; those behind the heads of q have STORE_HEADS heads of
 * k and v each, so many that no word of the caches belongs to two work-groups (lib/cache_store.glsl).
 * Heads are taken one after the other: its invocations share the elements for the norm, then the
 * pairs. n_rotated is even and at most HEAD_DIM. Shared memory: 4 STORE_HEADS HEAD_DIM + 4
 * GROUP_SIZE bytes.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/trigonometry.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(constant_id = 1) const uint HEAD_DIM = 128u;
layout(constant_id = 2) const uint STORE_HEADS = 1u;
layout(local_size_x_id = 0, local_size_x = 64) in;

#define STORE_ELEMENTS (STORE_HEADS * HEAD_DIM)
#include "lib/cache_store.glsl"
#include "lib/reduce.glsl"

layout(push_constant) uniform push
{
    attention_prepare_args args;
};

/* 1 / rms of the head that begins at `from`. */
float norm_factor(f32s x, uint from)
{
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < HEAD_DIM; i += GROUP_SIZE) {
        float value = x.v[from + i];
        sum += value * value;
    }
    return 1.0 / sqrt(reduce_sum(sum) / float(HEAD_DIM) + args.epsilon);
}

/* Element i of the head that begins at `from`, normed. */
float normed(f32s x, f32s norm, bool has_norm, float factor, uint from, uint i)
{
    float value = x.v[from + i];
    return has_norm ? value * factor * norm.v[i] : value;
}

/* The head that begins at `from` in x, normed and rotated, to stored_values[to] and on. */
void prepare_head(f32s x, f32s norm, uint from, uint to)
{
    bool has_norm = uvec2(norm) != uvec2(0u);
    float factor = has_norm ? norm_factor(x, from) : 1.0;
    uint pairs = args.n_rotated / 2u;
    float position = float(args.step.position + gl_WorkGroupID.y);
    for (uint item = gl_LocalInvocationIndex; item < HEAD_DIM - pairs; item += GROUP_SIZE) {
        if (item < pairs) {
            vec2 turn = cosine_sine(position * args.frequencies.v[item]) * args.scale;
            float a = normed(x, norm, has_norm, factor, from, item);
            float b = normed(x, norm, has_norm, factor, from, item + pairs);
            stored_values[to + item] = a * turn.x - b * turn.y;
            stored_values[to + item + pairs] = b * turn.x + a * turn.y;
        } else {
            uint i = item + pairs;
            stored_values[to + i] = normed(x, norm, has_norm, factor, from, i);
        }
    }
}

void main()
{
    uint me = gl_LocalInvocationIndex;
    uint t = gl_WorkGroupID.y;
    uint row = args.step.position + t;
    if (t >= args.step.n_tokens || row >= args.capacity) {
        return;
    }
    if (gl_WorkGroupID.x < args.heads) {
        uint head = (t * args.heads + gl_WorkGroupID.x) * HEAD_DIM;
        prepare_head(args.q, args.q_norm, head, 0u);
        barrier();
        for (uint i = me; i < HEAD_DIM; i += GROUP_SIZE) {
            args.q_rotated.v[head + i] = stored_values[i];
        }
        return;
    }
    uint first = (gl_WorkGroupID.x - args.heads) * STORE_HEADS;
    uint heads = min(STORE_HEADS, args.kv_heads - first);
    uint dim = args.kv_heads * HEAD_DIM;
    uint from = t * dim + first * HEAD_DIM;
    for (uint h = 0u; h < heads; h++) {
        prepare_head(args.k, args.k_norm, from + h * HEAD_DIM, h * HEAD_DIM);
    }
    barrier();
    cache_store(args.k_cache, args.capacity, dim, row, first * HEAD_DIM, heads * HEAD_DIM);
    barrier();
    for (uint i = me; i < heads * HEAD_DIM; i += GROUP_SIZE) {
        stored_values[i] = args.v.v[from + i];
    }
    barrier();
    cache_store(args.v_cache, args.capacity, dim, row, first * HEAD_DIM, heads * HEAD_DIM);
}
