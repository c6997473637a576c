/* What the integer dot products of x86 share. Activations are int8 (cpu_int8_row.h); behind that
 * form they have the same numbers twice more: `halves`, four blocks together, the first 16 of each
 * block, then the last 16 of each, so that they meet the low and the high nibbles of 64 bytes of
 * weights; and `alternate`, eight blocks together, halves of blocks 0, 2, 4, 6 and then of 1, 3, 5,
 * 7 (there in whole super-blocks only). `short_sums` are sums of q over 16 elements. `offsets` are
 * sums over eight, times 32: of quads of elements 0 and 2, then 1 and 3, of half a block; the first
 * halves of blocks 0, 2, 4, 6, their second ones, then those of blocks 1, 3, 5, 7. `twice` are the
 * scales of these blocks in the same order (both in whole super-blocks only).
 */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "engine/cpu/cpu_int8_row.h"

/* The block types.
 * X(row of DTYPES, name) */
#define INT8_TYPES(X) \
    X(Q4_0, q4_0) \
    X(Q4_1, q4_1) \
    X(Q5_0, q5_0) \
    X(Q5_1, q5_1) \
    X(Q8_0, q8_0) \
    X(Q2_K, q2_k) \
    X(Q3_K, q3_k) \
    X(Q4_K, q4_k) \
    X(Q5_K, q5_k) \
    X(Q6_K, q6_k) \
    X(IQ4_NL, iq4_nl) \
    X(IQ4_XS, iq4_xs) \
    X(MXFP4, mxfp4)

#define X(NAME, name) \
    float cpu_dot_##name##_avx512_vnni(const uint8_t *const planes[], const void *x, \
                                       uint64_t cols); \
    void cpu_dot_rows_##name##_avx512_vnni(const uint8_t *const planes[], \
                                           const uint64_t strides[], uint64_t n, const void *x, \
                                           uint64_t cols, float *y);
INT8_TYPES(X)
#undef X

/* In cpu_dot_int8_avx2.c, which every rung above stands on. A row with an infinity or NaN gets a
 * NaN scale in that block, so that the result is NaN as it is in floats. */
uint64_t cpu_int8_bytes_avx2(uint64_t cols);
void cpu_int8_prepare_avx2(const float *x, uint64_t cols, void *prepared);

/* What nibbles mean in mxfp4: E2M1 doubled, plus 12, so that the bytes are unsigned. */
static const uint8_t int8_mxfp4_codes[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                             12, 11, 10, 9,  8,  6,  4,  0};

static inline __m128i int8_load_16(const uint8_t *bytes)
{
    return _mm_loadu_si128((const __m128i *)(const void *)bytes);
}

/* Asks for what lies `ahead` bytes behind: rows lie one behind another, so what is read next lies
 * there, in up to four planes whose rows are too short for the processor to follow by itself. It
 * may lie beyond the matrix, which does no harm.
 *
 * Far is into the second-level cache, so that the few places in which the first level waits for
 * memory stay free for what nobody foresaw. Measured on Zen 4, two threads over 1 GiB: 64 steps of
 * 256 elements far are 1.1 to 1.4 times as fast as 16 or 32 near with q4_k, q6_k and nibbles, and
 * more steps are no better; q2_k and q3_k, whose products take longest, and q5_k with AVX2 lose 2
 * to 10 %. */
#define INT8_STEPS_NEAR 32
#define INT8_STEPS_FAR 64

static inline void int8_prefetch_near(const uint8_t *bytes, uint64_t ahead)
{
    _mm_prefetch((const char *)((uintptr_t)bytes + ahead), _MM_HINT_T0);
}

static inline void int8_prefetch_far(const uint8_t *bytes, uint64_t ahead)
{
    _mm_prefetch((const char *)((uintptr_t)bytes + ahead), _MM_HINT_T1);
}

static inline float int8_half(const uint8_t *bytes)
{
    uint16_t half;
    memcpy(&half, bytes, sizeof(half));
    return _cvtsh_ss(half);
}

/* 8 halves of f16, one of each super-block where they have a plane of their own (whose rows are
 * padded to as many). */
static inline void int8_load_8_halves(const uint8_t *halves, float floats[8])
{
    _mm256_store_ps(floats, _mm256_cvtph_ps(int8_load_16(halves)));
}

/* The 6-bit scales, then minima of the 8 groups of q4_k and q5_k, as format/README.md lays them
 * out: behind f16 d and dmin come S[12]; groups 0..3 have low bits of S[0..3] and S[4..7], groups
 * 4..7 nibbles of S[8..11] and the upper two bits of the others. (Here and below general registers
 * do the work, because the vectors' ports are what a dot product waits for.) */
static inline __m128i int8_unpack_k(const uint8_t *field)
{
    uint64_t eight;
    uint32_t four;
    memcpy(&eight, field + 4, sizeof(eight));
    memcpy(&four, field + 12, sizeof(four));
    uint64_t nibbles = (uint64_t)(four >> 4 & 0x0F0F0F0Fu) << 32 | (four & 0x0F0F0F0Fu);
    uint64_t first_groups = eight & 0x3F3F3F3F3F3F3F3Fu;
    uint64_t last_groups = (eight >> 2 & 0x3030303030303030u) | nibbles;
    return _mm_unpacklo_epi32(_mm_cvtsi64_si128((int64_t)first_groups),
                              _mm_cvtsi64_si128((int64_t)last_groups));
}

/* The 16 scales of q3_k, -32..31: four low bits in 8 bytes, two high bits in 4. */
static inline __m128i int8_unpack_q3_k(const uint8_t *field)
{
    uint64_t low;
    uint32_t high;
    memcpy(&low, field, sizeof(low));
    memcpy(&high, field + 8, sizeof(high));
    uint64_t high_0 = high << 4 & 0x30303030u, high_1 = high << 2 & 0x30303030u;
    uint64_t high_2 = high & 0x30303030u, high_3 = high >> 2 & 0x30303030u;
    uint64_t first = (low & 0x0F0F0F0F0F0F0F0Fu) | high_0 | high_1 << 32;
    uint64_t second = (low >> 4 & 0x0F0F0F0F0F0F0F0Fu) | high_2 | high_3 << 32;
    return _mm_sub_epi8(_mm_set_epi64x((int64_t)second, (int64_t)first), _mm_set1_epi8(32));
}

/* d times the 8 scales of iq4_xs, -32..31. The field is f16 d, 8 times two high bits, 8 times four
 * low bits. */
static inline __m256 int8_unpack_iq4_xs(const uint8_t *field)
{
    uint16_t high_bits;
    uint32_t low_bits;
    memcpy(&high_bits, field + 2, sizeof(high_bits));
    memcpy(&low_bits, field + 4, sizeof(low_bits));
    __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)low_bits),
                                    _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(high_bits),
                                     _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i codes = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)), high);
    __m256 scales = _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(32)));
    return _mm256_mul_ps(scales, _mm256_set1_ps(int8_half(field)));
}
