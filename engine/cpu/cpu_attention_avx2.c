/* The loops of attention with AVX2, FMA and F16C. */
#include <immintrin.h>

#define LANES 8
#include "engine/cpu/cpu_attention_vectors.h"

static vector load_f16(const uint16_t *halves)
{
    return (vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)halves));
}

static vector load_q8(const int8_t *codes)
{
    __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)codes);
    return (vector)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
}

const struct cpu_attention_math cpu_attention_math_avx2 = {
    .unpack_f16 = unpack_f16,
    .unpack_q8_0 = unpack_q8_0,
    .score = score,
    .weigh = weigh,
    .add = add,
};
