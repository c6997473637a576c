/* The rung of AVX-VNNI in the encoding of AVX-512 VNNI: the same arithmetic for processors that
 * have only that one, such as most of those that tests run on.
 */
#include <immintrin.h>

#define DOT_BYTES _mm256_dpbusd_epi32
#define LEVEL cpu_level_avx_vnni_evex
#define LEVEL_NAME "avx vnni, in AVX-512's encoding"
#define LEVEL_FEATURES (CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI)

#include "engine/cpu/cpu_dot_avx_vnni.h"
