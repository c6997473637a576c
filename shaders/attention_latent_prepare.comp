/* What stands between the products of a layer and its latent attention: row position + t of the
 * caches = norm(latent[t]), rotated k_rope[t]; q_rotated = q_rope rotated, head by head.
 *
 * Work-groups (x, y) serve token y: x 0 stores the latent, x 1 the rotary key, the others rotate
 * GROUP_SIZE pairs of q each, counted through all heads. RANK and ROPE_DIM are even. Shared memory:
 * 4 (RANK + ROPE_DIM) + 4 GROUP_SIZE bytes.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/trigonometry.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint RANK = 512u;
layout(constant_id = 2) const uint ROPE_DIM = 64u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#define STORE_ELEMENTS (RANK + ROPE_DIM)
#define PAIRS (ROPE_DIM / 2u)
#include "lib/cache_store.glsl"
#include "lib/reduce.glsl"

layout(push_constant) uniform push
{
    attention_latent_prepare_args args;
};

void store_latent(uint t, uint row)
{
    uint me = gl_LocalInvocationIndex;
    float sum = 0.0;
    for (uint i = me; i < RANK; i += GROUP_SIZE) {
        float value = args.latent.v[t * RANK + i];
        sum += value * value;
    }
    float factor = 1.0 / sqrt(reduce_sum(sum) / float(RANK) + args.epsilon);
    for (uint i = me; i < RANK; i += GROUP_SIZE) {
        stored_values[i] = args.latent.v[t * RANK + i] * factor * args.latent_norm.v[i];
    }
    barrier();
    cache_store(args.latent_cache, args.capacity, RANK, row, 0u, RANK);
}

/* Pair `pair` of the vector that begins at `from`, rotated to `position`. */
vec2 rotated(f32s x, uint from, uint pair, uint position)
{
    vec2 turn = cosine_sine(float(position) * args.frequencies.v[pair]) * args.scale;
    float a = x.v[from + pair];
    float b = x.v[from + pair + PAIRS];
    return vec2(a * turn.x - b * turn.y, b * turn.x + a * turn.y);
}

void store_key(uint t, uint row)
{
    for (uint pair = gl_LocalInvocationIndex; pair < PAIRS; pair += GROUP_SIZE) {
        vec2 both = rotated(args.k_rope, t * ROPE_DIM, pair, row);
        stored_values[pair] = both.x;
        stored_values[pair + PAIRS] = both.y;
    }
    barrier();
    cache_store(args.rope_cache, args.capacity, ROPE_DIM, row, 0u, ROPE_DIM);
}

void main()
{
    uint t = gl_WorkGroupID.y;
    uint row = args.step.position + t;
    if (t >= args.step.n_tokens || row >= args.capacity) {
        return;
    }
    if (gl_WorkGroupID.x == 0u) {
        store_latent(t, row);
    } else if (gl_WorkGroupID.x == 1u) {
        store_key(t, row);
    } else {
        uint item = (gl_WorkGroupID.x - 2u) * GROUP_SIZE + gl_LocalInvocationIndex;
        uint head = item / PAIRS;
        uint pair = item % PAIRS;
        if (head < args.heads) {
            uint from = (t * args.heads + head) * ROPE_DIM;
            vec2 both = rotated(args.q_rope, from, pair, row);
            args.q_rotated.v[from + pair] = both.x;
            args.q_rotated.v[from + pair + PAIRS] = both.y;
        }
    }
}
