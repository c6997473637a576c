/* Rows of the key and value caches, by -DDTYPE_F32 or -DDTYPE_F16. */
#if defined(DTYPE_F32)

float cache_load(words cache, uint index)
{
    return uintBitsToFloat(cache.v[index]);
}

vec4 cache_load_aligned4(words cache, uint index)
{
    return uintBitsToFloat(words4(uvec2(cache)).v[index >> 2]);
}

#elif defined(DTYPE_F16)

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

#else
#error "no reader for this type of cache"
#endif

/* Four neighbours of a head of `count` elements that begins at element `head`; 0 past its end.
 * Heads of a multiple of four elements are read as one vector. */
vec4 cache_load4(words cache, uint head, uint count, uint column)
{
    if ((count & 3u) == 0u) {
        return cache_load_aligned4(cache, head + column);
    }
    vec4 four = vec4(0.0);
    for (uint i = 0u; i < 4u && column + i < count; i++) {
        four[i] = cache_load(cache, head + column + i);
    }
    return four;
}
