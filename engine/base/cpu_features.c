/* x86: asks the processor with CPUID, and the operating system (XGETBV) whether it saves the wide
 * registers. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID.
 * ARM: asks Linux (HWCAP, Documentation/arch/arm64/elf_hwcaps.rst of the kernel).
 */
#include "engine/base/cpu_features.h"

#include <stdatomic.h>
#include <stdbool.h>

static atomic_uint feature_mask = UINT32_MAX;

#if defined(__x86_64__)
#include <cpuid.h>

static uint32_t enabled_register_states(void)
{
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has_all(uint32_t bits, uint32_t wanted)
{
    return (bits & wanted) == wanted;
}

static uint32_t detect(void)
{
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const uint32_t avx2 = 1u << 5;
    const uint32_t avx512_f = 1u << 16, avx512_dq = 1u << 17, avx512_bw = 1u << 30,
                   avx512_vl = 1u << 31;
    const uint32_t avx512_vnni = 1u << 11;
    const uint32_t avx_vnni = 1u << 4; /* of the subleaf 1 */
    const uint32_t ymm_states = 0x06, zmm_states = 0xE6;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_all(c, fma | osxsave | avx | f16c)) {
        return 0;
    }
    uint32_t states = enabled_register_states();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has_all(b, avx2) ||
        !has_all(states, ymm_states)) {
        return 0;
    }
    uint32_t features = CPU_AVX2;
    if (has_all(b, avx512_f | avx512_dq | avx512_bw | avx512_vl) && has_all(states, zmm_states)) {
        features |= CPU_AVX512;
        if (has_all(c, avx512_vnni)) {
            features |= CPU_AVX512_VNNI;
        }
    }
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && has_all(a, avx_vnni)) {
        features |= CPU_AVX_VNNI;
    }
    return features;
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

static uint32_t detect(void)
{
    const unsigned long asimd = 1ul << 1, asimd_dot = 1ul << 20;
    unsigned long has = getauxval(AT_HWCAP);
    if (!(has & asimd)) {
        return 0;
    }
    return has & asimd_dot ? CPU_NEON | CPU_NEON_DOT : CPU_NEON;
}
#else
static uint32_t detect(void)
{
    return 0;
}
#endif

uint32_t cpu_features(void)
{
    return detect() & atomic_load(&feature_mask);
}

void cpu_features_set_mask(uint32_t mask)
{
    atomic_store(&feature_mask, mask);
}

const char *cpu_features_text(uint32_t features)
{
    static const char *const texts[] = {
        "none",
        "avx2",
        "avx512",
        "avx2 avx512",
        "avx512_vnni",
        "avx2 avx512_vnni",
        "avx512 avx512_vnni",
        "avx2 avx512 avx512_vnni",
        "avx_vnni",
        "avx2 avx_vnni",
        "avx512 avx_vnni",
        "avx2 avx512 avx_vnni",
        "avx512_vnni avx_vnni",
        "avx2 avx512_vnni avx_vnni",
        "avx512 avx512_vnni avx_vnni",
        "avx2 avx512 avx512_vnni avx_vnni",
    };
    if (features & (CPU_NEON | CPU_NEON_DOT)) {
        return features & CPU_NEON_DOT ? "neon neon_dot" : "neon";
    }
    return texts[(features & (CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI)) +
                 (features & CPU_AVX_VNNI ? 8 : 0)];
}
