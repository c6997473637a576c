/* q2_k, q4_k and q5_k: super-blocks of 256 elements in groups that have small whole scales and
 * lows of their own.
 *
 *     q2_k   16 groups g of 16:  y = (d scale[g]) n - (dmin low[g])   n in 0..3, 4-bit scale, low
 *            plane 0: pairs[64], plane 1: scale and low[16], plane 2: f16 d, f16 dmin
 *     q4_k   8 groups g of 32:   the same with n in 0..15, 6-bit scale, low
 *            plane 0: nibbles[128], plane 1: f16 d, f16 dmin, packed scales and lows[12]
 *     q5_k   as q4_k with n in 0..31
 *            plane 0: nibbles[128], plane 1: high bits[32], plane 2: f16 d, f16 dmin, packed[12]
 *
 * The order of the bits is ggml's; format/README.md draws it. This file packs and unpacks; what to
 * pack is decided in quant_k_search.c. */
#include <stddef.h>

#include "format/quant_codecs.h"
#include "format/quant_k_search.h"

#define BLOCK QUANT_K_BLOCK

/* ---- q2_k ---- */

static void decode_q2_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[2] + 4 * b));
        float dmin = f32_from_f16(quant_load_u16(planes[2] + 4 * b + 2));
        uint8_t codes[BLOCK];
        quant_unpack_pairs(planes[0] + 64 * b, codes);
        quant_unpack_pairs(planes[0] + 64 * b + 32, codes + 128);
        for (int g = 0; g < 16; g++) {
            uint8_t packed = planes[1][16 * b + g];
            float scale = d * (float)(packed & 15);
            float low = dmin * (float)(packed >> 4);
            float *y = values + BLOCK * b + 16 * g;
            for (int i = 0; i < 16; i++) {
                y[i] = scale * (float)codes[16 * g + i] - low;
            }
        }
    }
}

static void encode_q2_k(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_k_affine block;
        quant_search_q2_k(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), &block);
        for (int half = 0; half < 2; half++) {
            quant_pack_pairs(block.codes + 128 * half, planes[0] + 64 * b + 32 * half);
        }
        for (int g = 0; g < 16; g++) {
            planes[1][16 * b + g] = (uint8_t)(block.scales[g] | block.lows[g] << 4);
        }
        quant_store_u16(planes[2] + 4 * b, block.d);
        quant_store_u16(planes[2] + 4 * b + 2, block.dmin);
    }
    quant_pad_plane(planes[0], blocks, 64);
    quant_pad_plane(planes[1], blocks, 16);
    quant_pad_plane(planes[2], blocks, 4);
}

/* ---- q4_k and q5_k ---- */

/* The head of a block, 16 bytes: d, dmin and 12 bytes with scales and lows of groups 0..3 in the
 * low 6 bits of bytes 0..3 and 4..7; those of groups 4..7 as nibbles in bytes 8..11, their top two
 * bits above the others. */
struct head {
    float scales[8], lows[8]; /* times d, dmin */
};

static void unpack_head(const uint8_t bytes[16], struct head *head)
{
    float d = f32_from_f16(quant_load_u16(bytes));
    float dmin = f32_from_f16(quant_load_u16(bytes + 2));
    const uint8_t *packed = bytes + 4;
    for (int g = 0; g < 4; g++) {
        head->scales[g] = d * (float)(packed[g] & 63);
        head->lows[g] = dmin * (float)(packed[g + 4] & 63);
        head->scales[g + 4] = d * (float)((packed[g + 8] & 15) | packed[g] >> 6 << 4);
        head->lows[g + 4] = dmin * (float)(packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4);
    }
}

static void pack_head(const struct quant_k_affine *block, uint8_t bytes[16])
{
    const uint8_t *scales = block->scales, *lows = block->lows;
    uint8_t *packed = bytes + 4;
    quant_store_u16(bytes, block->d);
    quant_store_u16(bytes + 2, block->dmin);
    for (int g = 0; g < 4; g++) {
        packed[g] = (uint8_t)(scales[g] | scales[g + 4] >> 4 << 6);
        packed[g + 4] = (uint8_t)(lows[g] | lows[g + 4] >> 4 << 6);
        packed[g + 8] = (uint8_t)((scales[g + 4] & 15) | (lows[g + 4] & 15) << 4);
    }
}

/* Low nibbles of the codes of groups 2p and 2p + 1 in 32 bytes. */
static void pack_nibbles(const uint8_t codes[BLOCK], uint8_t nibbles[128])
{
    for (int pair = 0; pair < 4; pair++) {
        const uint8_t *even = codes + 64 * pair;
        for (int i = 0; i < 32; i++) {
            nibbles[32 * pair + i] = (uint8_t)((even[i] & 15) | (even[32 + i] & 15) << 4);
        }
    }
}

static void decode_q4_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        struct head head;
        unpack_head(planes[1] + 16 * b, &head);
        for (int g = 0; g < 8; g += 2) {
            const uint8_t *nibbles = planes[0] + 128 * b + 16 * g;
            float *y = values + BLOCK * b + 32 * g;
            float scale = head.scales[g], low = head.lows[g];
            for (int i = 0; i < 32; i++) {
                y[i] = scale * (float)(nibbles[i] & 15) - low;
            }
            scale = head.scales[g + 1], low = head.lows[g + 1];
            for (int i = 0; i < 32; i++) {
                y[32 + i] = scale * (float)(nibbles[i] >> 4) - low;
            }
        }
    }
}

static void encode_q4_k(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_k_affine block;
        quant_search_q4_k(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), &block);
        pack_nibbles(block.codes, planes[0] + 128 * b);
        pack_head(&block, planes[1] + 16 * b);
    }
    quant_pad_plane(planes[0], blocks, 128);
    quant_pad_plane(planes[1], blocks, 16);
}

static void decode_q5_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        struct head head;
        unpack_head(planes[2] + 16 * b, &head);
        const uint8_t *high = planes[1] + 32 * b; /* group g in bit g of all 32 bytes */
        for (int g = 0; g < 8; g += 2) {
            const uint8_t *nibbles = planes[0] + 128 * b + 16 * g;
            float *y = values + BLOCK * b + 32 * g;
            uint8_t even = (uint8_t)(1 << g), odd = (uint8_t)(2 << g);
            float scale = head.scales[g], low = head.lows[g];
            for (int i = 0; i < 32; i++) {
                int n = (nibbles[i] & 15) | (high[i] & even ? 16 : 0);
                y[i] = scale * (float)n - low;
            }
            scale = head.scales[g + 1], low = head.lows[g + 1];
            for (int i = 0; i < 32; i++) {
                int n = nibbles[i] >> 4 | (high[i] & odd ? 16 : 0);
                y[32 + i] = scale * (float)n - low;
            }
        }
    }
}

static void encode_q5_k(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_k_affine block;
        quant_search_q5_k(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), &block);
        pack_nibbles(block.codes, planes[0] + 128 * b);
        uint8_t *high = planes[1] + 32 * b;
        for (int i = 0; i < 32; i++) {
            int bits = 0;
            for (int g = 0; g < 8; g++) {
                bits |= block.codes[32 * g + i] >> 4 << g;
            }
            high[i] = (uint8_t)bits;
        }
        pack_head(&block, planes[2] + 16 * b);
    }
    quant_pad_plane(planes[0], blocks, 128);
    quant_pad_plane(planes[1], blocks, 32);
    quant_pad_plane(planes[2], blocks, 16);
}

const struct quant quant_codec_Q2_K = {decode_q2_k, encode_q2_k};
const struct quant quant_codec_Q4_K = {decode_q4_k, encode_q4_k};
const struct quant quant_codec_Q5_K = {decode_q5_k, encode_q5_k};
