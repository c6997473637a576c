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

/* The same with a place for each half. */
static inline __m512i move_bits_apart(__m512i bytes, int lower, int lower_to, int upper,
                                      int upper_to)
{
    return _mm512_rorv_epi64(bytes, set_halves((lower - lower_to) & 63, (upper - upper_to) & 63));
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

/* ---- q4_k and q5_k: groups 2 p and 2 p + 1 are the nibbles of 32 bytes ---- */

/* The 128 bytes of nibbles of a super-block, where `alternate` has the activations: the first, and
 * the second, 16 bytes of groups 0, 2, 4, 6 (low nibbles) and 1, 3, 5, 7 (high ones). */
static inline struct half_blocks load_nibbles(const uint8_t *bytes)
{
    __m512i lower = load_bytes(bytes), upper = load_bytes(bytes + 64);
    return (struct half_blocks){_mm512_shuffle_i64x2(lower, upper, 0x88),
                                _mm512_shuffle_i64x2(lower, upper, 0xDD)};
}

static inline __m512i multiply_halves(__m512i first, __m512i second, const int8_t *x)
{
    return _mm512_dpbusd_epi32(multiply_unsigned(first, load_bytes(x)), second, load_bytes(x + 64));
}

/* Adds sums * factors of groups 0, 2, 4, 6 or, if odd, 1, 3, 5, 7. */
static inline __m512 add_alternate(__m512i sums, __m512 factors, int first, __m512 to)
{
    __m512i index =
        _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6),
                         _mm512_set1_epi32(first));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_permutexvar_ps(index, factors), to);
}

/* The fields of 16 bytes are in this plane. */
static inline struct factors factors_of_32(const struct two_steps *two, uint32_t plane)
{
    const uint8_t *field_0 = two->planes[0][plane] + 16 * two->steps[0];
    const uint8_t *field_1 = two->planes[1][plane] + 16 * two->steps[1];
    __m128i first = int8_unpack_k(field_0), second = int8_unpack_k(field_1);
    __m512 halves = load_two_halves(field_0, field_1);
    __m512 d = spread_halves(halves, 0), dmin = spread_halves(halves, 1);
    __m512 scales = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_unpacklo_epi64(first, second)));
    __m512 minima = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_unpackhi_epi64(first, second)));
    return (struct factors){_mm512_mul_ps(_mm512_mul_ps(scales, d), two->x_scales),
                            _mm512_mul_ps(_mm512_mul_ps(minima, dmin), two->x_sums)};
}

/* Factors of odd groups are divided by 16, for their codes are that too large. */
static inline struct factors factors_q4_k(const struct two_steps *two, uint64_t cols)
{
    struct factors factors = factors_of_32(two, 1);
    factors.scales =
        _mm512_mask_mul_ps(factors.scales, 0xAAAA, factors.scales, _mm512_set1_ps(0x1p-4f));
    return factors;
}

/* High nibbles stay at their places in the bytes. */
static inline void multiply_q4_k(const uint8_t *const planes[], struct int8_row x, uint64_t s,
                                 uint64_t cols, __m512 scales, int lane, __m512 sums[2])
{
    const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8(-16);
    const int8_t *q = x.alternate + STEP * s;
    struct half_blocks bytes = load_nibbles(planes[0] + 128 * s);
    __m512i even =
        multiply_halves(_mm512_and_si512(bytes.first, low), _mm512_and_si512(bytes.second, low), q);
    __m512i odd = multiply_halves(_mm512_and_si512(bytes.first, high),
                                  _mm512_and_si512(bytes.second, high), q + 128);
    sums[0] = add_alternate(even, scales, lane, sums[0]);
    sums[1] = add_alternate(odd, scales, lane + 1, sums[1]);
}

DOT_OF_STEPS(q4_k, -1, 128, 0)

/* Bit 2 k + odd of every byte of quarter k to bit 4, where the others are to be masked. */
static inline __m512i move_high_bits(__m512i bytes, int odd)
{
    const __m512i even_turns = _mm512_setr_epi64(60, 60, 62, 62, 0, 0, 2, 2);
    const __m512i odd_turns = _mm512_setr_epi64(61, 61, 63, 63, 1, 1, 3, 3);
    return _mm512_rorv_epi64(bytes, odd ? odd_turns : even_turns);
}

/* Codes of q5_k of the even groups or the odd ones. */
static inline struct half_blocks codes_q5_k(struct half_blocks bytes, struct half_blocks high,
                                            int odd)
{
    struct half_blocks nibbles = bytes;
    if (odd) {
        nibbles.first = _mm512_srli_epi16(bytes.first, 4);
        nibbles.second = _mm512_srli_epi16(bytes.second, 4);
    }
    const __m512i mask = _mm512_set1_epi8(15);
    return (struct half_blocks){
        or_masked(_mm512_and_si512(nibbles.first, mask), move_high_bits(high.first, odd), 16),
        or_masked(_mm512_and_si512(nibbles.second, mask), move_high_bits(high.second, odd), 16)};
}

static inline struct factors factors_q5_k(const struct two_steps *two, uint64_t cols)
{
    return factors_of_32(two, 2);
}

static inline void multiply_q5_k(const uint8_t *const planes[], struct int8_row x, uint64_t s,
                                 uint64_t cols, __m512 scales, int lane, __m512 sums[2])
{
    struct half_blocks bytes = load_nibbles(planes[0] + 128 * s);
    const uint8_t *bits = planes[1] + 32 * s;
    struct half_blocks high = {_mm512_broadcast_i32x4(int8_load_16(bits)),
                               _mm512_broadcast_i32x4(int8_load_16(bits + 16))};
    for (int odd = 0; odd < 2; odd++) {
        struct half_blocks codes = codes_q5_k(bytes, high, odd);
        __m512i products =
            multiply_halves(codes.first, codes.second, x.alternate + STEP * s + 128 * odd);
        sums[odd] = add_alternate(products, scales, lane + odd, sums[odd]);
    }
}

DOT_OF_STEPS(q5_k, -1, 128, 32)

/* ---- groups of 16: q2_k, q3_k, q6_k ---- */

/* Products of a super-block, added up in eights: two sums of 16 bits for each group, those of
 * groups k, k + 4, k + 8, k + 12 in quarter k. */
static inline __m512i sums_of_8(const __m512i codes[4], const int8_t *q)
{
    __m512i a = _mm512_packs_epi32(multiply_unsigned(codes[0], load_bytes(q)),
                                   multiply_unsigned(codes[1], load_bytes(q + 64)));
    __m512i b = _mm512_packs_epi32(multiply_unsigned(codes[2], load_bytes(q + 128)),
                                   multiply_unsigned(codes[3], load_bytes(q + 192)));
    __m512 even = _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0x88);
    __m512 odd = _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0xDD);
    return _mm512_add_epi16(_mm512_castps_si512(even), _mm512_castps_si512(odd));
}

/* The scales of groups, the same 16 signed bytes in every quarter, for these sums: each twice,
 * times 256. */
static inline __m512i spread_scales(__m512i bytes)
{
    const __m512i first =
        _mm512_broadcast_i32x4(_mm_setr_epi32(0x00800080, 0x04800480, 0x08800880, 0x0C800C80));
    const __m512i quarter =
        _mm512_setr_epi64(0, 0, 0x0100010001000100, 0x0100010001000100, 0x0200020002000200,
                          0x0200020002000200, 0x0300030003000300, 0x0300030003000300);
    return _mm512_shuffle_epi8(bytes, _mm512_add_epi8(first, quarter));
}

/* sums * scales * scales of activations (`twice`). */
static inline __m512 scale_sums(__m512i sums, __m512i scales, const float *x_scales)
{
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(sums, scales)),
                         _mm512_load_ps(x_scales));
}

/* Sums of 16 signed bytes times sums of activations, exact, times scales of activations. */
static inline __m256 scale_minima(__m128i bytes, const int16_t *short_sums, const float *x_scales)
{
    __m256i sums = _mm256_load_si256((const __m256i *)(const void *)short_sums);
    sums = _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), sums);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_load_ps(x_scales));
}

/* sum * factor - minima: the end of a row. */
static inline __m512 minus_minima(__m512 sum, float factor, __m256 minima)
{
    return _mm512_fmadd_ps(sum, _mm512_set1_ps(factor),
                           _mm512_sub_ps(_mm512_setzero_ps(), _mm512_zextps256_ps512(minima)));
}

/* Codes of odd blocks stay two bits higher in the bytes, so they are 4 times too large. */
static inline void load_codes_q2_k(const uint8_t *pairs, __m512i codes[4])
{
    for (int half = 0; half < 2; half++) {
        __m512i bytes = load_twice(pairs + 32 * half);
        codes[2 * half] = and_halves(bytes, 0x03, 0x0C);
        codes[2 * half + 1] = and_halves(_mm512_srli_epi16(bytes, 4), 0x03, 0x0C);
    }
}

static __m512 row_q2_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    const __m512i even_times_4 = _mm512_set1_epi32(0x00010004);
    __m512 sum = _mm512_setzero_ps();
    __m256 minimum = _mm256_setzero_ps();
    for (uint64_t s = 0; s < cols / STEP; s++) {
        int8_prefetch_near(planes[0] + 64 * s, INT8_STEPS_NEAR * 64);
        __m512i codes[4];
        load_codes_q2_k(planes[0] + 64 * s, codes);
        __m128i bytes = int8_load_16(planes[1] + 16 * s);
        __m512i scales = _mm512_and_si512(_mm512_broadcast_i32x4(bytes), _mm512_set1_epi8(15));
        scales = spread_scales(_mm512_mullo_epi16(scales, even_times_4));
        __m512 dot = scale_sums(sums_of_8(codes, x.q + STEP * s), scales, x.twice + 16 * s);
        __m512 halves = load_half_pairs(planes[2] + 4 * s);
        sum = _mm512_fmadd_ps(dot, _mm512_moveldup_ps(halves), sum);
        bytes = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
        __m256 minima = scale_minima(bytes, x.short_sums + 16 * s, x.scales + 8 * s);
        __m256 dmin = _mm256_movehdup_ps(_mm512_castps512_ps256(halves));
        minimum = _mm256_fmadd_ps(minima, dmin, minimum);
    }
    return minus_minima(sum, 0x1p-10f, minimum);
}

DOT_OF_ROW(q2_k)

static __m512 row_q3_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    const __m512i even_times_4 = _mm512_setr_epi64(
        0x0004000400040004, 0x0004000400040004, 0x0004000400040004, 0x0004000400040004,
        0x0001000100010001, 0x0001000100010001, 0x0001000100010001, 0x0001000100010001);
    __m512 sum = _mm512_setzero_ps();
    _Alignas(32) float d[8];
    __m256 minimum = _mm256_setzero_ps();
    for (uint64_t s = 0; s < cols / STEP; s++) {
        if (s % 8 == 0) {
            int8_load_8_halves(planes[3] + 2 * s, d);
        }
        int8_prefetch_near(planes[0] + 64 * s, INT8_STEPS_NEAR * 64);
        __m512i codes[4], high = load_twice(planes[1] + 32 * s);
        load_codes_q2_k(planes[0] + 64 * s, codes);
        for (int v = 0; v < 4; v++) {
            /* The third bit comes to bit 2, or 4 in odd blocks. */
            __m512i moved = move_bits_apart(high, 2 * v, 2, 2 * v + 1, 4);
            codes[v] = _mm512_ternarylogic_epi64(
                codes[v], moved, set_halves(0x0404040404040404, 0x1010101010101010), 0xF8);
        }
        __m128i bytes = int8_unpack_q3_k(planes[2] + 12 * s);
        __m512i scales = spread_scales(_mm512_broadcast_i32x4(bytes));
        scales = _mm512_mullo_epi16(scales, even_times_4);
        __m512 dot = scale_sums(sums_of_8(codes, x.q + STEP * s), scales, x.twice + 16 * s);
        sum = _mm512_fmadd_ps(dot, _mm512_set1_ps(d[s % 8]), sum);
        __m256 minima = scale_minima(bytes, x.short_sums + 16 * s, x.scales + 8 * s);
        minimum = _mm256_fmadd_ps(minima, _mm256_set1_ps(d[s % 8]), minimum);
    }
    return minus_minima(sum, 0x1p-10f, _mm256_mul_ps(minimum, _mm256_set1_ps(4)));
}

DOT_OF_ROW(q3_k)

static inline void load_codes_q6_k(const uint8_t *nibbles, const uint8_t *pairs, __m512i codes[4])
{
    for (int half = 0; half < 2; half++) {
        __m512i low = load_bytes(nibbles + 64 * half);
        __m512i high = load_twice(pairs + 32 * half);
        codes[2 * half] = or_masked(and_halves(low, 15, 15), move_bits(high, 0, 2, 4), 0x30);
        low = _mm512_srli_epi16(low, 4);
        codes[2 * half + 1] = or_masked(and_halves(low, 15, 15), move_bits(high, 4, 6, 4), 0x30);
    }
}

/* With the offset taken off, sums fit into 16 bits; before, modulo 2^16. */
static __m512 row_q6_k(const uint8_t *const planes[], struct int8_row x, uint64_t cols)
{
    __m512 sum = _mm512_setzero_ps();
    _Alignas(32) float d[8];
    for (uint64_t s = 0; s < cols / STEP; s++) {
        if (s % 8 == 0) {
            int8_load_8_halves(planes[3] + 2 * s, d);
        }
        prefetch_plane(planes[0], s, 1, 128);
        prefetch_plane(planes[1], s, 1, 64);
        __m512i codes[4];
        load_codes_q6_k(planes[0] + 128 * s, planes[1] + 64 * s, codes);
        __m512i offsets = load_bytes(x.offsets + 32 * s);
        __m512i sums = _mm512_sub_epi16(sums_of_8(codes, x.q + STEP * s), offsets);
        __m512i scales = spread_scales(_mm512_broadcast_i32x4(int8_load_16(planes[2] + 16 * s)));
        __m512 dot = scale_sums(sums, scales, x.twice + 16 * s);
        sum = _mm512_fmadd_ps(dot, _mm512_set1_ps(d[s % 8]), sum);
    }
    return _mm512_mul_ps(sum, _mm512_set1_ps(0x1p-8f));
}

DOT_OF_ROW(q6_k)

/* ---- iq4_xs ---- */

static inline struct factors factors_iq4_xs(const struct two_steps *two, uint64_t cols)
{
    __m256 first = int8_unpack_iq4_xs(two->planes[0][1] + 8 * two->steps[0]);
    __m256 second = int8_unpack_iq4_xs(two->planes[1][1] + 8 * two->steps[1]);
    __m512 scales = _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1);
    return (struct factors){_mm512_mul_ps(scales, two->x_scales),
                            _mm512_mul_ps(scales, two->x_sums)};
}

static inline void multiply_iq4_xs(const uint8_t *const planes[], struct int8_row x, uint64_t s,
                                   uint64_t cols, __m512 factors, int lane, __m512 sums[2])
{
    for (int k = 0; k < 2; k++) {
        struct half_blocks codes =
            look_up(int8_iq4_codes, split_nibbles(load_bytes(planes[0] + 128 * s + 64 * k)));
        __m512i products = multiply_half_blocks(codes, x.halves + STEP * s + 128 * k);
        sums[k] = add_four_blocks(products, factors, lane + 4 * k, sums[k]);
    }
}

DOT_OF_STEPS(iq4_xs, -128, 128, 0)
