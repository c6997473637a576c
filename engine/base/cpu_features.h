/* What this processor can do, asked once; tests may take features away. */
#pragma once

#include <stdint.h>

enum cpu_feature {
    CPU_AVX2 = 1 << 0,   /* with FMA and F16C */
    CPU_AVX512 = 1 << 1, /* F, BW, DQ, VL, and the operating system saves the registers */
    CPU_AVX512_VNNI = 1 << 2,
    CPU_NEON = 1 << 3,     /* of 64-bit ARM: Advanced SIMD, with conversion from f16 */
    CPU_NEON_DOT = 1 << 4, /* sdot: four products of bytes added up in one instruction */
    CPU_AVX_VNNI = 1 << 5, /* of vectors of 256 bits, in AVX's encoding */
};

/* Detected features and'ed with the mask (all ones at first). */
uint32_t cpu_features(void);
void cpu_features_set_mask(uint32_t mask);
/* "avx2 avx512", or "none". */
const char *cpu_features_text(uint32_t features);
