#include <immintrin.h>
#include <stddef.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_peak.h"

static double int8_avx512_vnni(uint64_t rounds)
{
    static volatile const int factor = 3;
    __m512i sums[CPU_PEAK_SUMS], a = _mm512_set1_epi8((char)factor);
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sums[k] = a;
    }
    for (uint64_t i = 0; i < rounds; i++) {
        _Pragma("GCC unroll 12") for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++)
        {
            sums[k] = _mm512_dpbusd_epi32(sums[k], a, a);
        }
    }
    __m512i sum = a;
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sum = _mm512_xor_si512(sum, sums[k]);
    }
    return _mm512_reduce_add_epi32(sum);
}

const struct cpu_peak cpu_peak_avx512_vnni = {.features = CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI,
                                              .int8 = int8_avx512_vnni,
                                              .int8_operations = CPU_PEAK_OPERATIONS(64)};
