/* Reads of the key and value caches, by -DDTYPE_F32, -DDTYPE_F16 or -DDTYPE_Q8_0.
 *
 * cache_load4 gives elements column .. column + 3 of a head of `count` elements that begins at
 * element `first` of row `row`; 0 past the head's end. Rows have `dim` elements, the cache has
 * `capacity` of them. Heads of a multiple of four elements are read as one vector; those of q8_0 are
 * multiples of 32.
 */
#if defined(DTYPE_F32) || defined(DTYPE_F16)

#if defined(DTYPE_F32)

float cache_load(words cache, uint index)
{
    return uintBitsToFloat(cache.v[index]);
}

vec4 cache_load_aligned4(words cache, uint index)
{
    return uintBitsToFloat(words4(uvec2(cache)).v[index >> 2]);
}

#else

float cache_load(words cache, uint index)
{
    vec2 pair = unpackHalf2x16(cache.v[index >> 1]);
    return (index & 1u) == 0u ? pair.x : pair.y;
}

vec4 cache_load_aligned4(words cache, uint index)
{
    uvec2 four = words2(uvec2(cache)).v[index >> 2];
    return vec4(unpackHalf2x16(four.x), unpackHalf2x16(four.y));
}

#endif

vec4 cache_load4(words cache, uint capacity, uint dim, uint row, uint first, uint count,
                 uint column)
{
    uint head = row * dim + first;
    if ((count & 3u) == 0u) {
        return cache_load_aligned4(cache, head + column);
    }
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 4u && column + i < count; i++) {
        four[i] = cache_load(cache, head + column + i);
    }
    return four;
}

#elif defined(DTYPE_Q8_0)

#include "unpack.glsl"

vec4 cache_load4(words cache, uint capacity, uint dim, uint row, uint first, uint count,
                 uint column)
{
    uint element = first + column;
    uint stride = plane_stride16(dim >> 5, 2u) << 2;
    float d = unpack_half(cache, (capacity * dim >> 2) + row * stride, element >> 5);
    return d * unpack_s8x4(cache.v[(row * dim + element) >> 2]);
}

#else
#error "no reader for this type of cache"
#endif
