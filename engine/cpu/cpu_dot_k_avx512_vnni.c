/* Dot products of the types with super-blocks of 256 (q2_k to q6_k, iq4_xs) with AVX-512 VNNI.
 * Vector v = 0..3 of a super-block holds its elements 64 v .. 64 v + 63.
 */
#include "engine/cpu/cpu_dot_avx512_vnni.h"

/* One number for the quads of each half: written out, so that gcc makes a constant of it. */
static inline __m512i set_halves(int64_t lower, int64_t upper)
{
    return _mm512_setr_epi64(lower, lower, lower, lower, upper, upper, upper, upper);
}

/* Takes the same bits of every byte to other places within the byte: bits `lower` of the lower half
 * and `upper` of the upper half to `to`, where what lies around them is to be masked. Quads are
 * rotated, which is as good as bytes. */
static inline __m512i move_bits(__m512i bytes, int lower, int upper, int to)
{
    return _mm512_rorv_epi64(bytes, set_halves((lower - to) & 63, (upper - to) & 63));
}

/* a | (b & mask) */
static inline __m512i or_masked(__m512i a, __m512i b, int mask)
{
    return _mm512_ternarylogic_epi64(a, b, _mm512_set1_epi8((char)mask), 0xF8);
}

/* One byte mask for each half. */
static inline __m512i and_halves(__m512i bytes, int lower, int upper)
{
    const uint64_t each = 0x0101010101010101;
    return _mm512_and_si512(
        bytes, set_halves((int64_t)(each * (unsigned)lower), (int64_t)(each * (unsigned)upper)));
}

/* Factors of groups of 16 from those of blocks of 32. */
static inline __m512 spread_twice(__m256 factors)
{
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(factors));
}

/* Super-block s with 16 signed scales, whose codes are all too large by a constant: the factors of
 * its groups. Adds to `offsets` what the constant is to be multiplied with. */
static inline __m512 scale_groups_of_16(__m128i bytes, float d, struct int8_row x, uint64_t s,
                                        __m512 *offsets)
{
    __m512 scales = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
    __m512 sums = _mm512_mul_ps(scales, _mm512_load_ps(x.sums16 + 16 * s));
    *offsets = _mm512_fmadd_ps(sums, _mm512_set1_ps(d), *offsets);
    __m256 x_scales = _mm256_mul_ps(_mm256_load_ps(x.scales + 8 * s), _mm256_set1_ps(d));
    return _mm512_mul_ps(scales, spread_twice(x_scales));
}

/* Super-block s of q4_k or q5_k: the factors of its groups, divided by `places`, in the lower half;
 * minima times sums of activations in the upper one. */
static inline __m512 scale_groups_of_32(const uint8_t *field, struct int8_row x, uint64_t s,
                                        __m256 inverse_places)
{
    __m512 integers = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(int8_unpack_k(field)));
    __m512 d_and_dmin = _mm512_castps128_ps512(_mm_cvtph_ps(int8_load_16(field)));
    __m512 scales =
        _mm512_mul_ps(integers, _mm512_permutexvar_ps(set_halves(0, 0x100000001), d_and_dmin));
    __m256 x_scales = _mm256_mul_ps(_mm256_load_ps(x.scales + 8 * s), inverse_places);
    __m512 x_both =
        _mm512_insertf32x8(_mm512_castps256_ps512(x_scales), _mm256_load_ps(x.sums32 + 8 * s), 1);
    return _mm512_mul_ps(scales, x_both);
}

/* Asks for the 128 bytes of quants of super-block s + 16. */
static inline void prefetch_quants(const uint8_t *const planes[], uint64_t s)
{
    int8_prefetch(planes[0] + 128 * s, 2048);
    int8_prefetch(planes[0] + 128 * s + 64, 2048);
}

/* The same for a plane with less: once for all super-blocks of a cache line. */
static inline void prefetch_plane(const uint8_t *plane, uint64_t s, uint64_t bytes)
{
    if (s % (64 / bytes) == 0) {
        int8_prefetch(plane + bytes * s, 16 * bytes);
    }
}

/* The sum of all lanes, less those of the upper half of `minimum`. */
static inline float subtract_upper(__m512 sums, __m512 minimum)
{
    __m512 upper = _mm512_zextps256_ps512(_mm512_extractf32x8_ps(minimum, 1));
    return _mm512_reduce_add_ps(_mm512_sub_ps(sums, upper));
}

/* Codes stay at their places in the bytes, so they are 1, 4, 16 or 64 times too large. */
float cpu_dot_q2_k_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    const __m256 inverse_places =
        _mm256_setr_ps(1, 0x1p-2f, 0x1p-4f, 0x1p-6f, 1, 0x1p-2f, 0x1p-4f, 0x1p-6f);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 minimum = _mm512_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        const uint8_t *halves = planes[2] + 4 * s;
        __m512i bytes = _mm512_cvtepu8_epi32(int8_load_16(planes[1] + 16 * s));
        __m512 minima = _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
        minima = _mm512_mul_ps(minima, _mm512_load_ps(x.sums16 + 16 * s));
        minimum = _mm512_fmadd_ps(minima, _mm512_set1_ps(int8_half(halves + 2)), minimum);
        __m256 d = _mm256_mul_ps(_mm256_set1_ps(int8_half(halves)), inverse_places);
        __m512 factors = spread_twice(_mm256_mul_ps(_mm256_load_ps(x.scales + 8 * s), d));
        __m512i scales = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
        factors = _mm512_mul_ps(factors, _mm512_cvtepi32_ps(scales));
        for (int v = 0; v < 4; v++) {
            __m512i codes = load_twice(planes[0] + 64 * s + 32 * (v / 2));
            codes = v % 2 ? and_halves(codes, 0x30, 0xC0) : and_halves(codes, 0x03, 0x0C);
            __m512i products = multiply_unsigned(codes, load_bytes(x.q + 256 * s + 64 * v));
            sums[v % 2] = add_four_blocks(products, factors, 4 * v, sums[v % 2]);
        }
    }
    return _mm512_reduce_add_ps(_mm512_sub_ps(_mm512_add_ps(sums[0], sums[1]), minimum));
}

float cpu_dot_q3_k_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 offsets = _mm512_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        __m512 factors = scale_groups_of_16(int8_unpack_q3_k(planes[2] + 12 * s),
                                            int8_half(planes[3] + 2 * s), x, s, &offsets);
        __m512i high = load_twice(planes[1] + 32 * s);
        for (int v = 0; v < 4; v++) {
            int place = 4 * (v % 2);
            __m512i pairs = load_twice(planes[0] + 64 * s + 32 * (v / 2));
            pairs = and_halves(move_bits(pairs, place, place + 2, 0), 3, 3);
            __m512i codes = or_masked(pairs, move_bits(high, 2 * v, 2 * v + 1, 2), 4);
            __m512i products = multiply_unsigned(codes, load_bytes(x.q + 256 * s + 64 * v));
            sums[v % 2] = add_four_blocks(products, factors, 4 * v, sums[v % 2]);
        }
    }
    return _mm512_reduce_add_ps(
        _mm512_fnmadd_ps(offsets, _mm512_set1_ps(4), _mm512_add_ps(sums[0], sums[1])));
}

/* High nibbles stay at their places in the bytes, so they are 16 times too large. */
float cpu_dot_q4_k_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    const __m256 inverse_places = _mm256_setr_ps(1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 minimum = _mm512_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        prefetch_quants(planes, s);
        prefetch_plane(planes[1], s, 16);
        __m512 factors = scale_groups_of_32(planes[1] + 16 * s, x, s, inverse_places);
        minimum = _mm512_add_ps(factors, minimum);
        for (int v = 0; v < 4; v++) {
            __m512i codes = and_halves(load_twice(planes[0] + 128 * s + 32 * v), 0x0F, 0xF0);
            __m512i products = multiply_unsigned(codes, load_bytes(x.q + 256 * s + 64 * v));
            sums[v % 2] = add_two_blocks(products, factors, 2 * v, sums[v % 2]);
        }
    }
    return subtract_upper(_mm512_add_ps(sums[0], sums[1]), minimum);
}

float cpu_dot_q5_k_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 minimum = _mm512_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        prefetch_quants(planes, s);
        prefetch_plane(planes[1], s, 32);
        prefetch_plane(planes[2], s, 16);
        __m512 factors = scale_groups_of_32(planes[2] + 16 * s, x, s, _mm256_set1_ps(1));
        minimum = _mm512_add_ps(factors, minimum);
        __m512i high = load_twice(planes[1] + 32 * s);
        for (int v = 0; v < 4; v++) {
            __m512i nibbles = move_bits(load_twice(planes[0] + 128 * s + 32 * v), 0, 4, 0);
            __m512i codes =
                or_masked(and_halves(nibbles, 15, 15), move_bits(high, 2 * v, 2 * v + 1, 4), 16);
            __m512i products = multiply_unsigned(codes, load_bytes(x.q + 256 * s + 64 * v));
            sums[v % 2] = add_two_blocks(products, factors, 2 * v, sums[v % 2]);
        }
    }
    return subtract_upper(_mm512_add_ps(sums[0], sums[1]), minimum);
}

float cpu_dot_q6_k_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 offsets = _mm512_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        prefetch_quants(planes, s);
        prefetch_plane(planes[1], s, 64);
        prefetch_plane(planes[2], s, 16);
        __m512 factors = scale_groups_of_16(int8_load_16(planes[2] + 16 * s),
                                            int8_half(planes[3] + 2 * s), x, s, &offsets);
        for (int v = 0; v < 4; v++) {
            int place = 4 * (v % 2);
            __m512i low = load_bytes(planes[0] + 128 * s + 64 * (v / 2));
            low = and_halves(_mm512_srli_epi16(low, (unsigned)place), 15, 15);
            __m512i high = load_twice(planes[1] + 64 * s + 32 * (v / 2));
            __m512i codes = or_masked(low, move_bits(high, place, place + 2, 4), 0x30);
            __m512i products = multiply_unsigned(codes, load_bytes(x.q + 256 * s + 64 * v));
            sums[v % 2] = add_four_blocks(products, factors, 4 * v, sums[v % 2]);
        }
    }
    return _mm512_reduce_add_ps(
        _mm512_fnmadd_ps(offsets, _mm512_set1_ps(32), _mm512_add_ps(sums[0], sums[1])));
}

float cpu_dot_iq4_xs_avx512_vnni(const uint8_t *const planes[], const void *prepared, uint64_t cols)
{
    struct int8_row x = int8_row_of(prepared, cols);
    __m512 sums[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m256 offsets = _mm256_setzero_ps();
    for (uint64_t s = 0; s < cols / 256; s++) {
        __m256 scales = int8_unpack_iq4_xs(planes[1] + 8 * s);
        offsets = _mm256_fmadd_ps(scales, _mm256_load_ps(x.sums32 + 8 * s), offsets);
        scales = _mm256_mul_ps(scales, _mm256_load_ps(x.scales + 8 * s));
        for (int k = 0; k < 2; k++) {
            struct half_blocks codes =
                look_up(int8_iq4_codes, split_nibbles(load_bytes(planes[0] + 128 * s + 64 * k)));
            sums[k] = add_four_blocks(multiply_half_blocks(codes, x.halves + 256 * s + 128 * k),
                                      _mm512_castps256_ps512(scales), 4 * k, sums[k]);
        }
    }
    return _mm512_reduce_add_ps(_mm512_fnmadd_ps(
        _mm512_zextps256_ps512(offsets), _mm512_set1_ps(128), _mm512_add_ps(sums[0], sums[1])));
}
