/* Activations as int8, for the integer dot products and tiles of every instruction set.
 *
 * Blocks of 32 have one float scale, x = scale * q with q in [-127, 127]. Where a weight type has
 * an offset or a minimum, sum of (q + offset) * x = sum of q * x + offset * sum of x, so the sums
 * of the rounded activations (scale * q) are kept too, over 16 and over 32 elements. All arrays are
 * padded with zeros to whole vectors of 64 bytes.
 *
 *     int8 q[] | float scales[cols / 32] | float sums16[cols / 16] | float sums32[cols / 32]
 *     | int32 shifts16[cols / 16] | int32 shifts32[cols / 32] | what one instruction set adds
 *
 * Shifts are sums of q over as many elements times -128: what makes up for weights that are 128 too
 * large, so that they are unsigned; shifted down, for smaller offsets.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "engine/cpu/cpu_dot.h"

struct int8_row {
    const int8_t *q;
    const float *scales, *sums16, *sums32;
    const int32_t *shifts16, *shifts32;
    /* Behind the others, of x86 only (cpu_dot_int8.h). */
    const int8_t *halves, *alternate;
    const int16_t *short_sums, *offsets;
    const float *twice;
};

/* Elements with padding: a multiple of 512, so that 16 scales are a whole vector. */
static inline uint64_t int8_padded(uint64_t cols)
{
    return (cols + 511) / 512 * 512;
}

static inline struct int8_row int8_row_of(const void *prepared, uint64_t cols)
{
    uint64_t padded = int8_padded(cols);
    const int8_t *q = prepared;
    const float *scales = (const float *)(const void *)(q + padded);
    const int32_t *shifts = (const int32_t *)(const void *)(scales + padded / 8);
    return (struct int8_row){
        .q = q,
        .scales = scales,
        .sums16 = scales + padded / 32,
        .sums32 = scales + 3 * padded / 32,
        .shifts16 = shifts,
        .shifts32 = shifts + padded / 16,
        .halves = (const int8_t *)(shifts + 3 * padded / 32),
        .alternate = (const int8_t *)(shifts + 3 * padded / 32) + padded,
        .short_sums = (const int16_t *)(shifts + 3 * padded / 32 + padded / 2),
        .offsets = (const int16_t *)(shifts + 3 * padded / 32 + padded / 2) + padded / 16,
        .twice = (const float *)(shifts + 3 * padded / 32 + padded / 2 + 3 * padded / 32),
    };
}

/* What nibbles mean in iq4_nl and iq4_xs, plus 128, so that the bytes are unsigned. */
static const uint8_t int8_iq4_codes[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                           129, 141, 153, 166, 181, 197, 217, 241};
