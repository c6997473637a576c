/* Dot products of the block types with AVX-512 VNNI, on int8 activations. A vector holds 64 weights
 * (two blocks of activations); dpbusd adds unsigned times signed bytes in fours to 32 bits.
 */
#include <immintrin.h>
#include <string.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_int8.h"
#include "engine/cpu/cpu_dot_x86.h"

static inline __m512i load_bytes(const void *bytes)
{
    return _mm512_loadu_si512(bytes);
}

/* The same 32 bytes in both halves. */
static inline __m512i load_twice(const void *bytes)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)bytes));
}

/* The lower half as it is, the upper half shifted right by `upper`. */
static inline __m512i shift_halves(__m512i v, int lower, int upper)
{
    return _mm512_srlv_epi16(
        v, _mm512_inserti64x4(_mm512_set1_epi16((short)lower), _mm256_set1_epi16((short)upper), 1));
}

static inline __m512i multiply_unsigned(__m512i w, __m512i x)
{
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, x);
}

/* Adds sums * scales, each of scales[first], scales[first + 1] for one half of the lanes. */
static inline __m512 add_two_blocks(__m512i sums, __m512 scales, int first, __m512 to)
{
    __m512i index = _mm512_inserti64x4(_mm512_set1_epi32(first), _mm256_set1_epi32(first + 1), 1);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(index, scales), to);
}

/* f16 scales of up to 16 blocks, zeros behind them. */
static inline __m512 load_scales(const uint8_t *halves, uint64_t n)
{
    __mmask16 mask = (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1);
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, halves));
}

/* dpbusd wants unsigned weights: their signs go to the activations. */
static inline __m512i sums_q8_0(const uint8_t *w, __m512i x, __mmask8 mask)
{
    __m512i weights = _mm512_maskz_loadu_epi64(mask, w);
    __m512i signed_x =
        _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(weights), _mm512_setzero_si512(), x);
    return multiply_unsigned(_mm512_abs_epi8(weights), signed_x);
}

static inline __m512i sums_q4_0(const uint8_t *w, __m512i x, __mmask8 mask)
{
    __m512i bytes = _mm512_maskz_loadu_epi64((__mmask8)(mask & 15), w);
    /* Lanes: block 0 low, block 0 high, block 1 low, block 1 high nibbles. */
    __m512i spread = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), bytes);
    const __m512i shifts = _mm512_setr_epi64(0, 0, 0x0004000400040004, 0x0004000400040004, 0, 0,
                                             0x0004000400040004, 0x0004000400040004);
    __m512i nibbles = _mm512_and_si512(_mm512_srlv_epi16(spread, shifts), _mm512_set1_epi8(15));
    return multiply_unsigned(nibbles, x);
}

/* Quads (8 bytes) of the weights of one or two blocks. */
#define QUADS(block_bytes, n) ((__mmask8)((n) >= 2 ? 0xFF : (1u << (block_bytes) / 8) - 1))

/* Rows of blocks of 32 with an f16 scale; y = scale * (q - offset). Two blocks a vector; a last
 * single block is read through a mask, and its neighbour's scale is zero. */
#define BLOCK_DOT(type, block_bytes, offset) \
    static float dot_##type(const uint8_t *const planes[], const void *prepared, uint64_t cols) \
    { \
        struct int8_row x = int8_row_of(prepared, cols); \
        __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}; \
        __m512 offsets = _mm512_setzero_ps(); \
        uint64_t blocks = cols / 32; \
        for (uint64_t b = 0; b < blocks; b += 16) { \
            __m512 halves = load_scales(planes[1] + 2 * b, blocks - b); \
            __m512 scales = _mm512_mul_ps(halves, _mm512_load_ps(x.scales + b)); \
            if (offset != 0) { \
                offsets = _mm512_fmadd_ps(halves, _mm512_load_ps(x.sums32 + b), offsets); \
            } \
            const uint8_t *w = planes[0] + b * block_bytes; \
            const int8_t *q = x.q + 32 * b; \
            if (blocks - b >= 16) { \
                for (int i = 0; i < 16; i += 2) { \
                    sums[i / 2 % 2] = add_two_blocks( \
                        sums_##type(w + i * block_bytes, load_bytes(q + 32 * i), 0xFF), scales, i, \
                        sums[i / 2 % 2]); \
                } \
                continue; \
            } \
            for (int i = 0; i < (int)(blocks - b); i += 2) { \
                __mmask8 mask = QUADS(block_bytes, blocks - b - (uint64_t)i); \
                sums[0] = \
                    add_two_blocks(sums_##type(w + i * block_bytes, load_bytes(q + 32 * i), mask), \
                                   scales, i, sums[0]); \
            } \
        } \
        return _mm512_reduce_add_ps( \
            _mm512_fnmadd_ps(offsets, _mm512_set1_ps(offset), _mm512_add_ps(sums[0], sums[1]))); \
    }

BLOCK_DOT(q8_0, 32, 0)
BLOCK_DOT(q4_0, 16, 8)

static float dot_q4_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m256 minimum_sum = _mm256_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        __m256 scales, minima;
        int8_unpack_q4_k(planes[1] + 16 * s, &scales, &minima);
        minimum_sum = _mm256_fmadd_ps(minima, _mm256_load_ps(x.sums32 + 8 * s), minimum_sum);
        __m512 factors =
            _mm512_castps256_ps512(_mm256_mul_ps(scales, _mm256_load_ps(x.scales + 8 * s)));
        for (int k = 0; k < 4; k++) {
            __m512i bytes = load_twice(planes[0] + 128 * s + 32 * k);
            __m512i nibbles = _mm512_and_si512(shift_halves(bytes, 0, 4), _mm512_set1_epi8(15));
            __m512i products =
                multiply_unsigned(nibbles, load_bytes(x.q + 256 * s + 64 * (uint64_t)k));
            sums[k % 2] = add_two_blocks(products, factors, 2 * k, sums[k % 2]);
        }
    }
    return _mm512_reduce_add_ps(
        _mm512_sub_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_zextps256_ps512(minimum_sum)));
}

/* Six-bit codes of elements 64 k .. 64 k + 63 of half a super-block, k = 0 or 1. */
static inline __m512i codes_q6_k(const uint8_t *low, const uint8_t *pairs, int k)
{
    __m512i nibbles = _mm512_srli_epi16(load_bytes(low), (unsigned)(4 * k));
    __m512i high = shift_halves(load_twice(pairs), 4 * k, 4 * k + 2);
    high = _mm512_slli_epi16(_mm512_and_si512(high, _mm512_set1_epi8(3)), 4);
    return _mm512_or_si512(_mm512_and_si512(nibbles, _mm512_set1_epi8(15)), high);
}

/* Scales of 4 groups of 16 elements, each for the 4 lanes that hold its sums. */
static inline __m512 spread_groups(__m512 scales, int first)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                         _mm512_set1_epi32(first));
    return _mm512_permutexvar_ps(index, scales);
}

static float dot_q6_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 offsets = _mm512_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        uint16_t half;
        memcpy(&half, planes[3] + 2 * s, sizeof(half));
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(planes[2] + 16 * s));
        __m512 scales = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)),
                                      _mm512_set1_ps(_cvtsh_ss(half)));
        offsets = _mm512_fmadd_ps(scales, _mm512_load_ps(x.sums16 + 16 * s), offsets);
        __m512 x_scales = _mm512_castps256_ps512(_mm256_load_ps(x.scales + 8 * s));
        __m512 factors = _mm512_mul_ps(scales, _mm512_permutexvar_ps(twice, x_scales));
        for (int v = 0; v < 4; v++) {
            __m512i codes = codes_q6_k(planes[0] + 128 * s + 64 * (v / 2),
                                       planes[1] + 64 * s + 32 * (v / 2), v % 2);
            __m512i products =
                multiply_unsigned(codes, load_bytes(x.q + 256 * s + 64 * (uint64_t)v));
            sums[v % 2] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products),
                                          spread_groups(factors, 4 * v), sums[v % 2]);
        }
    }
    return _mm512_reduce_add_ps(
        _mm512_fnmadd_ps(offsets, _mm512_set1_ps(32), _mm512_add_ps(sums[0], sums[1])));
}

#define INT8(type) \
    { \
        cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, dot_##type \
    }

const struct cpu_level cpu_level_avx512_vnni = {
    .name = "avx512 vnni",
    .features = CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI,
    .dots =
        {
            [CPU_DTYPE_Q8_0] = INT8(q8_0),
            [CPU_DTYPE_Q4_0] = INT8(q4_0),
            [CPU_DTYPE_Q4_K] = INT8(q4_k),
            [CPU_DTYPE_Q6_K] = INT8(q6_k),
        },
};
