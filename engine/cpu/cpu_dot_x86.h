/* The ladder of x86 dot products: every rung's file is compiled with its own instruction set and
 * reached only through this table, after cpu_features() has said that the processor has it.
 */
#pragma once

#include "engine/cpu/cpu_dot.h"

#if defined(__x86_64__)
extern const struct cpu_level cpu_level_avx2;
extern const struct cpu_level cpu_level_avx512;
extern const struct cpu_level cpu_level_avx512_vnni;
#endif

/* Lowest first. NULL at the end, so that other processors have an empty ladder. */
static const struct cpu_level *const cpu_ladder[] = {
#if defined(__x86_64__)
    &cpu_level_avx2,
    &cpu_level_avx512,
    &cpu_level_avx512_vnni,
#endif
    NULL,
};
