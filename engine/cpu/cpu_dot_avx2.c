/* Dot products with AVX2, FMA and F16C: float types in floats, block types with int8 activations.
 *
 * Unsigned bytes times signed bytes (maddubs) add up in pairs to 16 bits: at most 255 * 127 * 2
 * would overflow, but our weights are at most 128, so they do not.
 */
#include <immintrin.h>
#include <string.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_dot_int8.h"
#include "engine/cpu/cpu_dot_x86.h"
#include "format/f16.h"

static float add_lanes(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* ---- float types ---- */

static inline __m256 load_f32(const uint8_t *w)
{
    return _mm256_loadu_ps((const float *)(const void *)w);
}

static inline __m256 load_f16(const uint8_t *w)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)w));
}

static inline __m256 load_bf16(const uint8_t *w)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* The last elements of a row, fewer than a vector, with zeros behind them. */
static inline __m256 load_last_x(const float *x, uint64_t n)
{
    float padded[8] = {0};
    memcpy(padded, x, n * sizeof(float));
    return _mm256_loadu_ps(padded);
}

#define FLOAT_DOT(type, bytes) \
    static float dot_##type##_row(const void *row, const float *x, uint64_t n) \
    { \
        const uint8_t *w = row; \
        __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), \
                          _mm256_setzero_ps()}; \
        uint64_t i = 0; \
        for (; i + 32 <= n; i += 32) { \
            for (uint64_t k = 0; k < 4; k++) { \
                sums[k] = _mm256_fmadd_ps(load_##type(w + (i + 8 * k) * bytes), \
                                          _mm256_loadu_ps(x + i + 8 * k), sums[k]); \
            } \
        } \
        for (; i + 8 <= n; i += 8) { \
            sums[0] = \
                _mm256_fmadd_ps(load_##type(w + i * bytes), _mm256_loadu_ps(x + i), sums[0]); \
        } \
        if (i < n) { \
            uint8_t last[8 * bytes] = {0}; \
            memcpy(last, w + i * bytes, (n - i) * bytes); \
            sums[1] = _mm256_fmadd_ps(load_##type(last), load_last_x(x + i, n - i), sums[1]); \
        } \
        return add_lanes( \
            _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]))); \
    } \
    static float dot_##type(const uint8_t *const planes[], const void *x, uint64_t cols) \
    { \
        return dot_##type##_row(planes[0], x, cols); \
    }

FLOAT_DOT(f32, 4)
FLOAT_DOT(f16, 2)
FLOAT_DOT(bf16, 2)

static void add_scaled_f32(const void *row, float scale, uint64_t n, float *y)
{
    const float *values = row;
    __m256 factor = _mm256_set1_ps(scale);
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 sum = _mm256_fmadd_ps(factor, _mm256_loadu_ps(values + i), _mm256_loadu_ps(y + i));
        _mm256_storeu_ps(y + i, sum);
    }
    for (; i < n; i++) {
        y[i] += scale * values[i];
    }
}

static void add_scaled_f16(const void *row, float scale, uint64_t n, float *y)
{
    const uint16_t *halves = row;
    __m256 factor = _mm256_set1_ps(scale);
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 values = load_f16((const uint8_t *)(halves + i));
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, values, _mm256_loadu_ps(y + i)));
    }
    for (; i < n; i++) {
        y[i] += scale * f32_from_f16(halves[i]);
    }
}

/* ---- int8 activations ---- */

uint64_t cpu_int8_bytes_avx2(uint64_t cols)
{
    uint64_t padded = int8_padded(cols);
    return padded + (padded / 32 + padded / 16 + padded / 32) * sizeof(float);
}

static float largest_magnitude(const __m256 x[4])
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 largest =
        _mm256_max_ps(_mm256_max_ps(_mm256_andnot_ps(sign, x[0]), _mm256_andnot_ps(sign, x[1])),
                      _mm256_max_ps(_mm256_andnot_ps(sign, x[2]), _mm256_andnot_ps(sign, x[3])));
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

/* 0 if all are finite, else NaN: infinity and NaN times zero are NaN. */
static float nan_unless_finite(const __m256 x[4])
{
    const __m256 zero = _mm256_setzero_ps();
    __m256 sum = zero;
    for (int k = 0; k < 4; k++) {
        sum = _mm256_fmadd_ps(x[k], zero, sum);
    }
    return add_lanes(sum);
}

/* Below this, 127 / largest would be infinite; such a block is zero. */
#define SMALLEST_MAGNITUDE 1e-30f

static void prepare_block(const float *source, int8_t *q, float *scale, float *sums16,
                          float *sums32)
{
    __m256 x[4];
    __m256i n[4];
    for (int k = 0; k < 4; k++) {
        x[k] = _mm256_loadu_ps(source + 8 * k);
    }
    float largest = largest_magnitude(x);
    bool zero = largest < SMALLEST_MAGNITUDE;
    float d = (zero ? 0 : largest / 127) + nan_unless_finite(x);
    __m256 inverse = _mm256_set1_ps(zero ? 0 : 127 / largest);
    for (int k = 0; k < 4; k++) {
        n[k] = _mm256_cvtps_epi32(_mm256_mul_ps(x[k], inverse));
    }
    /* The packs work within 128-bit lanes; the permutation restores the order. */
    __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
    packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_store_si256((__m256i *)(void *)q, packed);
    __m256i sums =
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), packed), _mm256_set1_epi16(1));
    sums = _mm256_hadd_epi32(sums, sums);
    sums = _mm256_hadd_epi32(sums, sums);
    *scale = d;
    sums16[0] = d * (float)_mm256_extract_epi32(sums, 0);
    sums16[1] = d * (float)_mm256_extract_epi32(sums, 4);
    *sums32 = sums16[0] + sums16[1];
}

void cpu_int8_prepare_avx2(const float *x, uint64_t cols, void *prepared)
{
    struct int8_row row = int8_row_of(prepared, cols);
    int8_t *q = prepared;
    float *scales = (float *)row.scales;
    float *sums16 = (float *)row.sums16;
    float *sums32 = (float *)row.sums32;
    uint64_t blocks = cols / 32, padded = int8_padded(cols) / 32;
    for (uint64_t b = 0; b < blocks; b++) {
        prepare_block(x + 32 * b, q + 32 * b, scales + b, sums16 + 2 * b, sums32 + b);
    }
    memset(q + 32 * blocks, 0, 32 * (padded - blocks));
    memset(scales + blocks, 0, (padded - blocks) * sizeof(float));
    memset(sums16 + 2 * blocks, 0, 2 * (padded - blocks) * sizeof(float));
    memset(sums32 + blocks, 0, (padded - blocks) * sizeof(float));
}

static inline __m256i load_bytes(const void *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}

/* Eight sums of four products each. */
static inline __m256i multiply_unsigned(__m256i w, __m256i x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}

static inline __m256 add_scaled_sums(__m256i sums, const float *scale, __m256 to)
{
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_broadcast_ss(scale), to);
}

/* Products of the weights' and the activations' scales of 8 blocks. A row of halves is padded to
 * 16 bytes, so all 8 can be read where there are fewer. */
static inline __m256 block_scales(const uint8_t *halves, const float *x_scales)
{
    return _mm256_mul_ps(load_f16(halves), _mm256_loadu_ps(x_scales));
}

static inline __m256 add_block_q8_0(const uint8_t *w, const int8_t *x, const float *scale,
                                    __m256 to)
{
    __m256i weights = load_bytes(w);
    __m256i sums =
        multiply_unsigned(_mm256_abs_epi8(weights), _mm256_sign_epi8(load_bytes(x), weights));
    return add_scaled_sums(sums, scale, to);
}

static inline __m256 add_block_q4_0(const uint8_t *w, const int8_t *x, const float *scale,
                                    __m256 to)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)w);
    __m256i nibbles =
        _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), _mm256_set1_epi8(15));
    return add_scaled_sums(multiply_unsigned(nibbles, load_bytes(x)), scale, to);
}

/* Rows of blocks of 32 with an f16 scale; y = scale * (q - offset). */
#define BLOCK_DOT(type, block_bytes, offset) \
    static float dot_##type(const uint8_t *const planes[], const void *prepared, uint64_t cols) \
    { \
        struct int8_row x = int8_row_of(prepared, cols); \
        const uint8_t *w = planes[0]; \
        __m256 even = _mm256_setzero_ps(), odd = even, offsets = even; \
        uint64_t blocks = cols / 32; \
        for (uint64_t b = 0; b < blocks; b += 8) { \
            _Alignas(32) float scales[8]; \
            _mm256_store_ps(scales, block_scales(planes[1] + 2 * b, x.scales + b)); \
            if (offset != 0) { \
                offsets = _mm256_fmadd_ps(load_f16(planes[1] + 2 * b), \
                                          _mm256_loadu_ps(x.sums32 + b), offsets); \
            } \
            uint64_t n = blocks - b < 8 ? blocks - b : 8; \
            for (uint64_t i = 0; i + 1 < n; i += 2) { \
                even = add_block_##type(w + (b + i) * block_bytes, x.q + (b + i) * 32, scales + i, \
                                        even); \
                odd = add_block_##type(w + (b + i + 1) * block_bytes, x.q + (b + i + 1) * 32, \
                                       scales + i + 1, odd); \
            } \
            if (n % 2) { \
                even = add_block_##type(w + (b + n - 1) * block_bytes, x.q + (b + n - 1) * 32, \
                                        scales + n - 1, even); \
            } \
        } \
        return add_lanes( \
            _mm256_fnmadd_ps(offsets, _mm256_set1_ps(offset), _mm256_add_ps(even, odd))); \
    }

BLOCK_DOT(q8_0, 32, 0)
BLOCK_DOT(q4_0, 16, 8)

static float dot_q4_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    const __m256i mask = _mm256_set1_epi8(15);
    __m256 low_sum = _mm256_setzero_ps(), high_sum = low_sum, minimum_sum = low_sum;
    for (uint64_t s = 0; s < cols / 256; s++) {
        __m256 scales, minima;
        _Alignas(32) float factors[8];
        int8_unpack_q4_k(planes[1] + 16 * s, &scales, &minima);
        _mm256_store_ps(factors, _mm256_mul_ps(scales, _mm256_loadu_ps(x.scales + 8 * s)));
        minimum_sum = _mm256_fmadd_ps(minima, _mm256_loadu_ps(x.sums32 + 8 * s), minimum_sum);
        for (uint64_t k = 0; k < 4; k++) {
            __m256i bytes = load_bytes(planes[0] + 128 * s + 32 * k);
            __m256i low = _mm256_and_si256(bytes, mask);
            __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
            const int8_t *q = x.q + 256 * s + 64 * k;
            low_sum =
                add_scaled_sums(multiply_unsigned(low, load_bytes(q)), factors + 2 * k, low_sum);
            high_sum = add_scaled_sums(multiply_unsigned(high, load_bytes(q + 32)),
                                       factors + 2 * k + 1, high_sum);
        }
    }
    return add_lanes(_mm256_sub_ps(_mm256_add_ps(low_sum, high_sum), minimum_sum));
}

/* Six-bit codes of elements 32 k .. 32 k + 31 of half a super-block. */
static inline __m256i codes_q6_k(const uint8_t *low, __m256i pairs, int k)
{
    __m256i nibbles = load_bytes(low + 32 * (k % 2));
    nibbles =
        _mm256_and_si256(k < 2 ? nibbles : _mm256_srli_epi16(nibbles, 4), _mm256_set1_epi8(15));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(pairs, 2 * k), _mm256_set1_epi8(3));
    return _mm256_or_si256(nibbles, _mm256_slli_epi16(high, 4));
}

/* The scales of 16-element groups 2 b and 2 b + 1, once for each of the 16 pairs of a block. */
static inline __m256i spread_scales(__m128i scales, int b)
{
    __m128i index = _mm_set_epi64x((int64_t)(0x0101010101010101u * (2u * (unsigned)b + 1)),
                                   (int64_t)(0x0101010101010101u * (2u * (unsigned)b)));
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, index));
}

static float dot_q6_k(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m256 even = _mm256_setzero_ps(), odd = even, offsets = even;
    for (uint64_t s = 0; s < cols / 256; s++) {
        uint16_t half;
        memcpy(&half, planes[3] + 2 * s, sizeof(half));
        __m256 d = _mm256_set1_ps(_cvtsh_ss(half));
        __m128i scales = _mm_loadu_si128((const __m128i *)(const void *)(planes[2] + 16 * s));
        _Alignas(32) float factors[8];
        _mm256_store_ps(factors, _mm256_mul_ps(d, _mm256_loadu_ps(x.scales + 8 * s)));
        __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales));
        __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(scales, 8)));
        __m256 sums = _mm256_mul_ps(first, _mm256_loadu_ps(x.sums16 + 16 * s));
        sums = _mm256_fmadd_ps(second, _mm256_loadu_ps(x.sums16 + 16 * s + 8), sums);
        offsets = _mm256_fmadd_ps(sums, d, offsets);
        for (int b = 0; b < 8; b++) {
            const uint8_t *low = planes[0] + 128 * s + 64 * (b / 4);
            __m256i pairs = load_bytes(planes[1] + 64 * s + 32 * (b / 4));
            __m256i products = _mm256_maddubs_epi16(codes_q6_k(low, pairs, b % 4),
                                                    load_bytes(x.q + 256 * s + 32 * b));
            products = _mm256_madd_epi16(products, spread_scales(scales, b));
            if (b % 2 == 0) {
                even = add_scaled_sums(products, factors + b, even);
            } else {
                odd = add_scaled_sums(products, factors + b, odd);
            }
        }
    }
    return add_lanes(_mm256_fnmadd_ps(offsets, _mm256_set1_ps(32), _mm256_add_ps(even, odd)));
}

#define INT8(type) \
    { \
        cpu_int8_bytes_avx2, cpu_int8_prepare_avx2, dot_##type \
    }

const struct cpu_level cpu_level_avx2 = {
    .name = "avx2",
    .features = CPU_AVX2,
    .dots =
        {
            [CPU_DTYPE_F32] = {.dot = dot_f32},
            [CPU_DTYPE_F16] = {.dot = dot_f16},
            [CPU_DTYPE_BF16] = {.dot = dot_bf16},
            [CPU_DTYPE_Q8_0] = INT8(q8_0),
            [CPU_DTYPE_Q4_0] = INT8(q4_0),
            [CPU_DTYPE_Q4_K] = INT8(q4_k),
            [CPU_DTYPE_Q6_K] = INT8(q6_k),
        },
    .f32_cache = {dot_f32_row, add_scaled_f32},
    .f16_cache = {dot_f16_row, add_scaled_f16},
};
