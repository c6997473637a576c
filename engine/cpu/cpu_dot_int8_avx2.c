/* Activations as int8, with AVX2. */
#include "engine/cpu/cpu_dot_avx2.h"

uint64_t cpu_int8_bytes_avx2(uint64_t cols)
{
    uint64_t padded = int8_padded(cols);
    return 3 * padded + (padded / 32 + padded / 16 + padded / 32) * sizeof(float) +
           (padded / 16 + padded / 32) * sizeof(int32_t) +
           (padded / 16 + padded / 8) * sizeof(int16_t) + padded / 16 * sizeof(float);
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

/* Where the numbers of one block go. */
struct block {
    int8_t *q, *halves, *alternate;
    float *scale, *sums16, *sums32;
    int32_t *shifts16, *shifts32;
    int16_t *short_sums, *offsets;
    float *twice;
};

static void prepare_block(const float *source, struct block to)
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
    _mm256_store_si256((__m256i *)(void *)to.q, packed);
    _mm_store_si128((__m128i *)(void *)to.halves, _mm256_castsi256_si128(packed));
    _mm_store_si128((__m128i *)(void *)(to.halves + 64), _mm256_extracti128_si256(packed, 1));
    _mm_store_si128((__m128i *)(void *)to.alternate, _mm256_castsi256_si128(packed));
    _mm_store_si128((__m128i *)(void *)(to.alternate + 64), _mm256_extracti128_si256(packed, 1));
    __m256i sums =
        _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), packed), _mm256_set1_epi16(1));
    __m256i eights = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4E));
    eights = _mm256_slli_epi16(_mm256_packs_epi32(eights, eights), 5);
    memcpy(to.offsets, &(int32_t){_mm256_extract_epi32(eights, 0)}, sizeof(int32_t));
    memcpy(to.offsets + 8, &(int32_t){_mm256_extract_epi32(eights, 4)}, sizeof(int32_t));
    sums = _mm256_hadd_epi32(sums, sums);
    sums = _mm256_hadd_epi32(sums, sums);
    int32_t first = _mm256_extract_epi32(sums, 0), second = _mm256_extract_epi32(sums, 4);
    to.short_sums[0] = (int16_t)first;
    to.short_sums[1] = (int16_t)second;
    *to.scale = to.twice[0] = to.twice[4] = d;
    to.sums16[0] = d * (float)first;
    to.sums16[1] = d * (float)second;
    *to.sums32 = to.sums16[0] + to.sums16[1];
    to.shifts16[0] = -128 * first;
    to.shifts16[1] = -128 * second;
    *to.shifts32 = -128 * (first + second);
}

void cpu_int8_prepare_avx2(const float *x, uint64_t cols, void *prepared)
{
    struct int8_row row = int8_row_of(prepared, cols);
    int8_t *q = prepared;
    int8_t *halves = (int8_t *)row.halves;
    int8_t *alternate = (int8_t *)row.alternate;
    int16_t *short_sums = (int16_t *)row.short_sums;
    int16_t *offsets = (int16_t *)row.offsets;
    float *twice = (float *)row.twice;
    float *scales = (float *)row.scales;
    float *sums16 = (float *)row.sums16;
    float *sums32 = (float *)row.sums32;
    int32_t *shifts16 = (int32_t *)row.shifts16;
    int32_t *shifts32 = (int32_t *)row.shifts32;
    uint64_t blocks = cols / 32, padded = int8_padded(cols) / 32;
    uint64_t last_four = blocks / 4 * 4;
    memset(halves + 32 * last_four, 0, 32 * (padded - last_four));
    for (uint64_t b = 0; b < blocks; b++) {
        prepare_block(x + 32 * b,
                      (struct block){
                          .q = q + 32 * b,
                          .halves = halves + 128 * (b / 4) + 16 * (b % 4),
                          .alternate = alternate + 256 * (b / 8) + 128 * (b % 2) + 16 * (b % 8 / 2),
                          .scale = scales + b,
                          .sums16 = sums16 + 2 * b,
                          .sums32 = sums32 + b,
                          .shifts16 = shifts16 + 2 * b,
                          .shifts32 = shifts32 + b,
                          .short_sums = short_sums + 2 * b,
                          .offsets = offsets + 32 * (b / 8) + 16 * (b % 2) + 2 * (b % 8 / 2),
                          .twice = twice + 16 * (b / 8) + 8 * (b % 2) + b % 8 / 2,
                      });
    }
    memset(q + 32 * blocks, 0, 32 * (padded - blocks));
    memset(scales + blocks, 0, (padded - blocks) * sizeof(float));
    memset(sums16 + 2 * blocks, 0, 2 * (padded - blocks) * sizeof(float));
    memset(sums32 + blocks, 0, (padded - blocks) * sizeof(float));
    memset(shifts16 + 2 * blocks, 0, 2 * (padded - blocks) * sizeof(int32_t));
    memset(shifts32 + blocks, 0, (padded - blocks) * sizeof(int32_t));
    memset(short_sums + 2 * blocks, 0, 2 * (padded - blocks) * sizeof(int16_t));
}
