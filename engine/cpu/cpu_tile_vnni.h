/* Tiles where one instruction adds up four products of bytes: with AVX-512 VNNI and AVX-VNNI. All
 * types get the offset 128, so that only groups and minima tell them apart, and the integer sums of
 * a group begin with what makes up for that. The including file defines beside the vectors
 *
 *     tile_dot(sums, codes, x)    that instruction
 *     MAX_VECTORS, TILE_COUNTS, TILE_FUNCTION (cpu_tile_multiply.h)
 */
#pragma once

static inline tile_words tile_codes(tile_words codes, uint32_t offset)
{
    return codes + (128 - offset) * 0x01010101;
}

#include "engine/cpu/cpu_tile_unpack.h"

#define TILE_SHAPES(X) X(1, 0, 128, 1) X(1, 1, 128, 1) X(2, 0, 128, 1) X(2, 1, 128, 1)
#define TILE_PASSES(groups, minima, offset, quads) passes_##groups##minima

TILE_INLINE void multiply_group(const tile_words (*codes)[TILE_VECTORS], const struct shape shape,
                                const struct activations *x, const int n,
                                tile_ints sums[TILE_VECTORS][MAX_VECTORS])
{
    for (int i = 0; i < n; i++) {
        sums[0][i] = sums[1][i] = (tile_ints){0} + activations_shift(x, i, 128);
    }
    for (int k = 0; k < 8 / shape.groups; k++) {
        for (int i = 0; i < n; i++) {
            tile_ints quad = (tile_ints){0} + load_int32(x->rows[i] + x->q + 4 * (uint64_t)k);
            sums[0][i] = tile_dot(sums[0][i], codes[k][0], quad);
            sums[1][i] = tile_dot(sums[1][i], codes[k][1], quad);
        }
    }
}

#include "engine/cpu/cpu_tile_multiply.h"
