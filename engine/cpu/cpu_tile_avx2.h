/* The vectors of tiles with AVX2 (cpu_tile_unpack.h): 8 rows. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TILE_LANES 8

typedef uint32_t tile_words __attribute__((vector_size(32)));
typedef int32_t tile_ints __attribute__((vector_size(32)));
typedef float tile_floats __attribute__((vector_size(32)));

static inline __m256i load_lanes(const uint8_t *lower, const uint8_t *upper)
{
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)lower);
    __m128i second = _mm_loadu_si128((const __m128i *)(const void *)upper);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

/* Rows 0 and 4 come into the lanes of one vector, 1 and 5 into the next; then words are exchanged
 * within lanes. */
static inline void tile_load_16(const uint8_t *const *rows, uint64_t offset, tile_words words[4])
{
    __m256i r[4];
    for (int k = 0; k < 4; k++) {
        r[k] = load_lanes(rows[k] + offset, rows[k + 4] + offset);
    }
    __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpacklo_epi32(r[2], r[3]);
    __m256i c = _mm256_unpackhi_epi32(r[0], r[1]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    words[0] = (tile_words)_mm256_unpacklo_epi64(a, b);
    words[1] = (tile_words)_mm256_unpackhi_epi64(a, b);
    words[2] = (tile_words)_mm256_unpacklo_epi64(c, d);
    words[3] = (tile_words)_mm256_unpackhi_epi64(c, d);
}

static inline void tile_load_32(const uint8_t *const *rows, uint64_t offset, tile_words words[8])
{
    tile_load_16(rows, offset, words);
    tile_load_16(rows, offset + 16, words + 4);
}

static inline void tile_load_64(const uint8_t *const *rows, uint64_t offset, tile_words words[16])
{
    tile_load_32(rows, offset, words);
    tile_load_32(rows, offset + 32, words + 8);
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
    const __m256i low = _mm256_set1_epi32(0xFFFF);
    __m256i packed = _mm256_packus_epi32(_mm256_and_si256((__m256i)words, low), low);
    packed = _mm256_permute4x64_epi64(packed, 0x08);
    return (tile_floats)_mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}

static inline tile_words tile_look_up(const uint8_t table[16], tile_words words)
{
    __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (tile_words)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(codes), (__m256i)words);
}

/* Writes the first `n` lanes of sums to y, or adds them to what is there. */
static inline void tile_store(tile_floats sums, float *y, uint64_t n, bool add)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(n < 8 ? (int)n : 8), lanes);
    __m256 before = add ? _mm256_maskload_ps(y, mask) : _mm256_setzero_ps();
    _mm256_maskstore_ps(y, mask, _mm256_add_ps((__m256)sums, before));
}
