/* Latent attention in absorbed form: y[t][h] = sum over j <= position + t of p[j] latent[j], where
 * p = softmax over j of scale (q[t][h] . latent[j] + q_rope[t][h] . rope[j]).
 *
 * All heads share the rows of the caches: as attention with one kv head, whose keys are a latent and
 * behind it a rotary key, and whose values are the latents (lib/attention.glsl). Fastest if RANK and
 * ROPE_DIM are multiples of 4.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/cache.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 128u;
layout(constant_id = 1) const uint RANK = 512u;
layout(constant_id = 2) const uint QUERIES = 4u;
layout(constant_id = 3) const uint ROWS = 64u;
layout(constant_id = 4) const uint PIECE_FOURS = 4u;
layout(constant_id = 5) const uint ROW_SCORES = 1u;
layout(constant_id = 6) const uint VALUE_QUERIES = 4u;
layout(constant_id = 7) const uint ROPE_DIM = 64u;
layout(local_size_x_id = 0, local_size_x = 128) in;

#define VALUE_FOURS ((RANK + 3u) / 4u)
#define KEY_FOURS (VALUE_FOURS + (ROPE_DIM + 3u) / 4u)

layout(push_constant) uniform push
{
    attention_latent_args args;
};

#include "lib/attention.glsl"

uint attention_heads()
{
    return args.heads;
}

uint attention_kv_heads()
{
    return 1u;
}

uint attention_window()
{
    return 0u;
}

uint attention_value_dim()
{
    return RANK;
}

uint attention_result(uint token, uint kv_head, uint head)
{
    return (token * args.heads + head) * RANK;
}

vec4 attention_query(uint token, uint kv_head, uint head, uint four)
{
    uint query = token * args.heads + head;
    if (four < VALUE_FOURS) {
        return row_load4(args.q, query * RANK, RANK, four * 4u) * args.scale;
    }
    return row_load4(args.q_rope, query * ROPE_DIM, ROPE_DIM, (four - VALUE_FOURS) * 4u) *
           args.scale;
}

vec4 attention_value(uint row, uint kv_head, uint four)
{
    return cache_load4(args.latent_cache, args.capacity, RANK, row, 0u, RANK, four * 4u);
}

vec4 attention_key(uint row, uint kv_head, uint four)
{
    if (four < VALUE_FOURS) {
        return attention_value(row, kv_head, four);
    }
    return cache_load4(args.rope_cache, args.capacity, ROPE_DIM, row, 0u, ROPE_DIM,
                       (four - VALUE_FOURS) * 4u);
}

bool attention_has_sinks()
{
    return false;
}

float attention_sink(uint kv_head, uint head)
{
    return LOWEST;
}

void main()
{
    attend();
}
