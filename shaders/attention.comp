/* Causal attention: y[t][h] = sum over j of p[j] v[j][h'], where j are the cache rows that token t
 * sees: i - window < j <= i = position + t (no window: 0 <= j); p = softmax over j of (scale
 * q[t][h] . k[j][h']), with the sink of head h as one more logit; and h' = h / (heads / kv_heads).
 * How it is computed is told in lib/attention.glsl. heads is a multiple of kv_heads; fastest if
 * HEAD_DIM is a multiple of 4.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/cache.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint HEAD_DIM = 128u;
layout(constant_id = 2) const uint QUERIES = 8u;
layout(constant_id = 3) const uint ROWS = 64u;
layout(constant_id = 4) const uint PIECE_FOURS = 8u;
layout(constant_id = 5) const uint ROW_SCORES = 1u;
layout(constant_id = 6) const uint VALUE_QUERIES = 8u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#define KEY_FOURS ((HEAD_DIM + 3u) / 4u)
#define VALUE_FOURS KEY_FOURS

layout(push_constant) uniform push
{
    attention_args args;
};

#include "lib/attention.glsl"

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

vec4 attention_query(uint token, uint kv_head, uint head, uint four)
{
    uint q = attention_result(token, kv_head, head); /* q has the shape of y */
    return row_load4(args.q, q, HEAD_DIM, four * 4u) * args.scale;
}

vec4 attention_key(uint row, uint kv_head, uint four)
{
    return cache_load4(args.k_cache, args.capacity, args.kv_heads * HEAD_DIM, row,
                       kv_head * HEAD_DIM, HEAD_DIM, four * 4u);
}

vec4 attention_value(uint row, uint kv_head, uint four)
{
    return cache_load4(args.v_cache, args.capacity, args.kv_heads * HEAD_DIM, row,
                       kv_head * HEAD_DIM, HEAD_DIM, four * 4u);
}

bool attention_has_sinks()
{
    return uvec2(args.sinks) != uvec2(0u);
}

float attention_sink(uint kv_head, uint head)
{
    return args.sinks.v[kv_head * attention_heads() + head];
}

void main()
{
    attend();
}
