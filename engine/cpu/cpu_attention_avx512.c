/* The loops of attention with AVX-512. */
#include <immintrin.h>

#define LANES 16
#include "engine/cpu/cpu_attention_vectors.h"

static vector load_f16(const uint16_t *halves)
{
    return (vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)halves));
}

static vector load_q8(const int8_t *codes)
{
    __m128i sixteen = _mm_loadu_si128((const __m128i *)(const void *)codes);
    return (vector)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen));
}

const struct cpu_attention_math cpu_attention_math_avx512 = {
    .unpack_f16 = unpack_f16,
    .unpack_q8_0 = unpack_q8_0,
    .score = score,
    .weigh = weigh,
    .add = add,
};
