/* attention_prepare.comp for CPUs that play GPUs (lib/load_int64.glsl): a work-group is one subgroup of
 * eight lanes and has all heads of token y, one after the other, in registers, so that the turns of a
 * token are computed once.
 *
 * Lane l has fours l, l + 8 ... of a head. An element comes of itself and of its partner, the other of
 * its pair: turned = own cosine -+ partner sine. The partner is one of the same lane's, or is loaded.
 * HEAD_DIM and N_ROTATED / 2 are multiples of 4, for caches of q8_0 HEAD_DIM of 64.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/types.glsl"
#include "lib/load_int64.glsl"
#include "lib/store_int64.glsl"
#include "lib/cache_round.glsl"
#include "lib/trigonometry.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 8u;
layout(constant_id = 1) const uint HEAD_DIM = 128u;
layout(constant_id = 2) const uint N_ROTATED = 128u;
layout(local_size_x_id = 0, local_size_x = 8) in;

#define LANES 8u
#define FOURS (HEAD_DIM / 4u)
#define PAIR_FOURS (N_ROTATED / 8u)
const uint CHUNKS = (FOURS + LANES - 1u) / LANES;

layout(push_constant) uniform push
{
    attention_prepare_args args;
};

/* Where this lane's i-th four is in a head, and its partners; past the last four, that one. */
uint own_four(uint i)
{
    return min(i * LANES + gl_LocalInvocationIndex, FOURS - 1u);
}
bool has_four(uint i)
{
    return i * LANES + gl_LocalInvocationIndex < FOURS;
}
uint partner_four(uint i)
{
    uint four = own_four(i);
    return four < PAIR_FOURS ? four + PAIR_FOURS : four < N_ROTATED / 4u ? four - PAIR_FOURS : four;
}

vec4 load_four(f32s x, uint four)
{
    return uintBitsToFloat(load16(words(uvec2(x)), four));
}

/* What an element and its partner are multiplied by. */
struct head_factors {
    vec4 own[CHUNKS];
    vec4 partner[CHUNKS];
};

void token_turns(float position, out head_factors turns)
{
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        turns.own[i] = vec4(1.0);
        turns.partner[i] = vec4(0.0);
        uint four = own_four(i);
        if (four < N_ROTATED / 4u) {
            bool first = four < PAIR_FOURS;
            vec4 angles = position * load_four(args.frequencies, first ? four : four - PAIR_FOURS);
            [[unroll]] for (uint k = 0u; k < 4u; k++) {
                vec2 turn = cosine_sine(angles[k]) * args.scale;
                turns.own[i][k] = turn.x;
                turns.partner[i][k] = first ? -turn.y : turn.y;
            }
        }
    }
}

void multiply_norm(inout head_factors factors, f32s norm)
{
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        factors.own[i] *= load_four(norm, own_four(i));
        factors.partner[i] *= load_four(norm, partner_four(i));
    }
}

void load_head(f32s x, uint first, out vec4 head[CHUNKS])
{
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        head[i] = load_four(x, first + own_four(i));
    }
}

/* Norms, if there is one, and turns a head that begins at four `first` of x. */
void turn_head(f32s x, uint first, head_factors factors, bool has_norm, inout vec4 head[CHUNKS])
{
    vec4 partners[CHUNKS];
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        if (PAIR_FOURS % LANES != 0u) {
            partners[i] = load_four(x, first + partner_four(i));
        } else {
            uint step = PAIR_FOURS / LANES;
            partners[i] = head[i < step ? i + step : i < 2u * step ? i - step : i];
        }
    }
    float squares = 0.0;
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        squares += has_four(i) ? dot(head[i], head[i]) : 0.0;
        vec4 turned = head[i] * factors.own[i] + partners[i] * factors.partner[i];
        head[i] = own_four(i) < N_ROTATED / 4u ? turned : head[i] * factors.own[i];
    }
    squares += subgroupShuffleXor(squares, 1u);
    squares += subgroupShuffleXor(squares, 2u);
    squares += subgroupShuffleXor(squares, 4u);
    float factor = has_norm ? 1.0 / sqrt(squares / float(HEAD_DIM) + args.epsilon) : 1.0;
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        head[i] *= factor;
    }
}

#ifdef DTYPE_Q8_0

float lanes_max(float value)
{
    value = max(value, subgroupShuffleXor(value, 1u));
    value = max(value, subgroupShuffleXor(value, 2u));
    return max(value, subgroupShuffleXor(value, 4u));
}

/* Block i of the head, which is a four of every lane; gives the scale's bits. */
uint store_block(words_written to, uint word, vec4 values)
{
    float largest = 0.0;
    [[unroll]] for (uint k = 0u; k < 4u; k++) {
        largest = max(largest, abs(q8_0_number(values[k])));
    }
    float d = lanes_max(largest) / 127.0;
    float inverse = q8_0_inverse(d);
    uint codes = 0u;
    [[unroll]] for (uint k = 0u; k < 4u; k++) {
        codes |= q8_0_code(values[k], inverse) << 8u * k;
    }
    to.v[word + gl_LocalInvocationIndex] = codes;
    return half_bits(d);
}

void store_head(words cache, uint row, uint head, vec4 values[CHUNKS])
{
    words_written to = words_written(uvec2(cache));
    uint blocks = args.kv_heads * (HEAD_DIM / 32u);
    uint stride = (blocks * 2u + 15u) / 16u * 4u;
    uint block = head * CHUNKS;
    uint scales = args.capacity * blocks * 8u + row * stride + block / 2u;
    uint own = 0u;
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        uint bits = store_block(to, (row * blocks + block + i) * 8u, values[i]);
        own |= i / 2u == gl_LocalInvocationIndex ? bits << i % 2u * 16u : 0u;
    }
    if (gl_LocalInvocationIndex < CHUNKS / 2u) {
        to.v[scales + gl_LocalInvocationIndex] = own;
    }
}

#else

void store_head(words cache, uint row, uint head, vec4 values[CHUNKS])
{
    uint first = (row * args.kv_heads + head) * FOURS;
    [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
        if (has_four(i)) {
#ifdef DTYPE_F16
            uint low = half_bits(values[i].x) | half_bits(values[i].y) << 16;
            uint high = half_bits(values[i].z) | half_bits(values[i].w) << 16;
            store8(uvec2(cache), first + own_four(i), uvec2(low, high));
#else
            store_four(f32s(uvec2(cache)), first + own_four(i), values[i]);
#endif
        }
    }
}

#endif

void prepare_queries(uint t, head_factors factors)
{
    bool has_norm = uvec2(args.q_norm) != uvec2(0u);
    if (has_norm) {
        multiply_norm(factors, args.q_norm);
    }
    uint head = 0u;
    do {
        vec4 values[CHUNKS];
        uint first = (t * args.heads + head) * FOURS;
        load_head(args.q, first, values);
        turn_head(args.q, first, factors, has_norm, values);
        [[unroll]] for (uint i = 0u; i < CHUNKS; i++) {
            if (has_four(i)) {
                store_four(args.q_rotated, first + own_four(i), values[i]);
            }
        }
        head++;
    } while (head < args.heads);
}

void store_keys_values(uint t, uint row, head_factors factors)
{
    bool has_norm = uvec2(args.k_norm) != uvec2(0u);
    if (has_norm) {
        multiply_norm(factors, args.k_norm);
    }
    uint head = 0u;
    do {
        vec4 values[CHUNKS];
        uint first = (t * args.kv_heads + head) * FOURS;
        load_head(args.k, first, values);
        turn_head(args.k, first, factors, has_norm, values);
        store_head(args.k_cache, row, head, values);
        load_head(args.v, first, values);
        store_head(args.v_cache, row, head, values);
        head++;
    } while (head < args.kv_heads);
}

void main()
{
    uint t = gl_WorkGroupID.y;
    uint row = args.step.position + t;
    if (t >= args.step.n_tokens || row >= args.capacity) {
        return;
    }
    head_factors turns;
    token_turns(float(row), turns);
    prepare_queries(t, turns);
    store_keys_values(t, row, turns);
}
