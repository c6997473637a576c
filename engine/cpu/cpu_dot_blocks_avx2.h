/* Dot products of the types with blocks of 32 (q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl, mxfp4) with
 * vectors of 256 bits (cpu_dot_int8_avx2.h).
 *
 * y = scale * code + minimum, where types without a minimum have a constant multiple of the scale.
 * A type of nibbles is two functions: sums_<type>, partial sums of code * activation of blocks b
 * and b + 1 (of b alone if not `both`), b even; and factors_<type> of 8 blocks from b on, of which
 * n >= 1 are there. Rows of planes are padded with zeros to 16 bytes.
 */
#pragma once

#include "engine/cpu/cpu_dot_int8_avx2.h"

struct factors {
    __m256 scales, minima;
};

static inline struct factors with_offset(__m256 scales, float offset)
{
    return (struct factors){scales, _mm256_mul_ps(scales, _mm256_set1_ps(-offset))};
}

/* Pairs of f16, scale and minimum: 4 blocks are 16 bytes. */
static inline struct factors load_pairs(const uint8_t *pairs, uint64_t n)
{
    __m128i first = int8_load_16(pairs);
    __m128i second = n > 4 ? int8_load_16(pairs + 16) : _mm_setzero_si128();
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    first = _mm_shuffle_epi8(first, order);
    second = _mm_shuffle_epi8(second, order);
    return (struct factors){_mm256_cvtph_ps(_mm_unpacklo_epi64(first, second)),
                            _mm256_cvtph_ps(_mm_unpackhi_epi64(first, second))};
}

static inline struct half_blocks load_nibbles(const uint8_t *w, bool both)
{
    return split_nibbles(both ? load_bytes(w) : _mm256_zextsi128_si256(int8_load_16(w)));
}

static inline __m256i sums_q4_0(const uint8_t *const planes[], const int8_t *halves, uint64_t b,
                                bool both)
{
    return multiply_half_blocks(load_nibbles(planes[0] + 16 * b, both), halves, b);
}

static inline struct factors factors_q4_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(load_f16(planes[1] + 2 * b), 8);
}

static inline struct factors factors_q4_1(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return load_pairs(planes[1] + 4 * b, n);
}

/* 16 where the bit is set: bits of two bytes for each lane of 128 bits, those that `order` takes.
 */
static inline __m256i fifth_bits(__m256i words, __m256i order)
{
    const __m256i each = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(words, order), each);
    return _mm256_and_si256(_mm256_cmpeq_epi8(bits, each), _mm256_set1_epi8(16));
}

static inline __m256i sums_q5_0(const uint8_t *const planes[], const int8_t *halves, uint64_t b,
                                bool both)
{
    const __m256i first =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0404040404040404, 0x0505050505050505);
    const __m256i second = _mm256_add_epi8(first, _mm256_set1_epi8(2));
    int64_t bits; /* of both blocks: the rows are padded */
    memcpy(&bits, planes[1] + 4 * b, sizeof(bits));
    __m256i words = _mm256_set1_epi64x(bits);
    struct half_blocks codes = load_nibbles(planes[0] + 16 * b, both);
    codes.first = _mm256_or_si256(codes.first, fifth_bits(words, first));
    codes.second = _mm256_or_si256(codes.second, fifth_bits(words, second));
    return multiply_half_blocks(codes, halves, b);
}

static inline struct factors factors_q5_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(load_f16(planes[2] + 2 * b), 16);
}

static inline struct factors factors_q5_1(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return load_pairs(planes[2] + 4 * b, n);
}

static inline __m256i sums_iq4_nl(const uint8_t *const planes[], const int8_t *halves, uint64_t b,
                                  bool both)
{
    struct half_blocks nibbles = load_nibbles(planes[0] + 16 * b, both);
    return multiply_half_blocks_signed(look_up(load_iq4_values(), nibbles), halves, b);
}

static inline struct factors factors_iq4_nl(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(load_f16(planes[1] + 2 * b), SIGNED_OFFSET);
}

static inline __m256i sums_mxfp4(const uint8_t *const planes[], const int8_t *halves, uint64_t b,
                                 bool both)
{
    __m256i table = _mm256_broadcastsi128_si256(int8_load_16(int8_mxfp4_codes));
    struct half_blocks nibbles = load_nibbles(planes[0] + 16 * b, both);
    return multiply_half_blocks(look_up(table, nibbles), halves, b);
}

/* Half of 2^(e - 127) of 8 blocks, subnormals included: the halves of E2M1 doubled. */
static inline __m256 halved_e8m0(const uint8_t *bytes)
{
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
    __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(1 << 21), e);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
    return _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal));
}

static inline struct factors factors_mxfp4(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(halved_e8m0(planes[1] + b), 12);
}

#define NIBBLE_DOT(type, sums_type) \
    static __m256 row_##type(const uint8_t *const planes[], struct int8_row x, uint64_t cols) \
    { \
        __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}; \
        __m256 minimum = _mm256_setzero_ps(); \
        uint64_t blocks = cols / 32; \
        for (uint64_t b = 0; b < blocks; b += 8) { \
            uint64_t n = blocks - b; \
            struct factors factors = factors_##type(planes, b, n); \
            __m256 scales = _mm256_mul_ps(factors.scales, _mm256_loadu_ps(x.scales + b)); \
            minimum = _mm256_fmadd_ps(factors.minima, _mm256_loadu_ps(x.sums32 + b), minimum); \
            if (n >= 8) { \
                for (uint64_t i = 0; i < 8; i += 2) { \
                    sums[i / 2 % 2] = \
                        add_two_blocks(sums_##sums_type(planes, x.halves, b + i, true), scales, \
                                       (int)i, sums[i / 2 % 2]); \
                } \
                continue; \
            } \
            for (uint64_t i = 0; i < n; i += 2) { \
                sums[0] = add_two_blocks(sums_##sums_type(planes, x.halves, b + i, n - i > 1), \
                                         scales, (int)i, sums[0]); \
            } \
        } \
        return _mm256_add_ps(minimum, _mm256_add_ps(sums[0], sums[1])); \
    } \
    DOT_OF_ROW(type)

NIBBLE_DOT(q4_0, q4_0)
NIBBLE_DOT(q4_1, q4_0)
NIBBLE_DOT(q5_0, q5_0)
NIBBLE_DOT(q5_1, q5_0)
NIBBLE_DOT(iq4_nl, iq4_nl)
NIBBLE_DOT(mxfp4, mxfp4)

static inline __m256i sums_q8_0(const uint8_t *const planes[], const int8_t *q, uint64_t b)
{
    return multiply_signed(shift_signed(load_bytes(planes[0] + 32 * b)), load_bytes(q + 32 * b));
}

static __m256 row_q8_0(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, minimum = sums[0];
    uint64_t blocks = cols / 32;
    for (uint64_t b = 0; b < blocks; b += 8) {
        _Alignas(32) float scales[8];
        struct factors factors = with_offset(load_f16(planes[1] + 2 * b), SIGNED_OFFSET);
        _mm256_store_ps(scales, _mm256_mul_ps(factors.scales, _mm256_loadu_ps(x.scales + b)));
        if (SIGNED_OFFSET) {
            minimum = _mm256_fmadd_ps(factors.minima, _mm256_loadu_ps(x.sums32 + b), minimum);
        }
        if (blocks - b >= 8) {
            for (uint64_t i = 0; i < 8; i++) {
                sums[i % 2] =
                    add_scaled_sums(sums_q8_0(planes, x.q, b + i), scales + i, sums[i % 2]);
            }
            continue;
        }
        for (uint64_t i = 0; i < blocks - b; i++) {
            sums[0] = add_scaled_sums(sums_q8_0(planes, x.q, b + i), scales + i, sums[0]);
        }
    }
    return _mm256_add_ps(minimum, _mm256_add_ps(sums[0], sums[1]));
}

DOT_OF_ROW(q8_0)
