/* Dot products of the types with blocks of 32 (q4_0, q4_1, q5_0, q5_1, q8_0, iq4_nl, mxfp4) with
 * AVX-512 VNNI.
 *
 * Codes are unsigned, y = scale * code + minimum, where types without a minimum have a constant
 * multiple of the scale. A type is two functions: codes_<type> of four blocks from b on, and
 * factors_<type> of 16; where a row ends before, `n` says how many are there; activations behind
 * them are zero.
 */
#include "engine/cpu/cpu_dot_avx512_vnni.h"

struct factors {
    __m512 scales, minima;
};

static inline __mmask16 first_lanes(uint64_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1);
}

static inline struct factors with_offset(__m512 scales, float offset)
{
    return (struct factors){scales, _mm512_mul_ps(scales, _mm512_set1_ps(-offset))};
}

static inline __m512 load_halves(const uint8_t *halves, uint64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), halves));
}

/* Pairs of f16, scale and minimum. */
static inline struct factors load_pairs(const uint8_t *pairs, uint64_t n)
{
    __m512i both = _mm512_maskz_loadu_epi32(first_lanes(n), pairs);
    return (struct factors){
        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(both)),
        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16))),
    };
}

static inline struct half_blocks codes_q4_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    __mmask8 quads = (__mmask8)(n >= 4 ? 0xFFu : (1u << 2 * n) - 1);
    return split_nibbles(_mm512_maskz_loadu_epi64(quads, planes[0] + 16 * b));
}

static inline struct factors factors_q4_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(load_halves(planes[1] + 2 * b, n), 8);
}

static inline struct factors factors_q4_1(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return load_pairs(planes[1] + 4 * b, n);
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

static inline struct factors factors_q5_0(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(load_halves(planes[2] + 2 * b, n), 16);
}

static inline struct factors factors_q5_1(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return load_pairs(planes[2] + 4 * b, n);
}

static inline struct half_blocks codes_iq4_nl(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return look_up(int8_iq4_codes, codes_q4_0(planes, b, n));
}

static inline struct factors factors_iq4_nl(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return with_offset(load_halves(planes[1] + 2 * b, n), 128);
}

static inline struct half_blocks codes_mxfp4(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    return look_up(int8_mxfp4_codes, codes_q4_0(planes, b, n));
}

static inline struct factors factors_mxfp4(const uint8_t *const planes[], uint64_t b, uint64_t n)
{
    /* Behind the end a number that is not subnormal, which would be slow. */
    __m128i bytes = _mm_mask_loadu_epi8(_mm_set1_epi8(127), first_lanes(n), planes[1] + b);
    __m512 e = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
    /* Half of 2^(e - 127), subnormals included: the halves of E2M1 doubled. */
    return with_offset(_mm512_scalef_ps(_mm512_set1_ps(0x1p-128f), e), 12);
}

#define NIBBLE_DOT(type, codes_type) \
    float cpu_dot_##type##_avx512_vnni(const uint8_t *const planes[], const void *prepared, \
                                       uint64_t cols) \
    { \
        struct int8_row x = int8_row_of(prepared, cols); \
        __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}; \
        __m512 minimum = _mm512_setzero_ps(); \
        uint64_t blocks = cols / 32; \
        for (uint64_t b = 0; b < blocks; b += 16) { \
            uint64_t n = blocks - b; \
            struct factors factors = factors_##type(planes, b, n); \
            __m512 scales = _mm512_mul_ps(factors.scales, _mm512_load_ps(x.scales + b)); \
            minimum = _mm512_fmadd_ps(factors.minima, _mm512_load_ps(x.sums32 + b), minimum); \
            if (n >= 16) { \
                for (uint64_t i = 0; i < 16; i += 4) { \
                    __m512i products = multiply_half_blocks(codes_##codes_type(planes, b + i, 4), \
                                                            x.halves + 32 * (b + i)); \
                    sums[i / 4 % 2] = add_four_blocks(products, scales, (int)i, sums[i / 4 % 2]); \
                } \
                continue; \
            } \
            for (uint64_t i = 0; i < n; i += 4) { \
                __m512i products = multiply_half_blocks(codes_##codes_type(planes, b + i, n - i), \
                                                        x.halves + 32 * (b + i)); \
                sums[0] = add_four_blocks(products, scales, (int)i, sums[0]); \
            } \
        } \
        return _mm512_reduce_add_ps(_mm512_add_ps(minimum, _mm512_add_ps(sums[0], sums[1]))); \
    }

NIBBLE_DOT(q4_0, q4_0)
NIBBLE_DOT(q4_1, q4_0)
NIBBLE_DOT(q5_0, q5_0)
NIBBLE_DOT(q5_1, q5_0)
NIBBLE_DOT(iq4_nl, iq4_nl)
NIBBLE_DOT(mxfp4, mxfp4)

/* Two blocks of q8_0 from b on, one if the row ends with it. */
static inline __m512i multiply_q8_0(const uint8_t *quants, uint64_t n, const int8_t *q)
{
    __m512i signed_codes = _mm512_maskz_loadu_epi64(n >= 2 ? 0xFF : 0x0F, quants);
    return multiply_unsigned(_mm512_xor_si512(signed_codes, _mm512_set1_epi8(-128)), load_bytes(q));
}

float cpu_dot_q8_0_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 offsets = _mm512_setzero_ps();
    uint64_t blocks = cols / 32;
    for (uint64_t b = 0; b < blocks; b += 16) {
        uint64_t n = blocks - b;
        const uint8_t *quants = planes[0] + 32 * b;
        const int8_t *q = x.q + 32 * b;
        int8_prefetch_far(planes[1] + 2 * b, 64);
        __m512 halves = load_halves(planes[1] + 2 * b, n);
        __m512 scales = _mm512_mul_ps(halves, _mm512_load_ps(x.scales + b));
        offsets = _mm512_fmadd_ps(halves, _mm512_load_ps(x.sums32 + b), offsets);
        if (n >= 16) {
            for (uint64_t i = 0; i < 16; i += 2) {
                int8_prefetch_far(quants + 32 * i, 1024);
                __m512i products = multiply_q8_0(quants + 32 * i, 2, q + 32 * i);
                sums[i / 2 % 2] = add_two_blocks(products, scales, (int)i, sums[i / 2 % 2]);
            }
            continue;
        }
        for (uint64_t i = 0; i < n; i += 2) {
            __m512i products = multiply_q8_0(quants + 32 * i, n - i, q + 32 * i);
            sums[0] = add_two_blocks(products, scales, (int)i, sums[0]);
        }
    }
    return _mm512_reduce_add_ps(
        _mm512_fnmadd_ps(offsets, _mm512_set1_ps(128), _mm512_add_ps(sums[0], sums[1])));
}
