/* The vectors of tiles with NEON (cpu_tile_unpack.h): 4 rows. */
#pragma once

#include <arm_neon.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define TILE_LANES 4

typedef uint32_t tile_words __attribute__((vector_size(16)));
typedef int32_t tile_ints __attribute__((vector_size(16)));
typedef float tile_floats __attribute__((vector_size(16)));

/* Words of four rows, transposed. */
static inline void tile_load_16(const uint8_t *const *rows, uint64_t offset, tile_words words[4])
{
    uint32x4_t r[4];
    for (int k = 0; k < 4; k++) {
        r[k] = vreinterpretq_u32_u8(vld1q_u8(rows[k] + offset));
    }
    uint64x2_t a = vreinterpretq_u64_u32(vzip1q_u32(r[0], r[1]));
    uint64x2_t b = vreinterpretq_u64_u32(vzip1q_u32(r[2], r[3]));
    uint64x2_t c = vreinterpretq_u64_u32(vzip2q_u32(r[0], r[1]));
    uint64x2_t d = vreinterpretq_u64_u32(vzip2q_u32(r[2], r[3]));
    words[0] = (tile_words)vzip1q_u64(a, b);
    words[1] = (tile_words)vzip2q_u64(a, b);
    words[2] = (tile_words)vzip1q_u64(c, d);
    words[3] = (tile_words)vzip2q_u64(c, d);
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
    return (tile_floats)vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32((uint32x4_t)words)));
}

static inline tile_words tile_look_up(const uint8_t table[16], tile_words words)
{
    return (tile_words)vqtbl1q_u8(vld1q_u8(table), (uint8x16_t)words);
}

/* Writes the first `n` lanes of sums to y, or adds them to what is there. */
static inline void tile_store(tile_floats sums, float *y, uint64_t n, bool add)
{
    if (n >= TILE_LANES) {
        float32x4_t all = (float32x4_t)sums;
        vst1q_f32(y, add ? vaddq_f32(all, vld1q_f32(y)) : all);
        return;
    }
    for (uint64_t r = 0; r < n; r++) {
        y[r] = add ? y[r] + sums[r] : sums[r];
    }
}
