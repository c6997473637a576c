#include "tests/ops/cpu_levels.h"

#include <assert.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_ladder.h"

#if defined(__x86_64__)
extern const struct cpu_level cpu_level_avx_vnni_evex; /* cpu_avx_vnni_evex.c */

static uint32_t add_twin(struct cpu_level *level, uint32_t features)
{
    uint32_t needed = cpu_level_avx_vnni_evex.features;
    if (features & CPU_AVX_VNNI || (features & needed) != needed) {
        return 0;
    }
    *level = cpu_level_choose(CPU_AVX2);
    cpu_level_add(level, &cpu_level_avx_vnni_evex);
    return 1;
}
#else
static uint32_t add_twin(struct cpu_level *level, uint32_t features)
{
    return 0;
}
#endif

uint32_t cpu_levels_here(struct cpu_level levels[CPU_LEVELS_MAX])
{
    uint32_t n = 0, features = cpu_features();
    for (const struct cpu_level *const *rung = cpu_ladder; *rung; rung++) {
        if (((*rung)->features & features) == (*rung)->features) {
            assert(n + 1 < CPU_LEVELS_MAX);
            levels[n++] = cpu_level_choose((*rung)->features);
        }
    }
    return n + add_twin(levels + n, features);
}
