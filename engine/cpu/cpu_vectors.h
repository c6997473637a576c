/* Vectors of LANES floats, which the includer names, in the vector extension of gcc and clang. */
#pragma once

#include <stdint.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef uint32_t vector_bits __attribute__((vector_size(4 * LANES)));

ALWAYS_INLINE vector load(const float *from)
{
    vector values;
    memcpy(&values, from, sizeof(values));
    return values;
}

ALWAYS_INLINE void store(float *to, vector values)
{
    memcpy(to, &values, sizeof(values));
}

ALWAYS_INLINE vector splat(float value)
{
    return value - (vector){0};
}

/* e^x within 2e-7 of its size for x in -87 .. 87: x = n ln 2 + r with n whole and |r| <= ln 2 / 2,
 * ln 2 in two parts (Cody and Waite 1980), then Taylor's series. NaN stays NaN. */
ALWAYS_INLINE vector exponential(vector x)
{
    const float whole = 0x1.8p23f; /* added, it leaves no bits behind the point */
    vector shifted = x * 1.44269504f + whole;
    vector n = shifted - whole;
    vector r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vector e = r * (1.0f / 720) + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    return (vector)((vector_bits)e + ((vector_bits)shifted << 23));
}
