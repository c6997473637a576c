#include <immintrin.h>
#include <stddef.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_peak.h"

CPU_PEAK_DEFINE_READ(avx2, 32)
CPU_PEAK_DEFINE_F32(avx2, 32)

/* Unsigned times signed bytes in pairs, pairs of pairs, sum: what dot products of bytes are made of
 * without VNNI. */
static double int8_avx2(uint64_t rounds)
{
    static volatile const int factor = 3;
    __m256i sums[CPU_PEAK_SUMS], a = _mm256_set1_epi8((char)factor), ones = _mm256_set1_epi16(1);
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sums[k] = a;
    }
    for (uint64_t i = 0; i < rounds; i++) {
        _Pragma("GCC unroll 12") for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++)
        {
            __m256i pairs = _mm256_maddubs_epi16(a, sums[k]);
            sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(pairs, ones));
        }
    }
    __m256i sum = a;
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sum = _mm256_xor_si256(sum, sums[k]);
    }
    return _mm256_extract_epi32(sum, 0);
}

const struct cpu_peak cpu_peak_avx2 = {.features = CPU_AVX2,
                                       .read = read_avx2,
                                       .f32 = f32_avx2,
                                       .int8 = int8_avx2,
                                       .f32_operations = CPU_PEAK_OPERATIONS(8),
                                       .int8_operations = CPU_PEAK_OPERATIONS(32)};
