/* The rung of AVX-512 VNNI: dot products of all block types, on int8 activations. */
#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_int8.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"

const struct cpu_level cpu_level_avx512_vnni = {
    .name = "avx512 vnni",
    .features = CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI,
    .dots =
        {
#define X(NAME, name) \
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, \
                          cpu_dot_##name##_avx512_vnni, cpu_dot_rows_##name##_avx512_vnni},
            INT8_TYPES(X)
#undef X
        },
    .tiles =
        {
#define X(NAME, name, groups, minima, offset, quads, from_avx2, from) \
    [CPU_DTYPE_##NAME] = {cpu_tile_##name##_avx512_vnni, CPU_TILE_BYTES(64), 32, from},
            TILE_TYPES(X)
#undef X
        },
};
