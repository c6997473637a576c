/* q3_k and q6_k: super-blocks of 256 elements in 16 groups that have small signed scales of their
 * own.
 *
 *     q3_k   y = (d scale[g]) q          q in -4..3, scale in -32..31
 *            plane 0: low pairs[64], plane 1: high bits[32], plane 2: packed scales[12], plane 3:
 *            f16 d
 *     q6_k   y = (d scale[g]) q          q in -32..31, int8 scale
 *            plane 0: low nibbles[128], plane 1: high pairs[64], plane 2: scales[16], plane 3:
 *            f16 d
 *
 * The order of the bits is ggml's; format/README.md draws it. This file packs and unpacks; what to
 * pack is decided in quant_k_search.c. */
#include <stddef.h>

#include "format/quant_codecs.h"
#include "format/quant_k_search.h"

#define BLOCK QUANT_K_BLOCK

/* ---- q3_k ---- */

/* 6 bits a group, plus 32: the low four in a nibble of bytes 0..7, the high two in a quarter of
 * bytes 8..11. */
static void unpack_scales_q3_k(const uint8_t packed[12], int scales[16])
{
    for (int g = 0; g < 16; g++) {
        int low = packed[g % 8] >> 4 * (g / 8) & 15;
        int high = packed[8 + g % 4] >> 2 * (g / 4) & 3;
        scales[g] = (low | high << 4) - 32;
    }
}

static void pack_scales_q3_k(const int8_t scales[16], uint8_t packed[12])
{
    memset(packed, 0, 12);
    for (int g = 0; g < 16; g++) {
        int code = scales[g] + 32;
        packed[g % 8] |= (uint8_t)((code & 15) << 4 * (g / 8));
        packed[8 + g % 4] |= (uint8_t)(code >> 4 << 2 * (g / 4));
    }
}

static void decode_q3_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[3] + 2 * b));
        int scales[16];
        unpack_scales_q3_k(planes[2] + 12 * b, scales);
        for (int g = 0; g < 16; g++) {
            /* Runs of 32 elements: bits 2 k of 32 bytes below, bit `run` of all 32 bytes above. */
            int run = g / 2, shift = 2 * (run % 4);
            const uint8_t *pairs = planes[0] + 64 * b + 32 * (run / 4) + 16 * (g % 2);
            const uint8_t *high = planes[1] + 32 * b + 16 * (g % 2);
            float scale = d * (float)scales[g];
            float *y = values + BLOCK * b + 16 * g;
            for (int i = 0; i < 16; i++) {
                int q = ((pairs[i] >> shift & 3) | (high[i] >> run & 1) << 2) - 4;
                y[i] = scale * (float)q;
            }
        }
    }
}

static void encode_q3_k(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_k_symmetric block;
        quant_search_q3_k(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), &block);
        for (int half = 0; half < 2; half++) {
            quant_pack_pairs(block.codes + 128 * half, planes[0] + 64 * b + 32 * half);
        }
        uint8_t *high = planes[1] + 32 * b;
        for (int i = 0; i < 32; i++) {
            int bits = 0;
            for (int run = 0; run < 8; run++) {
                bits |= block.codes[32 * run + i] >> 2 << run;
            }
            high[i] = (uint8_t)bits;
        }
        pack_scales_q3_k(block.scales, planes[2] + 12 * b);
        quant_store_u16(planes[3] + 2 * b, block.d);
    }
    quant_pad_plane(planes[0], blocks, 64);
    quant_pad_plane(planes[1], blocks, 32);
    quant_pad_plane(planes[2], blocks, 12);
    quant_pad_plane(planes[3], blocks, 2);
}

/* ---- q6_k ---- */

static void decode_q6_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        const int8_t *scales = (const int8_t *)planes[2] + 16 * b;
        float d = f32_from_f16(quant_load_u16(planes[3] + 2 * b));
        for (int g = 0; g < 16; g++) {
            /* A run of 32 elements has its low nibbles in one half of 32 bytes, its high pairs in
             * two bits of 32 bytes. */
            int run = g / 2, half = run / 4, k = run % 4;
            const uint8_t *low = planes[0] + 128 * b + 64 * half + 32 * (k % 2) + 16 * (g % 2);
            const uint8_t *high = planes[1] + 64 * b + 32 * half + 16 * (g % 2);
            int low_shift = 4 * (k / 2), high_shift = 2 * k;
            float scale = d * scales[g];
            float *y = values + BLOCK * b + 16 * g;
            for (int i = 0; i < 16; i++) {
                int q = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
                y[i] = scale * (float)(q - 32);
            }
        }
    }
}

static void encode_q6_k(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_k_symmetric block;
        quant_search_q6_k(values + BLOCK * b, quant_importance_at(importance, BLOCK * b), &block);
        memcpy(planes[2] + 16 * b, block.scales, 16);
        quant_store_u16(planes[3] + 2 * b, block.d);
        for (int half = 0; half < 2; half++) {
            const uint8_t *codes = block.codes + 128 * half;
            uint8_t *low = planes[0] + 128 * b + 64 * half;
            uint8_t high_codes[128];
            for (int i = 0; i < 64; i++) {
                low[i] = (uint8_t)((codes[i] & 15) | (codes[64 + i] & 15) << 4);
            }
            for (int i = 0; i < 128; i++) {
                high_codes[i] = codes[i] >> 4;
            }
            quant_pack_pairs(high_codes, planes[1] + 64 * b + 32 * half);
        }
    }
    quant_pad_plane(planes[0], blocks, 128);
    quant_pad_plane(planes[1], blocks, 64);
    quant_pad_plane(planes[2], blocks, 16);
    quant_pad_plane(planes[3], blocks, 2);
}

const struct quant quant_codec_Q3_K = {decode_q3_k, encode_q3_k};
const struct quant quant_codec_Q6_K = {decode_q6_k, encode_q6_k};
