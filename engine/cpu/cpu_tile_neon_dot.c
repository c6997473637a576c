/* Products of tiles of block types with int8 activations, with NEON's dot products.
 *
 * 8 rows and up to 4 vectors at a time: 8 sums of integers stay in registers. One instruction
 * multiplies 4 columns of 4 rows with 4 activations, which are a lane of a register. Codes with the
 * largest offset are signed.
 */
#include "engine/cpu/cpu_tile_neon.h"

#define MAX_VECTORS 4
#define TILE_COUNTS(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__)
#define TILE_SHAPES(X) \
    X(1, 0, 8, 1) \
    X(1, 0, 16, 1) \
    X(1, 0, 128, 1) X(1, 1, 0, 1) X(2, 0, 4, 1) X(2, 0, 32, 1) X(2, 1, 0, 1)
#define TILE_PASSES(groups, minima, offset, quads) passes_##groups##minima##_##offset
#define TILE_FUNCTION(name) void cpu_tile_##name##_neon_dot

static inline tile_words tile_codes(tile_words codes, uint32_t offset)
{
    return offset == 128 ? codes ^ 0x80808080 : codes;
}

#include "engine/cpu/cpu_tile_unpack.h"

/* Four quads of columns, 16 activations of a vector. */
TILE_INLINE void multiply_16(const tile_words (*codes)[TILE_VECTORS], uint64_t q,
                             const struct activations *x, const int n,
                             tile_ints sums[TILE_VECTORS][MAX_VECTORS])
{
    int8x16_t quads[MAX_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
        quads[i] = vld1q_s8((const int8_t *)x->rows[i] + q);
    }
#pragma GCC unroll 2
    for (int v = 0; v < TILE_VECTORS; v++) {
        int8x16_t k0 = (int8x16_t)codes[0][v], k1 = (int8x16_t)codes[1][v];
        int8x16_t k2 = (int8x16_t)codes[2][v], k3 = (int8x16_t)codes[3][v];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            int32x4_t sum = vdotq_laneq_s32((int32x4_t)sums[v][i], k0, quads[i], 0);
            sum = vdotq_laneq_s32(sum, k1, quads[i], 1);
            sum = vdotq_laneq_s32(sum, k2, quads[i], 2);
            sums[v][i] = (tile_ints)vdotq_laneq_s32(sum, k3, quads[i], 3);
        }
    }
}

TILE_INLINE void multiply_group(const tile_words (*codes)[TILE_VECTORS], const struct shape shape,
                                const struct activations *x, const int n,
                                tile_ints sums[TILE_VECTORS][MAX_VECTORS])
{
    const bool shifted = shape.offset > 0 && shape.offset < 128;
    for (int i = 0; i < n; i++) {
        int32_t shift = shifted ? activations_shift(x, i, shape.offset) : 0;
        sums[0][i] = sums[1][i] = (tile_ints){0} + shift;
    }
    multiply_16(codes, x->q, x, n, sums);
    if (shape.groups == 1) {
        multiply_16(codes + 4, x->q + 16, x, n, sums);
    }
}

#include "engine/cpu/cpu_tile_multiply.h"
