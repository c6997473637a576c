/* The rung of NEON with the dot-product extension (optional from ARMv8.2 on, always there from
 * ARMv8.4): block types.
 */
#include <stdbool.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_neon.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"

static inline int32x4_t multiply_quads(int32x4_t sums, int8x16_t w, int8x16_t x)
{
    return vdotq_s32(sums, w, x);
}

#include "engine/cpu/cpu_dot_k_neon.h"

/* Vectors from which on tiles are taken: unmeasured, and what they are on the other processors. */
#define TILES_FROM 3

const struct cpu_level cpu_level_neon_dot = {
    .name = "neon_dot",
    .features = CPU_NEON | CPU_NEON_DOT,
    .dots =
        {
#define X(NAME, name, ...) \
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_neon, cpu_int8_prepare_neon, dot_##name, NULL},
            TILE_TYPES(X)
#undef X
        },
    .tiles =
        {
#define X(NAME, name, ...) \
    [CPU_DTYPE_##NAME] = {cpu_tile_##name##_neon_dot, CPU_TILE_BYTES(16), 8, TILES_FROM},
            TILE_TYPES(X)
#undef X
        },
};
