/* The levels of the CPU's ladder that can run here. */
#pragma once

#include "engine/cpu/cpu_dot.h"

#define CPU_LEVELS_MAX 8

/* One for each rung that this processor has, lowest first, each with those below it; and AVX-VNNI's
 * in the encoding of AVX-512, which its name says, where there is only that. Returns their number,
 * without plain C. */
uint32_t cpu_levels_here(struct cpu_level levels[CPU_LEVELS_MAX]);
