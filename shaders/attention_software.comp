/* attention.comp for CPUs that play GPUs; how is told in lib/attention_software.glsl. HEAD_DIM is a
 * multiple of 4, in caches of q8_0 of 64.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/unpack.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 8u;
layout(constant_id = 1) const uint HEAD_DIM = 128u;
layout(constant_id = 2) const uint QUERIES = 8u;
layout(constant_id = 3) const uint ROWS = 4u;
layout(constant_id = 4) const uint SPLITS = 1u; /* most */
layout(local_size_x_id = 0, local_size_x = 8) in;

#define VALUE_DIM HEAD_DIM
#define HEAD_FOURS (HEAD_DIM / 4u)
const uint KEY_CHUNKS = (HEAD_FOURS + 7u) / 8u;
const uint VALUE_CHUNKS = KEY_CHUNKS;

layout(push_constant) uniform push
{
    attention_args args;
};

#include "lib/attention_software.glsl"
#include "lib/cache_software.glsl"

uint lane_four(uint i)
{
    return cache_lane_four(i, attention_lane());
}

uint attention_heads()
{
    return args.heads / args.kv_heads;
}

uint attention_kv_heads()
{
    return args.kv_heads;
}

uint attention_window()
{
    return args.window;
}

uint attention_value_dim()
{
    return HEAD_DIM;
}

uint attention_result(uint token, uint kv_head, uint head)
{
    return (token * args.heads + kv_head * attention_heads() + head) * HEAD_DIM;
}

vec4 attention_query(uint token, uint kv_head, uint head, uint i)
{
    uint first = attention_result(token, kv_head, head) / 4u; /* q has the shape of y */
    uint four = lane_four(i);
    vec4 loaded = uintBitsToFloat(load16(words(uvec2(args.q)), first + min(four, HEAD_FOURS - 1u)));
    return four < HEAD_FOURS ? loaded * args.scale : vec4(0.0);
}

/* Heads of the rows of a cache, to keys or values: arrays of two types, whose sizes have two names. */
#define LOAD_ROWS(cache, fours) \
    uint scales[SCALE_LOADS]; \
    cache_load_scales(cache, args.capacity, args.kv_heads, kv_head, row, last, scales); \
    [[unroll]] for (uint r = 0u; r < ROWS; r++) { \
        uint head = min(row + r, last) * args.kv_heads + kv_head; \
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i += CACHE_CHUNKS) { \
            vec4 pair[2]; \
            cache_load_chunks(cache, head * HEAD_DIM, HEAD_DIM, i, r, scales, pair); \
            fours[r * KEY_CHUNKS + i] = pair[0]; \
            if (CACHE_CHUNKS == 2u) { \
                fours[r * KEY_CHUNKS + i + 1u] = pair[1]; \
            } \
        } \
    }

void attention_keys(uint kv_head, uint row, uint last)
{
    LOAD_ROWS(args.k_cache, keys)
}

void attention_values(uint kv_head, uint row, uint last)
{
    LOAD_ROWS(args.v_cache, values)
}

float attention_sink(uint kv_head, uint head)
{
    return args.sinks.v[kv_head * attention_heads() + head];
}

bool attention_has_sinks()
{
    return uvec2(args.sinks) != uvec2(0u);
}

void main()
{
    attend();
}
