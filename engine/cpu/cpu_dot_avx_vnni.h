/* The rung of AVX-VNNI: the products of AVX2 in which one instruction adds up four products of
 * bytes. The including file defines
 *
 *     DOT_BYTES(sums, w, x)    that instruction, in one of the two encodings it has
 *     LEVEL, LEVEL_NAME, LEVEL_FEATURES
 */
#pragma once

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_int8.h"
#include "engine/cpu/cpu_ladder.h"
#include "engine/cpu/cpu_tile.h"

/* Signed weights become unsigned by 128; sums of activations make up for that. */
#define SIGNED_OFFSET 128

static inline __m256i multiply_unsigned(__m256i w, __m256i x)
{
    return DOT_BYTES(_mm256_setzero_si256(), w, x);
}

static inline __m256i multiply_two_small(__m256i w, __m256i x, __m256i v, __m256i z)
{
    return DOT_BYTES(multiply_unsigned(w, x), v, z);
}

static inline __m256i shift_signed(__m256i w)
{
    return _mm256_xor_si256(w, _mm256_set1_epi8(-128));
}

static inline __m256i multiply_signed(__m256i w, __m256i x)
{
    return multiply_unsigned(w, x);
}

static inline __m256i multiply_two_signed(__m256i w, __m256i x, __m256i v, __m256i z)
{
    return multiply_two_small(w, x, v, z);
}

#include "engine/cpu/cpu_dot_blocks_avx2.h"
#include "engine/cpu/cpu_dot_k_avx2.h"
#include "engine/cpu/cpu_tile_avx2.h"

/* 16 rows and up to 4 vectors at a time: 8 sums of integers stay in registers. (6 vectors measured
 * as fast or slower by 5 %.) */
#define MAX_VECTORS 4
#define TILE_COUNTS(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__)
#define TILE_FUNCTION(name) static void tile_##name

static inline tile_ints tile_dot(tile_ints sums, tile_words codes, tile_ints x)
{
    return (tile_ints)DOT_BYTES((__m256i)sums, (__m256i)codes, (__m256i)x);
}

#include "engine/cpu/cpu_tile_vnni.h"

extern const struct cpu_level LEVEL;

const struct cpu_level LEVEL = {
    .name = LEVEL_NAME,
    .features = LEVEL_FEATURES,
    .dots =
        {
#define X(NAME, name) \
    [CPU_DTYPE_##NAME] = {cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, dot_##name, dot_rows_##name},
            INT8_TYPES(X)
#undef X
        },
    .tiles =
        {
#define X(NAME, name, groups, minima, offset, quads, from, from_avx512_vnni) \
    [CPU_DTYPE_##NAME] = {tile_##name, CPU_TILE_BYTES(32), 16, from},
            TILE_TYPES(X)
#undef X
        },
};
