/* Products of many rows of weights with many vectors, by tiles: what a rung of the ladder brings
 * beside its dot products, and from how many vectors on that is faster.
 */
#pragma once

#include <stdint.h>

#include "engine/cpu/cpu_dot.h"

struct cpu_matrix;

/* The block types. Their codes as a tile has them are unsigned, weight = scale * (code - offset) or
 * scale * code + minimum; offset 128 stands for signed codes. The columns:
 *     groups that share a scale in a block of 32 columns;
 *     whether there are minima;
 *     the offset;
 *     how many products with int8, in quads, can be added up in pairs of 16 bits;
 *     the smallest number of vectors for which tiles are faster than dot products, measured, with
 *     AVX2 (AVX-VNNI takes the same) and with AVX-512 VNNI.
 * X(row of DTYPES, name, groups, minima, offset, quads, from, from) */
#define TILE_TYPES(X) \
    X(Q4_0, q4_0, 1, 0, 8, 8, 3, 3) \
    X(Q4_1, q4_1, 1, 1, 0, 8, 3, 3) \
    X(Q5_0, q5_0, 1, 0, 16, 4, 2, 3) \
    X(Q5_1, q5_1, 1, 1, 0, 4, 2, 3) \
    X(Q8_0, q8_0, 1, 0, 128, 1, 3, 3) \
    X(Q2_K, q2_k, 2, 1, 0, 4, 3, 2) \
    X(Q3_K, q3_k, 2, 0, 4, 4, 2, 2) \
    X(Q4_K, q4_k, 1, 1, 0, 8, 3, 2) \
    X(Q5_K, q5_k, 1, 1, 0, 4, 3, 2) \
    X(Q6_K, q6_k, 2, 0, 32, 2, 3, 3) \
    X(IQ4_NL, iq4_nl, 1, 0, 128, 1, 2, 2) \
    X(IQ4_XS, iq4_xs, 1, 0, 128, 1, 2, 2) \
    X(MXFP4, mxfp4, 1, 0, 16, 4, 2, 2)

/* The float types, which go by blocks of dot products (cpu_block_float.h) from one vector on.
 * X(row of DTYPES, name) */
#define BLOCK_TYPES(X) \
    X(F32, f32) \
    X(F16, f16) \
    X(BF16, bf16)

/* One call of cpu_rows_multiply. */
struct cpu_tile_call {
    const struct cpu_matrix *matrix;
    uint64_t first, end;
    const uint8_t *const *x;
    float *const *y;
    uint32_t n;
    void *scratch;
};

/* Scratch, with vectors of so many bytes: codes, scales and minima of a panel, two vectors of rows
 * wide. */
#define CPU_TILE_BYTES(vector) ((128 + 16 + 16) * 2 * (vector))

#define X(NAME, name, ...) \
    void cpu_tile_##name##_avx2(const struct cpu_tile_call *call); \
    void cpu_tile_##name##_avx512_vnni(const struct cpu_tile_call *call); \
    void cpu_tile_##name##_neon_dot(const struct cpu_tile_call *call);
TILE_TYPES(X)
#undef X
#define X(NAME, name) \
    void cpu_block_##name##_avx2(const struct cpu_tile_call *call); \
    void cpu_block_##name##_avx512(const struct cpu_tile_call *call);
BLOCK_TYPES(X)
#undef X
