/* The vectors of tiles with AVX-512 (cpu_tile_unpack.h): 16 rows. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TILE_LANES 16

typedef uint32_t tile_words __attribute__((vector_size(64)));
typedef int32_t tile_ints __attribute__((vector_size(64)));
typedef float tile_floats __attribute__((vector_size(64)));

static inline __m512i load_lane(__m512i to, const uint8_t *bytes, const int lane)
{
    __m128i four = _mm_loadu_si128((const __m128i *)(const void *)bytes);
    return lane == 1   ? _mm512_inserti32x4(to, four, 1)
           : lane == 2 ? _mm512_inserti32x4(to, four, 2)
                       : _mm512_inserti32x4(to, four, 3);
}

/* In each lane of 128 bits, words of four rows become rows of four words. */
static inline void exchange_words(const __m512i r[4], __m512i words[4])
{
    __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpacklo_epi32(r[2], r[3]);
    __m512i c = _mm512_unpackhi_epi32(r[0], r[1]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    words[0] = _mm512_unpacklo_epi64(a, b);
    words[1] = _mm512_unpackhi_epi64(a, b);
    words[2] = _mm512_unpacklo_epi64(c, d);
    words[3] = _mm512_unpackhi_epi64(c, d);
}

/* Rows 0, 4, 8, 12 come into the lanes of one vector, 1, 5, 9, 13 into the next. */
static inline void tile_load_16(const uint8_t *const *rows, uint64_t offset, tile_words words[4])
{
    __m512i r[4], w[4];
    for (int k = 0; k < 4; k++) {
        r[k] = _mm512_castsi128_si512(
            _mm_loadu_si128((const __m128i *)(const void *)(rows[k] + offset)));
        r[k] = load_lane(r[k], rows[k + 4] + offset, 1);
        r[k] = load_lane(r[k], rows[k + 8] + offset, 2);
        r[k] = load_lane(r[k], rows[k + 12] + offset, 3);
    }
    exchange_words(r, w);
    for (int k = 0; k < 4; k++) {
        words[k] = (tile_words)w[k];
    }
}

/* Rows 0 and 4 share a vector, 1 and 5, and so on; then 8 and 12. */
static inline void tile_load_32(const uint8_t *const *rows, uint64_t offset, tile_words words[8])
{
    __m512i w[2][4];
    for (int half = 0; half < 2; half++) {
        __m512i r[4];
        for (int k = 0; k < 4; k++) {
            const uint8_t *first = rows[8 * half + k] + offset;
            const uint8_t *second = rows[8 * half + k + 4] + offset;
            r[k] = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)first));
            r[k] = _mm512_inserti64x4(r[k],
                                      _mm256_loadu_si256((const __m256i *)(const void *)second), 1);
        }
        exchange_words(r, w[half]);
    }
    for (int k = 0; k < 4; k++) {
        words[k] = (tile_words)_mm512_shuffle_i32x4(w[0][k], w[1][k], 0x88);
        words[k + 4] = (tile_words)_mm512_shuffle_i32x4(w[0][k], w[1][k], 0xDD);
    }
}

/* Whole cache lines, each read once: rows often lie at distances that share places in the cache. */
static inline void tile_load_64(const uint8_t *const *rows, uint64_t offset, tile_words words[16])
{
    __m512i w[4][4];
    for (int four = 0; four < 4; four++) {
        __m512i r[4];
        for (int k = 0; k < 4; k++) {
            r[k] = _mm512_loadu_si512(rows[4 * four + k] + offset);
        }
        exchange_words(r, w[four]);
    }
    for (int k = 0; k < 4; k++) {
        __m512i a = _mm512_shuffle_i32x4(w[0][k], w[1][k], 0x88);
        __m512i b = _mm512_shuffle_i32x4(w[2][k], w[3][k], 0x88);
        __m512i c = _mm512_shuffle_i32x4(w[0][k], w[1][k], 0xDD);
        __m512i d = _mm512_shuffle_i32x4(w[2][k], w[3][k], 0xDD);
        words[k] = (tile_words)_mm512_shuffle_i32x4(a, b, 0x88);
        words[k + 4] = (tile_words)_mm512_shuffle_i32x4(c, d, 0x88);
        words[k + 8] = (tile_words)_mm512_shuffle_i32x4(a, b, 0xDD);
        words[k + 12] = (tile_words)_mm512_shuffle_i32x4(c, d, 0xDD);
    }
}

static inline tile_words tile_load_4(const uint8_t *const *rows, uint64_t offset)
{
    tile_words words;
    for (int r = 0; r < TILE_LANES; r++) {
        uint32_t word;
        memcpy(&word, rows[r] + offset, sizeof(word));
        words[r] = word;
    }
    return words;
}

static inline void tile_load_8(const uint8_t *const *rows, uint64_t offset, tile_words words[2])
{
    words[0] = tile_load_4(rows, offset);
    words[1] = tile_load_4(rows, offset + 4);
}

static inline tile_words tile_load_2(const uint8_t *const *rows, uint64_t offset)
{
    tile_words words;
    for (int r = 0; r < TILE_LANES; r++) {
        uint16_t half;
        memcpy(&half, rows[r] + offset, sizeof(half));
        words[r] = half;
    }
    return words;
}

static inline tile_floats tile_halves(tile_words words)
{
    return (tile_floats)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)words));
}

static inline tile_words tile_look_up(const uint8_t table[16], tile_words words)
{
    __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (tile_words)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(codes), (__m512i)words);
}

static inline __mmask16 tile_first_lanes(uint64_t n)
{
    return (__mmask16)(n >= 16 ? 0xFFFFu : (1u << n) - 1);
}

/* Writes the first `n` lanes of sums to y, or adds them to what is there. (Stores through a mask
 * are slow on some processors.) */
static inline void tile_store(tile_floats sums, float *y, uint64_t n, bool add)
{
    if (n >= TILE_LANES) {
        __m512 before = add ? _mm512_loadu_ps(y) : _mm512_setzero_ps();
        _mm512_storeu_ps(y, _mm512_add_ps((__m512)sums, before));
        return;
    }
    __mmask16 mask = tile_first_lanes(n);
    __m512 before = add ? _mm512_maskz_loadu_ps(mask, y) : _mm512_setzero_ps();
    _mm512_mask_storeu_ps(y, mask, _mm512_add_ps((__m512)sums, before));
}
