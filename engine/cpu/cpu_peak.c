#include "engine/cpu/cpu_peak.h"

#include <stddef.h>

CPU_PEAK_DEFINE_READ(plain, 16)
CPU_PEAK_DEFINE_F32(plain, 16)

/* Products of bytes as 16-bit numbers, which is what every 128-bit instruction set can. */
static double int8_plain(uint64_t rounds)
{
    typedef int16_t vector __attribute__((vector_size(16)));
    static volatile const int16_t factor = 3;
    vector sums[CPU_PEAK_SUMS], a = (vector){0} + factor;
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sums[k] = a;
    }
    for (uint64_t i = 0; i < rounds; i++) {
        _Pragma("GCC unroll 12") for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++)
        {
            sums[k] = sums[k] * a + a;
        }
    }
    vector sum = {0};
    for (uint32_t k = 0; k < CPU_PEAK_SUMS; k++) {
        sum += sums[k];
    }
    return sum[0];
}

const struct cpu_peak cpu_peak_plain = {.read = read_plain,
                                        .f32 = f32_plain,
                                        .int8 = int8_plain,
                                        .f32_operations = CPU_PEAK_OPERATIONS(4),
                                        .int8_operations = CPU_PEAK_OPERATIONS(8)};

/* Lowest first. NULL at the end, so that other processors have an empty ladder. */
static const struct cpu_peak *const ladder[] = {
#if defined(__x86_64__)
    &cpu_peak_avx2, &cpu_peak_avx_vnni, &cpu_peak_avx512, &cpu_peak_avx512_vnni,
#endif
    NULL,
};

struct cpu_peak cpu_peak_choose(uint32_t features)
{
    struct cpu_peak peak = cpu_peak_plain;
    for (const struct cpu_peak *const *rung = ladder; *rung; rung++) {
        if (((*rung)->features & features) != (*rung)->features) {
            continue;
        }
        if ((*rung)->read) {
            peak.read = (*rung)->read;
        }
        if ((*rung)->f32) {
            peak.f32 = (*rung)->f32;
            peak.f32_operations = (*rung)->f32_operations;
        }
        if ((*rung)->int8) {
            peak.int8 = (*rung)->int8;
            peak.int8_operations = (*rung)->int8_operations;
        }
    }
    return peak;
}
