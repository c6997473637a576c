/* rms_norm.comp for CPUs that play GPUs (lib/load_int64.glsl): a work-group is one subgroup of eight
 * lanes, which go through a row by 128 elements, four fours a lane. dim is a multiple of 4.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lib/types.glsl"
#include "lib/load_int64.glsl"
#include "lib/store_int64.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 8u;
layout(local_size_x_id = 0, local_size_x = 8) in;

#define LANES 8u
#define LANE_FOURS 4u

layout(push_constant) uniform push
{
    rms_norm_args args;
};

/* The i-th four of a lane from `first` on; the last where there is none. */
uint own_four(uint first, uint i)
{
    return first + i * LANES + gl_LocalInvocationIndex;
}

vec4 load_four(f32s x, uint row, uint four, uint fours)
{
    return uintBitsToFloat(load16(words(uvec2(x)), row * fours + min(four, fours - 1u)));
}

/* 1 / rms of the row. */
float norm_factor(uint row, uint fours)
{
    vec4 squares = vec4(0.0);
    uint first = 0u;
    do {
        [[unroll]] for (uint i = 0u; i < LANE_FOURS; i++) {
            uint four = own_four(first, i);
            vec4 x = load_four(args.x, row, four, fours);
            squares += four < fours ? x * x : vec4(0.0);
        }
        first += LANES * LANE_FOURS;
    } while (first < fours);
    float sum = squares.x + squares.y + squares.z + squares.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    sum += subgroupShuffleXor(sum, 4u);
    return 1.0 / sqrt(sum / float(args.dim) + args.epsilon);
}

void main()
{
    uint n = args.step.n_tokens;
    uint t = gl_WorkGroupID.y;
    if (t >= n) {
        return;
    }
    uint read_token = args.last_only != 0u ? n - 1u : t;
    uint from = read_token * args.rows_per_token + gl_WorkGroupID.x;
    uint to = t * args.rows_per_token + gl_WorkGroupID.x;
    uint fours = args.dim / 4u;
    float factor = norm_factor(from, fours);
    uint first = 0u;
    do {
        [[unroll]] for (uint i = 0u; i < LANE_FOURS; i++) {
            uint four = own_four(first, i);
            vec4 y = load_four(args.x, from, four, fours) * factor;
            y *= load_four(args.weight, 0u, four, fours);
            if (four < fours) {
                store_four(args.y, to * fours + four, y);
            }
        }
        first += LANES * LANE_FOURS;
    } while (first < fours);
}
