/* Writes to the key and value caches, by -DDTYPE_F32, -DDTYPE_F16 or -DDTYPE_Q8_0.
 *
 * The invocations of a work-group first put neighbouring elements of a row into stored_values, pass
 * a barrier, and then call cache_store together. No word may be written by two work-groups: a
 * stretch begins at a multiple of STORE_UNIT elements of its row and ends at another, or at the
 * row's end. Wants GROUP_SIZE and STORE_ELEMENTS, the longest stretch.
 */
#include "cache_round.glsl"

shared float stored_values[STORE_ELEMENTS];

#if defined(DTYPE_F32)

#define STORE_UNIT 1u

void cache_store(words cache, uint capacity, uint dim, uint row, uint first, uint count)
{
    words_written to = words_written(uvec2(cache));
    for (uint i = gl_LocalInvocationIndex; i < count; i += GROUP_SIZE) {
        to.v[row * dim + first + i] = floatBitsToUint(stored_values[i]);
    }
}

#elif defined(DTYPE_F16)

#define STORE_UNIT 2u

void cache_store(words cache, uint capacity, uint dim, uint row, uint first, uint count)
{
    words_written to = words_written(uvec2(cache));
    for (uint i = gl_LocalInvocationIndex; i < count / 2u; i += GROUP_SIZE) {
        to.v[(row * dim + first) / 2u + i] =
            half_bits(stored_values[2u * i]) | half_bits(stored_values[2u * i + 1u]) << 16;
    }
}

#elif defined(DTYPE_Q8_0)

/* A word of the plane of scales has those of two blocks. */
#define STORE_UNIT 64u

/* The block whose first element is stored_values[i] to the word `to` of the cache and seven more;
 * returns the bits of its scale. */
uint store_block(words_written cache, uint to, uint i)
{
    float largest = 0.0;
    for (uint k = 0u; k < 32u; k++) {
        largest = max(largest, abs(q8_0_number(stored_values[i + k])));
    }
    float d = largest / 127.0;
    float inverse = q8_0_inverse(d);
    for (uint word = 0u; word < 8u; word++) {
        uint codes = 0u;
        for (uint k = 0u; k < 4u; k++) {
            codes |= q8_0_code(stored_values[i + word * 4u + k], inverse) << 8u * k;
        }
        cache.v[to + word] = codes;
    }
    return half_bits(d);
}

void cache_store(words cache, uint capacity, uint dim, uint row, uint first, uint count)
{
    words_written to = words_written(uvec2(cache));
    uint blocks = dim / 32u;
    uint stride = (blocks * 2u + 15u) / 16u * 4u;
    uint scales = capacity * dim / 4u + row * stride;
    for (uint i = gl_LocalInvocationIndex * 2u; i < count / 32u; i += GROUP_SIZE * 2u) {
        uint block = first / 32u + i;
        uint codes = (row * dim) / 4u + block * 8u;
        uint scale = store_block(to, codes, i * 32u);
        if (i + 1u < count / 32u) {
            scale |= store_block(to, codes + 8u, i * 32u + 32u) << 16;
        }
        to.v[scales + block / 2u] = scale;
    }
}

#else
#error "no writer for this type of cache"
#endif
