/* The ladder of instruction sets: every rung's files are compiled with their own flags and reached
 * only through this table, after cpu_features() has said that the processor has them.
 */
#pragma once

#include <stddef.h>

#include "engine/cpu/cpu_dot.h"

#if defined(__x86_64__)
extern const struct cpu_level cpu_level_avx2;
extern const struct cpu_level cpu_level_avx_vnni;
extern const struct cpu_level cpu_level_avx512;
extern const struct cpu_level cpu_level_avx512_vnni;
#elif defined(__aarch64__)
extern const struct cpu_level cpu_level_neon;
extern const struct cpu_level cpu_level_neon_dot;
#endif

/* Lowest first. NULL at the end, so that other processors have an empty ladder. */
static const struct cpu_level *const cpu_ladder[] = {
#if defined(__x86_64__)
    &cpu_level_avx2,
    &cpu_level_avx_vnni,
    &cpu_level_avx512,
    &cpu_level_avx512_vnni,
#elif defined(__aarch64__)
    &cpu_level_neon,
    &cpu_level_neon_dot,
#endif
    NULL,
};
