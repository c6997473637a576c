/* Dot products of the types with super-blocks of 256 (q2_k to q6_k, iq4_xs) with AVX2. Block
 * b = 0..7 of a super-block holds its elements 32 b .. 32 b + 31.
 */
#include "engine/cpu/cpu_dot_avx2.h"

/* The bits of `mask` of each byte, which lie at bit `from` and up, moved to bit `to` and up. */
static inline __m256i move_bits(__m256i bytes, int mask, int from, int to)
{
    if (from < to) {
        bytes = _mm256_slli_epi16(bytes, to - from);
    } else if (from > to) {
        bytes = _mm256_srli_epi16(bytes, from - to);
    }
    return _mm256_and_si256(bytes, _mm256_set1_epi8((char)(mask << to)));
}

/* Where the codes of q2_k stay in their bytes, 1, 4 or 16 times too large; higher, sums of two
 * products would not fit into 16 bits. */
static inline __m256i codes_q2_k(const uint8_t *pairs, int b)
{
    int place = 2 * (b % 4);
    return move_bits(load_bytes(pairs + 32 * (b / 4)), 3, place, place < 4 ? place : 4);
}

static inline __m256i codes_q3_k(const uint8_t *pairs, __m256i high, int b)
{
    __m256i low = move_bits(load_bytes(pairs + 32 * (b / 4)), 3, 2 * (b % 4), 0);
    return _mm256_or_si256(low, move_bits(high, 1, b, 2));
}

static inline __m256i codes_q6_k(const uint8_t *low, const uint8_t *pairs, int b)
{
    __m256i nibbles = load_bytes(low + 64 * (b / 4) + 32 * (b % 2));
    __m256i high = load_bytes(pairs + 32 * (b / 4));
    return _mm256_or_si256(move_bits(nibbles, 15, b % 4 < 2 ? 0 : 4, 0),
                           move_bits(high, 3, 2 * (b % 4), 4));
}

/* 16 signed bytes, scales of groups of 16, as multiply_groups wants them: those of the even groups
 * in the lower half, of the odd ones in the upper half. */
static inline __m256i widen_scales(__m128i bytes)
{
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, order));
}

/* codes * x * scale of block b, eight partial sums. */
static inline __m256i multiply_groups(__m256i codes, const int8_t *x, __m256i scales, int b)
{
    __m256i spread = _mm256_shuffle_epi8(scales, _mm256_set1_epi16((short)(0x0100 + 0x0202 * b)));
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, load_bytes(x)), spread);
}

/* Sums of 16 signed bytes times sums of activations, one for each block: exact. */
static inline __m256 sum_groups(__m128i bytes, const int16_t *short_sums)
{
    const __m256i sums = _mm256_loadu_si256((const __m256i *)(const void *)short_sums);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), sums));
}

/* Asks for what lies 32 super-blocks ahead in a plane of which one has so many bytes; planes with
 * fewer than a cache line are better left to the processor (cpu_dot_avx512_vnni.h). */
static inline void prefetch_plane(const uint8_t *plane, uint64_t s, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += 64) {
        int8_prefetch(plane + s * bytes + i, 32 * bytes);
    }
}

/* d times the scales of a super-block's activations. */
static inline __m256 scale_blocks(const uint8_t *half, const float *scales)
{
    return _mm256_mul_ps(_mm256_set1_ps(int8_half(half)), _mm256_loadu_ps(scales));
}

float cpu_dot_q2_k_avx2(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    const __m256 inverse_places =
        _mm256_setr_ps(1, 0x1p-2f, 0x1p-4f, 0x1p-4f, 1, 0x1p-2f, 0x1p-4f, 0x1p-4f);
    const __m128i mask = _mm_set1_epi8(15);
    __m256 even = _mm256_setzero_ps(), odd = even, minimum = even;
    for (uint64_t s = 0; s < cols / 256; s++) {
        prefetch_plane(planes[0], s, 64);
        _Alignas(32) float factors[8];
        __m256 x_scales = scale_blocks(planes[2] + 4 * s, x.scales + 8 * s);
        _mm256_store_ps(factors, _mm256_mul_ps(x_scales, inverse_places));
        __m128i bytes = int8_load_16(planes[1] + 16 * s);
        __m256i scales = widen_scales(_mm_and_si128(bytes, mask));
        __m128i minima = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
        __m256 dmin = scale_blocks(planes[2] + 4 * s + 2, x.scales + 8 * s);
        minimum = _mm256_fmadd_ps(sum_groups(minima, x.short_sums + 16 * s), dmin, minimum);
        for (int b = 0; b < 8; b += 2) {
            const int8_t *q = x.q + 256 * s + 32 * b;
            __m256i first = codes_q2_k(planes[0] + 64 * s, b);
            __m256i second = codes_q2_k(planes[0] + 64 * s, b + 1);
            even = add_scaled_sums(multiply_groups(first, q, scales, b), factors + b, even);
            odd = add_scaled_sums(multiply_groups(second, q + 32, scales, b + 1), factors + b + 1,
                                  odd);
        }
    }
    return add_lanes(_mm256_sub_ps(_mm256_add_ps(even, odd), minimum));
}

float cpu_dot_q3_k_avx2(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m256 even = _mm256_setzero_ps(), odd = even, offsets = even;
    for (uint64_t s = 0; s < cols / 256; s++) {
        prefetch_plane(planes[0], s, 64);
        _Alignas(32) float factors[8];
        __m256 d = scale_blocks(planes[3] + 2 * s, x.scales + 8 * s);
        _mm256_store_ps(factors, d);
        __m128i bytes = int8_unpack_q3_k(planes[2] + 12 * s);
        __m256i scales = widen_scales(bytes);
        offsets = _mm256_fmadd_ps(sum_groups(bytes, x.short_sums + 16 * s), d, offsets);
        __m256i high = load_bytes(planes[1] + 32 * s);
        for (int b = 0; b < 8; b += 2) {
            const int8_t *q = x.q + 256 * s + 32 * b;
            __m256i first = codes_q3_k(planes[0] + 64 * s, high, b);
            __m256i second = codes_q3_k(planes[0] + 64 * s, high, b + 1);
            even = add_scaled_sums(multiply_groups(first, q, scales, b), factors + b, even);
            odd = add_scaled_sums(multiply_groups(second, q + 32, scales, b + 1), factors + b + 1,
                                  odd);
        }
    }
    return add_lanes(_mm256_fnmadd_ps(offsets, _mm256_set1_ps(4), _mm256_add_ps(even, odd)));
}

static inline __m256 bytes_to_floats(__m128i bytes, float d)
{
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)), _mm256_set1_ps(d));
}

/* q4_k, and q5_k with its high bits. */
static inline float dot_groups_of_32(const uint8_t *nibbles, const uint8_t *high_bits,
                                     const uint8_t *fields, struct int8_row x, uint64_t cols)
{
    const __m256i mask = _mm256_set1_epi8(15);
    __m256 even = _mm256_setzero_ps(), odd = even, minimum = even;
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *field = fields + 16 * s;
        prefetch_plane(nibbles, s, 128);
        __m128i integers = int8_unpack_k(field);
        __m256 scales = bytes_to_floats(integers, int8_half(field));
        __m256 minima = bytes_to_floats(_mm_srli_si128(integers, 8), int8_half(field + 2));
        _Alignas(32) float factors[8];
        _mm256_store_ps(factors, _mm256_mul_ps(scales, _mm256_loadu_ps(x.scales + 8 * s)));
        minimum = _mm256_fmadd_ps(minima, _mm256_loadu_ps(x.sums32 + 8 * s), minimum);
        __m256i high = high_bits ? load_bytes(high_bits + 32 * s) : _mm256_setzero_si256();
        for (int b = 0; b < 8; b += 2) {
            const int8_t *q = x.q + 256 * s + 32 * b;
            __m256i bytes = load_bytes(nibbles + 128 * s + 16 * b);
            __m256i first = _mm256_and_si256(bytes, mask);
            __m256i second = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
            if (high_bits) {
                first = _mm256_or_si256(first, move_bits(high, 1, b, 4));
                second = _mm256_or_si256(second, move_bits(high, 1, b + 1, 4));
            }
            even = add_scaled_sums(multiply_unsigned(first, load_bytes(q)), factors + b, even);
            odd = add_scaled_sums(multiply_unsigned(second, load_bytes(q + 32)), factors + b + 1,
                                  odd);
        }
    }
    return add_lanes(_mm256_sub_ps(_mm256_add_ps(even, odd), minimum));
}

float cpu_dot_q4_k_avx2(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    return dot_groups_of_32(planes[0], NULL, planes[1], int8_row_of(prepared, cols), cols);
}

float cpu_dot_q5_k_avx2(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    return dot_groups_of_32(planes[0], planes[1], planes[2], int8_row_of(prepared, cols), cols);
}

float cpu_dot_q6_k_avx2(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m256 even = _mm256_setzero_ps(), odd = even, offsets = even;
    for (uint64_t s = 0; s < cols / 256; s++) {
        prefetch_plane(planes[0], s, 128);
        prefetch_plane(planes[1], s, 64);
        _Alignas(32) float factors[8];
        __m256 d = scale_blocks(planes[3] + 2 * s, x.scales + 8 * s);
        _mm256_store_ps(factors, d);
        __m128i bytes = int8_load_16(planes[2] + 16 * s);
        __m256i scales = widen_scales(bytes);
        offsets = _mm256_fmadd_ps(sum_groups(bytes, x.short_sums + 16 * s), d, offsets);
        for (int b = 0; b < 8; b += 2) {
            const int8_t *q = x.q + 256 * s + 32 * b;
            __m256i first = codes_q6_k(planes[0] + 128 * s, planes[1] + 64 * s, b);
            __m256i second = codes_q6_k(planes[0] + 128 * s, planes[1] + 64 * s, b + 1);
            even = add_scaled_sums(multiply_groups(first, q, scales, b), factors + b, even);
            odd = add_scaled_sums(multiply_groups(second, q + 32, scales, b + 1), factors + b + 1,
                                  odd);
        }
    }
    return add_lanes(_mm256_fnmadd_ps(offsets, _mm256_set1_ps(32), _mm256_add_ps(even, odd)));
}

float cpu_dot_iq4_xs_avx2(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    const __m256i table = load_iq4_values();
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (uint64_t s = 0; s < cols / 256; s++) {
        __m256 scales = int8_unpack_iq4_xs(planes[1] + 8 * s);
        scales = _mm256_mul_ps(scales, _mm256_loadu_ps(x.scales + 8 * s));
        for (int b = 0; b < 8; b += 2) {
            struct half_blocks nibbles = split_nibbles(load_bytes(planes[0] + 128 * s + 16 * b));
            __m256i products =
                multiply_half_blocks_signed(look_up(table, nibbles), x.halves, 8 * s + (uint64_t)b);
            sums[b / 2 % 2] = add_two_blocks(products, scales, b, sums[b / 2 % 2]);
        }
    }
    return add_lanes(_mm256_add_ps(sums[0], sums[1]));
}
