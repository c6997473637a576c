/* attention_latent.comp for CPUs that play GPUs; how is told in lib/attention_software.glsl. RANK and
 * ROPE_DIM are multiples of 4. The latents of a row are loaded once, to be keys and values.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 8u;
layout(constant_id = 1) const uint RANK = 512u;
layout(constant_id = 2) const uint QUERIES = 8u;
layout(constant_id = 3) const uint ROWS = 2u;
layout(constant_id = 4) const uint SPLITS = 1u; /* most */
layout(constant_id = 5) const uint ROPE_DIM = 64u;
layout(local_size_x_id = 0, local_size_x = 8) in;

#define VALUE_DIM RANK
const uint VALUE_CHUNKS = (RANK / 4u + 7u) / 8u;
const uint KEY_CHUNKS = VALUE_CHUNKS + (ROPE_DIM / 4u + 7u) / 8u;

layout(push_constant) uniform push
{
    attention_latent_args args;
};

#include "lib/attention_software.glsl"
#include "lib/cache_software.glsl"

uint lane_four(uint i)
{
    return cache_lane_four(i, attention_lane());
}

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

/* The lane's i-th four of vector `number` of dim elements; 0 past the last. */
vec4 query_part(f32s x, uint number, uint dim, uint i)
{
    uint fours = dim / 4u;
    uint four = lane_four(i);
    vec4 loaded =
        uintBitsToFloat(load16(words(uvec2(x)), number * fours + min(four, fours - 1u)));
    return four < fours ? loaded * args.scale : vec4(0.0);
}

vec4 attention_query(uint token, uint kv_head, uint head, uint i)
{
    uint query = token * args.heads + head;
    if (i < VALUE_CHUNKS) {
        return query_part(args.q, query, RANK, i);
    }
    return query_part(args.q_rope, query, ROPE_DIM, i - VALUE_CHUNKS);
}

void attention_keys(uint kv_head, uint row, uint last)
{
    uint scales[SCALE_LOADS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint of_row = min(row + r, last);
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            vec4 pair[2];
            if (i < VALUE_CHUNKS) {
                cache_load_chunks(args.latent_cache, of_row * RANK, RANK, i, r, scales, pair);
            } else {
                cache_load_chunks(args.rope_cache, of_row * ROPE_DIM, ROPE_DIM, i - VALUE_CHUNKS, r,
                                  scales, pair);
            }
            keys[r * KEY_CHUNKS + i] = pair[0];
        }
    }
}

void attention_values(uint kv_head, uint row, uint last)
{
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            values[r * VALUE_CHUNKS + i] = keys[r * KEY_CHUNKS + i];
        }
    }
}

float attention_sink(uint kv_head, uint head)
{
    return LOWEST;
}

bool attention_has_sinks()
{
    return false;
}

void main()
{
    attend();
}
