/* Rows position + t of the caches = k[t], v[t].
 *
 * Invocation x of row y stores elements 2 x and 2 x + 1 of token y in both caches: two words of
 * f32, one of f16. k_dim and v_dim are even. Halves are rounded to nearest even here, because
 * packHalf2x16 may round as it likes.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 64u;
layout(local_size_x_id = 0, local_size_x = 64) in;

layout(push_constant) uniform push
{
    kv_store_args args;
};

#if defined(DTYPE_F32)

void store_pair(words_written cache, uint pair, float first, float second)
{
    cache.v[pair * 2u] = floatBitsToUint(first);
    cache.v[pair * 2u + 1u] = floatBitsToUint(second);
}

#elif defined(DTYPE_F16)

uint half_bits(float value)
{
    uint bits = floatBitsToUint(value);
    uint sign = bits >> 16 & 0x8000u;
    uint magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return sign | 0x7E00u; /* NaN */
    }
    if (magnitude >= 0x477FF000u) {
        return sign | 0x7C00u; /* 65520 and above round to infinity */
    }
    if (magnitude < 0x38800000u) {
        precise float shifted = uintBitsToFloat(magnitude) + 0.5; /* subnormal: the sum rounds */
        return sign | (floatBitsToUint(shifted) - 0x3F000000u);
    }
    uint rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    return sign | (rounded - 0x38000000u) >> 13;
}

void store_pair(words_written cache, uint pair, float first, float second)
{
    cache.v[pair] = half_bits(first) | half_bits(second) << 16;
}

#else
#error "no writer for this type of cache"
#endif

void store_columns(words cache, f32s x, uint dim, uint row, uint column)
{
    if (column < dim) {
        uint i = gl_WorkGroupID.y * dim + column;
        store_pair(words_written(uvec2(cache)), (row * dim + column) / 2u, x.v[i], x.v[i + 1u]);
    }
}

void main()
{
    uint column = gl_GlobalInvocationID.x * 2u;
    uint row = args.step.position + gl_WorkGroupID.y;
    if (gl_WorkGroupID.y >= args.step.n_tokens || row >= args.capacity) {
        return;
    }
    store_columns(args.k_cache, args.k, args.k_dim, row, column);
    store_columns(args.v_cache, args.v, args.v_dim, row, column);
}
