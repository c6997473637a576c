/* What every kernel includes first: the extensions of the floor, the pointer types, and the
 * argument structs.
 *
 * Memory is reached by 64-bit addresses in the push constants, never by descriptors. Only 32-bit
 * words are read and written: 8 and 16-bit values are taken out of words by shifts, 64-bit
 * addresses are pairs of words. A reference becomes one of another type by way of such a pair,
 * because not every driver takes the direct cast (SwiftShader). Indices stay below 2^31 elements of
 * the type that is indexed. Every tensor starts at a 16-byte boundary.
 */
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

layout(buffer_reference, std430, buffer_reference_align = 16) buffer f32s
{
    float v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) buffer u32s
{
    uint v[];
};
/* f32s in fours: only where every row that is read begins at a multiple of four. */
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer f32x4s
{
    vec4 v[];
};
/* Bytes of another type: weights and caches. The same bytes in units of 4, 8 and 16. */
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer words
{
    uint v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer words2
{
    uvec2 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer words4
{
    uvec4 v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer words_written
{
    uint v[];
};
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer addresses
{
    uvec2 v[]; /* low word, high word */
};
/* What work-groups of one dispatch leave for each other. */
layout(buffer_reference, std430, buffer_reference_align = 16) coherent buffer parts_words
{
    uint v[];
};
/* struct step of engine/op/op.h */
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer step_buffer
{
    uint n_tokens;
    uint position;
    uint reserved0;
    uint reserved1;
    uint tokens[];
};
/* The same for the op that writes it. */
layout(buffer_reference, std430, buffer_reference_align = 16) buffer step_written
{
    uint n_tokens;
    uint position;
    uint reserved0;
    uint reserved1;
    uint tokens[];
};
/* struct sampling_state of engine/base/sampling.h */
layout(buffer_reference, std430, buffer_reference_align = 16) buffer sampling_states
{
    uint seed[2];
    float inverse_temperature;
    uint top_k;
    uint top_p;
    uint min_weight;
    float penalty;
    float inverse_penalty;
    uint n_valid;
    uint repeat_last;
    uint n_recent;
    uint oldest_recent;
    uint reserved[4];
};

#define MOXIE_GLSL
#include "../op_args.h"

/* An address `bytes` further on. */
uvec2 address_add(uvec2 address, uint bytes)
{
    uint carry;
    uint low = uaddCarry(address.x, bytes, carry);
    return uvec2(low, address.y + carry);
}

/* The number of this work-group where the host has folded a long row of groups into x and y. */
uint group_index()
{
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

/* Four neighbouring floats of a row of `count` that begins at `row` in `x`; 0 past its end. Rows of
 * a multiple of four floats are read as one vector. */
vec4 row_load4(f32s x, uint row, uint count, uint column)
{
    if ((count & 3u) == 0u) {
        return column < count ? f32x4s(uvec2(x)).v[(row + column) >> 2] : vec4(0.0);
    }
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 4u && column + i < count; i++) {
        four[i] = x.v[row + column + i];
    }
    return four;
}

/* isnan() may be compiled away; this may not. */
bool is_nan(float value)
{
    return (floatBitsToUint(value) & 0x7FFFFFFFu) > 0x7F800000u;
}
