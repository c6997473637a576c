/* What the dot products with AVX-512 VNNI share. A vector holds 64 weights, two blocks of
 * activations; dpbusd adds unsigned times signed bytes in fours to 32 bits.
 */
#pragma once

#include "engine/cpu/cpu_dot_int8.h"

static inline __m512i load_bytes(const void *bytes)
{
    return _mm512_loadu_si512(bytes);
}

/* The same 32 bytes in both halves. */
static inline __m512i load_twice(const void *bytes)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)bytes));
}

static inline __m512i multiply_unsigned(__m512i w, __m512i x)
{
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, x);
}

/* Adds sums * scales, each of scales[first], scales[first + 1] for one half of the lanes. */
static inline __m512 add_two_blocks(__m512i sums, __m512 scales, int first, __m512 to)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
                         _mm512_set1_epi32(first));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(index, scales), to);
}

/* Adds sums * scales, each of scales[first] to scales[first + 3] for a quarter of the lanes. */
static inline __m512 add_four_blocks(__m512i sums, __m512 scales, int first, __m512 to)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                         _mm512_set1_epi32(first));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(index, scales), to);
}

/* Four blocks whose 16 bytes each hold elements 0..15 in low and 16..31 in high nibbles: a quarter
 * of a vector is half a block. */
struct half_blocks {
    __m512i first, second;
};

static inline struct half_blocks split_nibbles(__m512i bytes)
{
    const __m512i mask = _mm512_set1_epi8(15);
    return (struct half_blocks){_mm512_and_si512(bytes, mask),
                                _mm512_and_si512(_mm512_srli_epi16(bytes, 4), mask)};
}

static inline struct half_blocks look_up(const uint8_t table[16], struct half_blocks nibbles)
{
    __m512i codes = _mm512_broadcast_i32x4(int8_load_16(table));
    return (struct half_blocks){_mm512_shuffle_epi8(codes, nibbles.first),
                                _mm512_shuffle_epi8(codes, nibbles.second)};
}

static inline __m512i multiply_half_blocks(struct half_blocks w, const int8_t *halves)
{
    __m512i sums = multiply_unsigned(w.first, load_bytes(halves));
    return _mm512_dpbusd_epi32(sums, w.second, load_bytes(halves + 64));
}

/* ---- rows in steps ---- */

/* A row is done in steps of 256 elements, two at a time so that their factors fill a vector. If
 * their number is odd, the last ones of two rows go together. So quants are read one line after
 * the other, which processors read ahead best: with quants of two rows in turn, memory gave half
 * as much (Zen 4). */
#define STEP 256

struct two_steps {
    const uint8_t *const *planes[2]; /* of their rows */
    uint64_t steps[2];
    __m512 x_scales, x_sums; /* of blocks of 32: of activations and scales * q */
};

/* Of blocks of 32: what integer products are multiplied with, and what minima (over a constant of
 * the type) or offsets add to the row's sum. */
struct factors {
    __m512 scales, minima;
};

static inline struct two_steps steps_of_row(const uint8_t *const planes[], uint64_t s,
                                            struct int8_row x)
{
    return (struct two_steps){{planes, planes},
                              {s, s + 1},
                              _mm512_load_ps(x.scales + 8 * s),
                              _mm512_load_ps(x.sums32 + 8 * s)};
}

static inline struct two_steps steps_of_rows(const uint8_t *const first[],
                                             const uint8_t *const second[], uint64_t s,
                                             struct int8_row x)
{
    return (struct two_steps){{first, second},
                              {s, s},
                              _mm512_broadcast_f32x8(_mm256_load_ps(x.scales + 8 * s)),
                              _mm512_broadcast_f32x8(_mm256_load_ps(x.sums32 + 8 * s))};
}

/* Two f16 each of two places: a0, b0, a1, b1. */
static inline __m512 load_two_halves(const uint8_t *first, const uint8_t *second)
{
    uint32_t a, b;
    memcpy(&a, first, sizeof(a));
    memcpy(&b, second, sizeof(b));
    __m128i four = _mm_cvtsi64_si128((int64_t)((uint64_t)b << 32 | a));
    return _mm512_castps128_ps512(_mm_cvtph_ps(four));
}

/* Numbers `which` and 2 + `which`: for all lanes of the lower, then of the upper half. */
static inline __m512 spread_halves(__m512 halves, int which)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2),
                         _mm512_set1_epi32(which));
    return _mm512_permutexvar_ps(index, halves);
}

/* The sum of all lanes of a and that of b. */
static inline void store_two_sums(__m512 a, __m512 b, float y[2])
{
    __m256 a_halves = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m256 b_halves = _mm256_add_ps(_mm512_castps512_ps256(b), _mm512_extractf32x8_ps(b, 1));
    __m256 both = _mm256_add_ps(_mm256_unpacklo_ps(a_halves, b_halves),
                                _mm256_unpackhi_ps(a_halves, b_halves));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    _mm_storel_pi((__m64 *)(void *)y, _mm_add_ps(four, _mm_movehl_ps(four, four)));
}

/* A half of f16 in all lanes. */
static inline __m512 load_half(const uint8_t *half)
{
    int16_t bits;
    memcpy(&bits, half, sizeof(bits));
    return _mm512_cvtph_ps(_mm256_set1_epi16(bits));
}

/* Two f16 in turn. */
static inline __m512 load_half_pairs(const uint8_t *halves)
{
    int32_t bits;
    memcpy(&bits, halves, sizeof(bits));
    return _mm512_cvtph_ps(_mm256_set1_epi32(bits));
}

/* Asks for what follows these n steps, of so many bytes each, in a plane. q8_0 does least with a
 * byte: its quants had better be hardly ahead, and its scales near. */
static inline void prefetch_plane(const uint8_t *plane, uint64_t s, uint64_t n, uint64_t bytes)
{
    const uint64_t ahead = bytes < STEP ? INT8_STEPS_FAR : 4;
    for (uint64_t i = 0; i < n * bytes; i += 64) {
        if (bytes < 32) {
            int8_prefetch_near(plane + s * bytes + i, INT8_STEPS_NEAR * bytes);
        } else {
            int8_prefetch_far(plane + s * bytes + i, ahead * bytes);
        }
    }
}

/* Both functions of a type, made of
 *     struct factors factors_<type>(two steps, cols)
 *     void multiply_<type>(planes, x, step, cols, factors, their first lane, sums)
 * and of the bytes that a step has in planes 0 and 1, 0 where asking gains nothing. Step s is
 * elements 256 s .. 256 s + 255, or those up to the row's end. An odd last row is done twice. */
#define DOT_OF_STEPS(type, minimum, bytes_0, bytes_1) \
    static inline void prefetch_##type(const uint8_t *const planes[], uint64_t s, uint64_t n) \
    { \
        prefetch_plane(planes[0], s, n, bytes_0); \
        prefetch_plane(planes[1], s, n, bytes_1); \
    } \
    static inline __m512 row_##type(const uint8_t *const planes[], struct int8_row x, \
                                    uint64_t cols, __m512 last_scales, int last_lane) \
    { \
        __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()}, minima = sums[0]; \
        uint64_t s = 0, steps = (cols + STEP - 1) / STEP; \
        for (; s + 2 <= steps; s += 2) { \
            prefetch_##type(planes, s, 2); \
            struct two_steps two = steps_of_row(planes, s, x); \
            struct factors factors = factors_##type(&two, cols); \
            minima = _mm512_add_ps(minima, factors.minima); \
            multiply_##type(planes, x, s, cols, factors.scales, 0, sums); \
            multiply_##type(planes, x, s + 1, cols, factors.scales, 8, sums); \
        } \
        if (s < steps) { \
            prefetch_##type(planes, s, 1); \
            multiply_##type(planes, x, s, cols, last_scales, last_lane, sums); \
        } \
        return _mm512_fmadd_ps(minima, _mm512_set1_ps(minimum), _mm512_add_ps(sums[0], sums[1])); \
    } \
    static inline void two_rows_##type(const uint8_t *const first[], \
                                       const uint8_t *const second[], struct int8_row x, \
                                       uint64_t cols, float y[2]) \
    { \
        uint64_t steps = (cols + STEP - 1) / STEP; \
        struct factors last = {_mm512_setzero_ps(), _mm512_setzero_ps()}; \
        if (steps % 2 != 0) { \
            struct two_steps two = steps_of_rows(first, second, steps - 1, x); \
            last = factors_##type(&two, cols); \
        } \
        __m512 a = row_##type(first, x, cols, last.scales, 0); \
        __m512 b = row_##type(second, x, cols, last.scales, 8); \
        const __m512 constant = _mm512_set1_ps(minimum); \
        store_two_sums(_mm512_mask3_fmadd_ps(last.minima, constant, a, 0x00FF), \
                       _mm512_mask3_fmadd_ps(last.minima, constant, b, 0xFF00), y); \
    } \
    float cpu_dot_##type##_avx512_vnni(const uint8_t *const planes[], const void *prepared, \
                                       uint64_t cols) \
    { \
        float y[2]; \
        two_rows_##type(planes, planes, int8_row_of(prepared, cols), cols, y); \
        return y[0]; \
    } \
    void cpu_dot_rows_##type##_avx512_vnni(const uint8_t *const planes[], \
                                           const uint64_t strides[], uint64_t n, \
                                           const void *prepared, uint64_t cols, float *y) \
    { \
        const uint8_t *first[DTYPE_MAX_PLANES], *second[DTYPE_MAX_PLANES]; \
        uint64_t i = 0; \
        for (; i + 2 <= n; i += 2) { \
            for (uint32_t p = 0; p < DTYPE_MAX_PLANES; p++) { \
                first[p] = planes[p] + i * strides[p]; \
                second[p] = first[p] + strides[p]; \
            } \
            two_rows_##type(first, second, int8_row_of(prepared, cols), cols, y + i); \
        } \
        if (i < n) { \
            for (uint32_t p = 0; p < DTYPE_MAX_PLANES; p++) { \
                first[p] = planes[p] + i * strides[p]; \
            } \
            y[i] = cpu_dot_##type##_avx512_vnni(first, prepared, cols); \
        } \
    }

/* Both functions of a type, made of row_<type>(planes, x, cols), whose lanes' sum is the product:
 * for types that spread no factors of blocks over vectors. */
#define DOT_OF_ROW(type) \
    float cpu_dot_##type##_avx512_vnni(const uint8_t *const planes[], const void *prepared, \
                                       uint64_t cols) \
    { \
        return _mm512_reduce_add_ps(row_##type(planes, int8_row_of(prepared, cols), cols)); \
    } \
    void cpu_dot_rows_##type##_avx512_vnni(const uint8_t *const planes[], \
                                           const uint64_t strides[], uint64_t n, \
                                           const void *prepared, uint64_t cols, float *y) \
    { \
        const struct int8_row x = int8_row_of(prepared, cols); \
        const uint8_t *row[DTYPE_MAX_PLANES] = {planes[0], planes[1], planes[2], planes[3]}; \
        __m512 sum = _mm512_setzero_ps(); \
        for (uint64_t i = 0; i < n; i++) { \
            __m512 before = sum; \
            sum = row_##type(row, x, cols); \
            if (i % 2 == 1) { \
                store_two_sums(before, sum, y + i - 1); \
            } \
            for (uint32_t p = 0; p < DTYPE_MAX_PLANES; p++) { \
                row[p] += strides[p]; \
            } \
        } \
        if (n % 2 == 1) { \
            y[n - 1] = _mm512_reduce_add_ps(sum); \
        } \
    }
