/* The rung of AVX-VNNI, for processors that have it without AVX-512. */
#include <immintrin.h>

#define DOT_BYTES _mm256_dpbusd_avx_epi32
#define LEVEL cpu_level_avx_vnni
#define LEVEL_NAME "avx vnni"
#define LEVEL_FEATURES (CPU_AVX2 | CPU_AVX_VNNI)

#include "engine/cpu/cpu_dot_avx_vnni.h"
