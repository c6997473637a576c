/* Products of rows of float types with vectors, with AVX-512. */
#include "engine/cpu/cpu_dot_avx512.h"

#define BLOCK_VECTORS 6
#define BLOCK_LIST(X, type) X(type, 1) X(type, 2) X(type, 3) X(type, 4) X(type, 5) X(type, 6)

typedef __m512 block_floats;

/* The sum of the lanes of each of four vectors. */
static inline __m128 sum_lanes(__m512 a, __m512 b, __m512 c, __m512 d)
{
    __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));
    __m512 sums = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps(sums, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

#include "engine/cpu/cpu_block_float.h"

BLOCK_TYPE(f32, 4)
BLOCK_TYPE(f16, 2)
BLOCK_TYPE(bf16, 2)

#define X(NAME, name) \
    void cpu_block_##name##_avx512(const struct cpu_tile_call *call) \
    { \
        block_walk(call, multiply_some_##name); \
    }
BLOCK_TYPES(X)
#undef X
