#include <immintrin.h>
#include <stddef.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_peak.h"

CPU_PEAK_DEFINE_READ(avx512, 64)
CPU_PEAK_DEFINE_F32(avx512, 64)

/* As in cpu_peak_avx2.c, twice as wide. */
static double int8_avx512(uint64_t rounds)
{
    static volatile const int factor = 3;
    __m512i sums[CPU_PEAK_SUMS], a = _mm512_set1_epi8((char)factor), ones = _mm512_set1_epi16(1);
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sums[k] = a;
    }
    for (uint64_t i = 0; i < rounds; i++) {
        _Pragma("GCC unroll 12") for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++)
        {
            __m512i pairs = _mm512_maddubs_epi16(a, sums[k]);
            sums[k] = _mm512_add_epi32(sums[k], _mm512_madd_epi16(pairs, ones));
        }
    }
    __m512i sum = a;
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sum = _mm512_xor_si512(sum, sums[k]);
    }
    return _mm512_reduce_add_epi32(sum);
}

const struct cpu_peak cpu_peak_avx512 = {.features = CPU_AVX2 | CPU_AVX512,
                                         .read = read_avx512,
                                         .f32 = f32_avx512,
                                         .int8 = int8_avx512,
                                         .f32_operations = CPU_PEAK_OPERATIONS(16),
                                         .int8_operations = CPU_PEAK_OPERATIONS(64)};
