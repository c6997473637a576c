#include <immintrin.h>
#include <stddef.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_peak.h"

static double int8_avx_vnni(uint64_t rounds)
{
    static volatile const int factor = 3;
    __m256i sums[CPU_PEAK_SUMS], a = _mm256_set1_epi8((char)factor);
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sums[k] = a;
    }
    for (uint64_t i = 0; i < rounds; i++) {
        _Pragma("GCC unroll 12") for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++)
        {
            sums[k] = _mm256_dpbusd_avx_epi32(sums[k], a, a);
        }
    }
    __m256i sum = a;
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sum = _mm256_xor_si256(sum, sums[k]);
    }
    return _mm256_extract_epi32(sum, 0);
}

const struct cpu_peak cpu_peak_avx_vnni = {.features = CPU_AVX2 | CPU_AVX_VNNI,
                                           .int8 = int8_avx_vnni,
                                           .int8_operations = CPU_PEAK_OPERATIONS(32)};
