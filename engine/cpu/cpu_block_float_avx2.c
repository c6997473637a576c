/* Products of rows of float types with vectors, with AVX2 and FMA. */
#include "engine/cpu/cpu_dot_avx2.h"

#define BLOCK_VECTORS 2
#define BLOCK_LIST(X, type) X(type, 1) X(type, 2)

typedef __m256 block_floats;

#include "engine/cpu/cpu_block_float.h"

BLOCK_TYPE(f32, 4)
BLOCK_TYPE(f16, 2)
BLOCK_TYPE(bf16, 2)

#define X(NAME, name) \
    void cpu_block_##name##_avx2(const struct cpu_tile_call *call) \
    { \
        block_walk(call, multiply_some_##name); \
    }
BLOCK_TYPES(X)
#undef X
