/* Dot products of the types with blocks of 32 (q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl, mxfp4) with
 * AVX-512 VNNI.
 *
 * Codes are unsigned, y = scale * code + minimum, where types without a minimum have a constant
 * multiple of the scale. A type is two functions: codes_<type> of four blocks of a row from b on,
 * of which `n` are there, and factors_<type> of two steps of eight blocks. Where a row ends before
 * the last of them does, activations are zero.
 */
#include "engine/cpu/cpu_dot_avx512_vnni.h"

/* The lanes of blocks that are there. */
static inline __mmask16 lanes_of(const struct two_steps *two, uint64_t cols)
{
    uint32_t lanes = 0;
    for (int k = 0; k < 2; k++) {
        uint64_t n = cols / 32 - 8 * two->steps[k];
        lanes |= (n >= 8 ? 0xFFu : (1u << n) - 1) << 8 * k;
    }
    return (__mmask16)lanes;
}

static inline struct factors factors_of(const struct two_steps *two, __m512 scales, __m512 minima)
{
    return (struct factors){_mm512_mul_ps(scales, two->x_scales),
                            _mm512_mul_ps(minima, two->x_sums)};
}

/* f16, one a block: every row is padded to the 16 bytes of eight of them. */
static inline struct factors load_halves(const struct two_steps *two, uint32_t plane, uint64_t cols)
{
    __m128i first = int8_load_16(two->planes[0][plane] + 16 * two->steps[0]);
    __m128i second = int8_load_16(two->planes[1][plane] + 16 * two->steps[1]);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    __m512 scales = _mm512_maskz_cvtph_ps(lanes_of(two, cols), both);
    return factors_of(two, scales, scales);
}

/* Pairs of f16, scale and minimum. */
static inline struct factors load_pairs(const struct two_steps *two, uint32_t plane, uint64_t cols)
{
    __mmask16 lanes = lanes_of(two, cols);
    __m256i first =
        _mm256_maskz_loadu_epi32((__mmask8)lanes, two->planes[0][plane] + 32 * two->steps[0]);
    __m256i second = _mm256_maskz_loadu_epi32((__mmask8)(lanes >> 8),
                                              two->planes[1][plane] + 32 * two->steps[1]);
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
    return factors_of(two, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both)),
                      _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16))));
}

static inline struct half_blocks codes_q4_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    __mmask8 quads = (__mmask8)(n >= 4 ? 0xFFu : (1u << 2 * n) - 1);
    return split_nibbles(_mm512_maskz_loadu_epi64(quads, planes[0] + 16 * b));
}

static inline struct factors factors_q4_0(const struct two_steps *two, uint64_t cols)
{
    return load_halves(two, 1, cols);
}

static inline struct factors factors_q4_1(const struct two_steps *two, uint64_t cols)
{
    return load_pairs(two, 1, cols);
}

static inline struct half_blocks codes_q5_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    /* Four words of 32 bits are all there, as rows are padded to 16 bytes. */
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m128i bits = _mm_shuffle_epi8(int8_load_16(planes[1] + 4 * b), order);
    __mmask64 first = (__mmask64)_mm_extract_epi64(bits, 0);
    __mmask64 second = (__mmask64)_mm_extract_epi64(bits, 1);
    struct half_blocks codes = codes_q4_0(planes, b, n);
    const __m512i high = _mm512_set1_epi8(16);
    return (struct half_blocks){_mm512_mask_add_epi8(codes.first, first, codes.first, high),
                                _mm512_mask_add_epi8(codes.second, second, codes.second, high)};
}

static inline struct factors factors_q5_0(const struct two_steps *two, uint64_t cols)
{
    return load_halves(two, 2, cols);
}

static inline struct factors factors_q5_1(const struct two_steps *two, uint64_t cols)
{
    return load_pairs(two, 2, cols);
}

static inline struct half_blocks codes_iq4_nl(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return look_up(int8_iq4_codes, codes_q4_0(planes, b, n));
}

static inline struct factors factors_iq4_nl(const struct two_steps *two, uint64_t cols)
{
    return load_halves(two, 1, cols);
}

static inline struct half_blocks codes_mxfp4(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return look_up(int8_mxfp4_codes, codes_q4_0(planes, b, n));
}

/* Half of 2^(e - 127), subnormals included: the halves of E2M1 doubled. Behind the end of a row is
 * its padding, or half of it, and times zero every e is zero. */
static inline struct factors factors_mxfp4(const struct two_steps *two, uint64_t cols)
{
    int64_t first, second;
    memcpy(&first, two->planes[0][1] + 8 * two->steps[0], sizeof(first));
    memcpy(&second, two->planes[1][1] + 8 * two->steps[1], sizeof(second));
    __m512i e = _mm512_cvtepu8_epi32(_mm_set_epi64x(second, first));
    __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __mmask16 subnormal = _mm512_cmplt_epu32_mask(e, _mm512_set1_epi32(2));
    bits = _mm512_mask_sllv_epi32(bits, subnormal, _mm512_set1_epi32(1 << 21), e);
    __m512 scales = _mm512_castsi512_ps(bits);
    return factors_of(two, scales, scales);
}

#define NIBBLE_DOT(type, codes_type, minimum) \
    static inline void multiply_##type(const uint8_t *const planes[], struct int8_row x, \
                                       uint64_t s, uint64_t cols, __m512 scales, int lane, \
                                       __m512 sums[2]) \
    { \
        uint64_t first = 8 * s, n = cols / 32 - first; \
        if (n >= 8) { \
            for (int k = 0; k < 2; k++) { \
                uint64_t b = first + 4 * (uint64_t)k; \
                __m512i products = \
                    multiply_half_blocks(codes_##codes_type(planes, b, 4), x.halves + 32 * b); \
                sums[k] = add_four_blocks(products, scales, lane + 4 * k, sums[k]); \
            } \
            return; \
        } \
        for (uint64_t i = 0; i < n; i += 4) { \
            __m512i products = multiply_half_blocks(codes_##codes_type(planes, first + i, n - i), \
                                                    x.halves + 32 * (first + i)); \
            sums[0] = add_four_blocks(products, scales, lane + (int)i, sums[0]); \
        } \
    } \
    DOT_OF_STEPS(type, minimum, 128, 0)

NIBBLE_DOT(q4_0, q4_0, -8)
NIBBLE_DOT(q4_1, q4_0, 1)
NIBBLE_DOT(q5_0, q5_0, -16)
NIBBLE_DOT(q5_1, q5_0, 1)
NIBBLE_DOT(iq4_nl, iq4_nl, -128)
NIBBLE_DOT(mxfp4, mxfp4, -12)

static inline struct factors factors_q8_0(const struct two_steps *two, uint64_t cols)
{
    return load_halves(two, 1, cols);
}

/* Two blocks of q8_0, one if the row ends with it. */
static inline __m512i products_q8_0(const uint8_t *quants, uint64_t n, const int8_t *q)
{
    __m512i signed_codes = _mm512_maskz_loadu_epi64(n >= 2 ? 0xFF : 0x0F, quants);
    return multiply_unsigned(_mm512_xor_si512(signed_codes, _mm512_set1_epi8(-128)), load_bytes(q));
}

static inline void multiply_q8_0(const uint8_t *const planes[], struct int8_row x, uint64_t s,
                                 uint64_t cols, __m512 scales, int lane, __m512 sums[2])
{
    const uint8_t *quants = planes[0] + STEP * s;
    const int8_t *q = x.q + STEP * s;
    uint64_t n = cols / 32 - 8 * s;
    if (n >= 8) {
        for (int i = 0; i < 8; i += 2) {
            __m512i products = products_q8_0(quants + 32 * i, 2, q + 32 * i);
            sums[i / 2 % 2] = add_two_blocks(products, scales, lane + i, sums[i / 2 % 2]);
        }
        return;
    }
    for (uint64_t i = 0; i < n; i += 2) {
        __m512i products = products_q8_0(quants + 32 * i, n - i, q + 32 * i);
        sums[0] = add_two_blocks(products, scales, lane + (int)i, sums[0]);
    }
}

DOT_OF_STEPS(q8_0, -128, 256, 16)
