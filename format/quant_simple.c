/* Blocks of 32 elements with one f16 scale d, in the types that end in 1 also an f16 offset m.
 *
 *     q8_0   plane 0: int8 q[32]                            y = d q
 *     q4_0   plane 0: nibbles[16]                           y = d (n - 8)
 *     q4_1   plane 0: nibbles[16]                           y = d n + m
 *     q5_0   plane 0: nibbles[16], plane 1: high bits[4]    y = d (n - 16)
 *     q5_1   plane 0: nibbles[16], plane 1: high bits[4]    y = d n + m
 *
 * and d (and m) in the last plane. A nibble plane holds element k in the low half of byte k,
 * element k + 16 in the high half; high bit i of the 32 belongs to element i.
 *
 * Without importance, encoding is ggml's rule: d from the largest magnitude (or the range), stored
 * as f16; the codes are computed with d before that rounding. With importance, scale and offset are
 * searched (quant_search.h), and the codes made from what is stored; q8_0 is fine enough without.
 */
#include <stddef.h>

#include "format/quant_codecs.h"
#include "format/quant_search.h"

#define BLOCK 32

/* ---- q8_0 ---- */

static void decode_q8_0(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[1] + 2 * b));
        const int8_t *codes = (const int8_t *)planes[0] + BLOCK * b;
        for (int i = 0; i < BLOCK; i++) {
            values[BLOCK * b + i] = d * codes[i];
        }
    }
}

static void encode_block_q8_0(const float *values, uint8_t *codes, uint8_t *scale)
{
    float x[BLOCK];
    quant_clean(values, BLOCK, -127 * QUANT_F16_MAX, 127 * QUANT_F16_MAX, x);
    float d = fabsf(quant_extreme(x, BLOCK)) / 127;
    float inverse = quant_inverse(d);
    for (int i = 0; i < BLOCK; i++) {
        float scaled = x[i] * inverse;
        int whole = (int)scaled;
        float rest = scaled - (float)whole; /* exact: halves round away from zero */
        codes[i] = (uint8_t)(int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
    quant_store_u16(scale, f16_from_f32(d));
}

static void encode_q8_0(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        encode_block_q8_0(values + BLOCK * b, planes[0] + BLOCK * b, planes[1] + 2 * b);
    }
    quant_pad_plane(planes[0], blocks, BLOCK);
    quant_pad_plane(planes[1], blocks, 2);
}

/* ---- what to store for a block of the others ---- */

struct simple_block {
    uint16_t d, m;
    uint8_t codes[BLOCK];
};

/* y = d (n - half), n below 2 half. */
QUANT_INLINE void search_symmetric(const float *values, const float *importance, int half,
                                   struct simple_block *block)
{
    float x[BLOCK], w[BLOCK];
    float limit = (float)half * QUANT_F16_MAX;
    quant_clean(values, BLOCK, -limit, limit, x);
    float factor = quant_importance_factor(importance, BLOCK);
    float d, inverse;
    if (factor > 0) {
        quant_weigh(x, importance, factor, BLOCK, w);
        struct quant_ladder ladder = {(float)half - 1.5f, 0.2f, 12};
        d = quant_search_symmetric(x, w, BLOCK, (float)-half, (float)(half - 1), ladder);
        block->d = f16_from_f32(quant_clamp(d, -QUANT_F16_MAX, QUANT_F16_MAX));
        inverse = quant_inverse(f32_from_f16(block->d));
    } else {
        d = quant_extreme(x, BLOCK) / (float)-half; /* code 0 reaches further than the last one */
        block->d = f16_from_f32(d);
        inverse = quant_inverse(d);
    }
    for (int i = 0; i < BLOCK; i++) {
        float scaled = quant_clamp(x[i] * inverse + ((float)half + 0.5f), 0, (float)(2 * half - 1));
        block->codes[i] = (uint8_t)scaled;
    }
}

/* y = d n + m, n to most. */
QUANT_INLINE void search_affine(const float *values, const float *importance, int most,
                                struct simple_block *block)
{
    float x[BLOCK], w[BLOCK];
    float lowest, highest;
    quant_clean(values, BLOCK, -QUANT_F16_MAX, (float)most * QUANT_F16_MAX, x);
    quant_range(x, BLOCK, &lowest, &highest);
    float factor = quant_importance_factor(importance, BLOCK);
    factor = lowest > -QUANT_F16_MAX && highest < QUANT_F16_MAX ? factor : 0;
    lowest = lowest > QUANT_F16_MAX ? QUANT_F16_MAX : lowest;
    struct quant_affine_fit fit = {(highest - lowest) / (float)most, lowest};
    if (factor > 0) {
        quant_weigh(x, importance, factor, BLOCK, w);
        struct quant_ladder ladder = {(float)most - 1.5f, 0.2f, 12};
        fit = quant_search_affine(x, w, BLOCK, (float)most, false, ladder);
    }
    fit.scale = quant_clamp(fit.scale, 0, QUANT_F16_MAX);
    fit.offset = quant_clamp(fit.offset, -QUANT_F16_MAX, QUANT_F16_MAX);
    block->d = f16_from_f32(fit.scale);
    block->m = f16_from_f32(fit.offset);
    if (factor > 0) {
        fit.scale = f32_from_f16(block->d);
        fit.offset = f32_from_f16(block->m);
    }
    float inverse = quant_inverse(fit.scale);
    for (int i = 0; i < BLOCK; i++) {
        float scaled = quant_clamp((x[i] - fit.offset) * inverse + 0.5f, 0, (float)most);
        block->codes[i] = (uint8_t)scaled;
    }
}

static uint32_t pack_high_bits(const uint8_t codes[BLOCK])
{
    uint32_t bits = 0;
    for (int i = 0; i < BLOCK; i++) {
        bits |= (uint32_t)(codes[i] >> 4) << i;
    }
    return bits;
}

static void store_u32(uint8_t *bytes, uint32_t value)
{
    quant_store_u16(bytes, (uint16_t)value);
    quant_store_u16(bytes + 2, (uint16_t)(value >> 16));
}

/* ---- q4_0, q4_1 ---- */

static void decode_q4_0(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[1] + 2 * b));
        const uint8_t *nibbles = planes[0] + BLOCK / 2 * b;
        float *y = values + BLOCK * b;
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i] = d * (float)((nibbles[i] & 15) - 8);
        }
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i + BLOCK / 2] = d * (float)((nibbles[i] >> 4) - 8);
        }
    }
}

static void encode_q4_0(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct simple_block block;
        search_symmetric(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), 8, &block);
        quant_pack_halves(block.codes, planes[0] + BLOCK / 2 * b);
        quant_store_u16(planes[1] + 2 * b, block.d);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 2);
}

static void decode_q4_1(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[1] + 4 * b));
        float m = f32_from_f16(quant_load_u16(planes[1] + 4 * b + 2));
        const uint8_t *nibbles = planes[0] + BLOCK / 2 * b;
        float *y = values + BLOCK * b;
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i] = d * (float)(nibbles[i] & 15) + m;
        }
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i + BLOCK / 2] = d * (float)(nibbles[i] >> 4) + m;
        }
    }
}

static void encode_q4_1(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct simple_block block;
        search_affine(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), 15, &block);
        quant_pack_halves(block.codes, planes[0] + BLOCK / 2 * b);
        quant_store_u16(planes[1] + 4 * b, block.d);
        quant_store_u16(planes[1] + 4 * b + 2, block.m);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 4);
}

/* ---- q5_0, q5_1 ---- */

/* All 32 codes of a block. */
static inline void unpack_q5(const uint8_t nibbles[16], const uint8_t high[4], uint8_t codes[BLOCK])
{
    for (int i = 0; i < BLOCK; i++) {
        codes[i] = (uint8_t)((high[i / 8] >> i % 8 & 1) << 4);
    }
    for (int i = 0; i < BLOCK / 2; i++) {
        codes[i] |= nibbles[i] & 15;
        codes[i + BLOCK / 2] |= nibbles[i] >> 4;
    }
}

static void decode_q5_0(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[2] + 2 * b));
        uint8_t codes[BLOCK];
        unpack_q5(planes[0] + BLOCK / 2 * b, planes[1] + 4 * b, codes);
        for (int i = 0; i < BLOCK; i++) {
            values[BLOCK * b + i] = d * (float)(codes[i] - 16);
        }
    }
}

static void encode_q5_0(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct simple_block block;
        search_symmetric(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), 16,
                         &block);
        quant_pack_halves(block.codes, planes[0] + BLOCK / 2 * b);
        store_u32(planes[1] + 4 * b, pack_high_bits(block.codes));
        quant_store_u16(planes[2] + 2 * b, block.d);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 4);
    quant_pad_plane(planes[2], blocks, 2);
}

static void decode_q5_1(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[2] + 4 * b));
        float m = f32_from_f16(quant_load_u16(planes[2] + 4 * b + 2));
        uint8_t codes[BLOCK];
        unpack_q5(planes[0] + BLOCK / 2 * b, planes[1] + 4 * b, codes);
        for (int i = 0; i < BLOCK; i++) {
            values[BLOCK * b + i] = d * (float)codes[i] + m;
        }
    }
}

static void encode_q5_1(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct simple_block block;
        search_affine(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), 31, &block);
        quant_pack_halves(block.codes, planes[0] + BLOCK / 2 * b);
        store_u32(planes[1] + 4 * b, pack_high_bits(block.codes));
        quant_store_u16(planes[2] + 4 * b, block.d);
        quant_store_u16(planes[2] + 4 * b + 2, block.m);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 4);
    quant_pad_plane(planes[2], blocks, 4);
}

const struct quant quant_codec_Q8_0 = {decode_q8_0, encode_q8_0};
const struct quant quant_codec_Q4_0 = {decode_q4_0, encode_q4_0};
const struct quant quant_codec_Q4_1 = {decode_q4_1, encode_q4_1};
const struct quant quant_codec_Q5_0 = {decode_q5_0, encode_q5_0};
const struct quant quant_codec_Q5_1 = {decode_q5_1, encode_q5_1};
