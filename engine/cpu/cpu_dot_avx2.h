/* What the dot products with AVX2, FMA and F16C share.
 *
 * Unsigned bytes times signed bytes (maddubs) add up in pairs to 16 bits: at most 255 * 127 * 2
 * would overflow, but our weights are at most 128, so they do not.
 */
#pragma once

#include "engine/cpu/cpu_dot_int8.h"

static inline float add_lanes(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

static inline __m256 load_f32(const uint8_t *w)
{
    return _mm256_loadu_ps((const float *)(const void *)w);
}

static inline __m256 load_bf16(const uint8_t *w)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline __m256 load_f16(const uint8_t *w)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)w));
}

/* The last n elements of a row, fewer than a vector, with zeros behind them. */
#define LOAD_LAST(type, bytes) \
    static inline __m256 load_##type##_last(const uint8_t *w, uint64_t n) \
    { \
        uint8_t last[8 * bytes] = {0}; \
        memcpy(last, w, n *bytes); \
        return load_##type(last); \
    }
LOAD_LAST(f32, 4)
LOAD_LAST(f16, 2)
LOAD_LAST(bf16, 2)

static inline __m256i load_bytes(const void *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}

/* Eight sums of four products each. */
static inline __m256i multiply_unsigned(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}

/* The same for signed weights: their signs go to the activations. */
static inline __m256i multiply_signed(__m256i w, __m256i x)
{
    return multiply_unsigned(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

static inline __m256 add_scaled_sums(__m256i sums, const float *scale, __m256 to)
{
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_broadcast_ss(scale), to);
}

/* Adds sums * scales, each of scales[first], scales[first + 1] for one half of the lanes. */
static inline __m256 add_two_blocks(__m256i sums, __m256 scales, int first, __m256 to)
{
    __m256i index =
        _mm256_add_epi32(_mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), _mm256_set1_epi32(first));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_permutevar8x32_ps(scales, index), to);
}

/* Two blocks whose 16 bytes each hold elements 0..15 in low and 16..31 in high nibbles: a lane of
 * 128 bits is half a block. */
struct half_blocks {
    __m256i first, second;
};

static inline struct half_blocks split_nibbles(__m256i bytes)
{
    const __m256i mask = _mm256_set1_epi8(15);
    return (struct half_blocks){_mm256_and_si256(bytes, mask),
                                _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask)};
}

static inline struct half_blocks look_up(__m256i table, struct half_blocks nibbles)
{
    return (struct half_blocks){_mm256_shuffle_epi8(table, nibbles.first),
                                _mm256_shuffle_epi8(table, nibbles.second)};
}

/* The values of iq4_nl and iq4_xs. */
static inline __m256i load_iq4_values(void)
{
    __m256i codes = _mm256_broadcastsi128_si256(int8_load_16(int8_iq4_codes));
    return _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
}

/* Eight sums of eight products each, four of either block: b and b + 1 of a row, b even. Weights
 * are at most 31, so that sums of four products fit into 16 bits. */
static inline __m256i multiply_half_blocks(struct half_blocks w, const int8_t *halves, uint64_t b)
{
    const int8_t *x = halves + 128 * (b / 4) + 16 * (b % 4);
    __m256i first = _mm256_maddubs_epi16(w.first, load_bytes(x));
    __m256i second = _mm256_maddubs_epi16(w.second, load_bytes(x + 64));
    return _mm256_madd_epi16(_mm256_add_epi16(first, second), _mm256_set1_epi16(1));
}

/* The same for signed weights of any size. */
static inline __m256i multiply_half_blocks_signed(struct half_blocks w, const int8_t *halves,
                                                  uint64_t b)
{
    const int8_t *x = halves + 128 * (b / 4) + 16 * (b % 4);
    return _mm256_add_epi32(multiply_signed(w.first, load_bytes(x)),
                            multiply_signed(w.second, load_bytes(x + 64)));
}
