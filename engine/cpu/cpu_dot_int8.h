/* Activations as int8, and what else the integer dot products of x86 share.
 *
 * Blocks of 32 have one float scale, x = scale * q with q in [-127, 127]. Where a weight type has
 * an offset or a minimum, sum of (q + offset) * x = sum of q * x + offset * sum of x, so the sums
 * of the rounded activations (scale * q) are kept too, over 16 and over 32 elements. All arrays are
 * padded with zeros to whole vectors of 64 bytes.
 *
 *     int8 q[] | float scales[cols / 32] | float sums16[cols / 16] | float sums32[cols / 32]
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

struct int8_row {
    const int8_t *q;
    const float *scales, *sums16, *sums32;
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
    return (struct int8_row){q, scales, scales + padded / 32, scales + padded / 32 + padded / 16};
}

/* In cpu_dot_avx2.c, which every rung above stands on. A row with an infinity or NaN gets a NaN
 * scale in that block, so that the result is NaN as it is in floats. */
uint64_t cpu_int8_bytes_avx2(uint64_t cols);
void cpu_int8_prepare_avx2(const float *x, uint64_t cols, void *prepared);

static inline __m256 int8_bytes_to_floats(uint32_t low, uint32_t high)
{
    __m128i bytes = _mm_cvtsi64_si128((int64_t)((uint64_t)high << 32 | low));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

/* d, dmin and the 6-bit scales and minima of 8 groups, as format/README.md lays them out. */
static inline void int8_unpack_q4_k(const uint8_t *field, __m256 *scales, __m256 *minima)
{
    uint16_t halves[2];
    uint32_t s[3];
    memcpy(halves, field, sizeof(halves));
    memcpy(s, field + 4, sizeof(s));
    uint32_t scale_high = (s[2] & 0x0F0F0F0Fu) | (s[0] >> 6 & 0x03030303u) << 4;
    uint32_t minimum_high = (s[2] >> 4 & 0x0F0F0F0Fu) | (s[1] >> 6 & 0x03030303u) << 4;
    *scales = _mm256_mul_ps(int8_bytes_to_floats(s[0] & 0x3F3F3F3Fu, scale_high),
                            _mm256_set1_ps(_cvtsh_ss(halves[0])));
    *minima = _mm256_mul_ps(int8_bytes_to_floats(s[1] & 0x3F3F3F3Fu, minimum_high),
                            _mm256_set1_ps(_cvtsh_ss(halves[1])));
}
