/* q4_k and q6_k: super-blocks of 256 elements whose groups have small integer scales of their own.
 *
 *     q4_k   8 groups g of 32:   y = (d scale[g]) n - (dmin low[g])    n in 0..15, 6-bit scale, low
 *            plane 0: nibbles[128], plane 1: f16 d, f16 dmin, packed scales and lows[12]
 *     q6_k   16 groups g of 16:  y = (d scale[g]) (q - 32)             q in 0..63, int8 scale
 *            plane 0: low nibbles[128], plane 1: high pairs[64], plane 2: scales[16], plane 3: f16
 * d
 *
 * The order of the bits is ggml's; format/README.md draws it. This file packs and unpacks; what to
 * pack is decided in quant_k_search.c. */
#include <stddef.h>

#include "format/quant_codecs.h"
#include "format/quant_k_search.h"

#define BLOCK QUANT_K_BLOCK

/* The 12 bytes of a q4_k block: scales and lows of groups 0..3 in the low 6 bits of bytes 0..3 and
 * 4..7; those of groups 4..7 as nibbles in bytes 8..11, their top two bits above the others. */
static void unpack_scales_q4_k(const uint8_t packed[12], uint8_t scales[8], uint8_t lows[8])
{
    for (int g = 0; g < 4; g++) {
        scales[g] = packed[g] & 63;
        lows[g] = packed[g + 4] & 63;
        scales[g + 4] = (uint8_t)((packed[g + 8] & 15) | packed[g] >> 6 << 4);
        lows[g + 4] = (uint8_t)(packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4);
    }
}

static void pack_scales_q4_k(const uint8_t scales[8], const uint8_t lows[8], uint8_t packed[12])
{
    for (int g = 0; g < 4; g++) {
        packed[g] = (uint8_t)(scales[g] | scales[g + 4] >> 4 << 6);
        packed[g + 4] = (uint8_t)(lows[g] | lows[g + 4] >> 4 << 6);
        packed[g + 8] = (uint8_t)((scales[g + 4] & 15) | (lows[g + 4] & 15) << 4);
    }
}

static void decode_q4_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        const uint8_t *nibbles = planes[0] + 128 * b;
        const uint8_t *head = planes[1] + 16 * b;
        float d = f32_from_f16(quant_load_u16(head));
        float dmin = f32_from_f16(quant_load_u16(head + 2));
        uint8_t scales[8], lows[8];
        unpack_scales_q4_k(head + 4, scales, lows);
        float *y = values + BLOCK * b;
        for (int g = 0; g < 8; g++) {
            float scale = d * scales[g];
            float low = dmin * lows[g];
            int shift = 4 * (g % 2);
            for (int i = 0; i < 32; i++) {
                y[32 * g + i] = scale * (float)(nibbles[g / 2 * 32 + i] >> shift & 15) - low;
            }
        }
    }
}

static void encode_q4_k(const float *values, uint64_t cols, uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_q4_k block;
        quant_search_q4_k(values + BLOCK * b, &block);
        uint8_t *nibbles = planes[0] + 128 * b;
        uint8_t *head = planes[1] + 16 * b;
        quant_store_u16(head, block.d);
        quant_store_u16(head + 2, block.dmin);
        pack_scales_q4_k(block.scales, block.lows, head + 4);
        for (int pair = 0; pair < 4; pair++) {
            const uint8_t *codes = block.codes + 64 * pair;
            for (int i = 0; i < 32; i++) {
                nibbles[32 * pair + i] = (uint8_t)(codes[i] | codes[32 + i] << 4);
            }
        }
    }
    quant_pad_plane(planes[0], blocks, 128);
    quant_pad_plane(planes[1], blocks, 16);
}

static void decode_q6_k(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        const int8_t *scales = (const int8_t *)planes[2] + 16 * b;
        float d = f32_from_f16(quant_load_u16(planes[3] + 2 * b));
        /* A run of 32 elements has its low nibbles in one half of 32 bytes, its high pairs in two
         * bits of 32 bytes. */
        for (int run = 0; run < 8; run++) {
            int half = run / 4, k = run % 4;
            const uint8_t *low = planes[0] + 128 * b + 64 * half + 32 * (k % 2);
            const uint8_t *high = planes[1] + 64 * b + 32 * half;
            float *y = values + BLOCK * b + 32 * run;
            for (int i = 0; i < 32; i++) {
                int q = (low[i] >> 4 * (k / 2) & 15) | (high[i] >> 2 * k & 3) << 4;
                y[i] = d * scales[2 * run + i / 16] * (float)(q - 32);
            }
        }
    }
}

static void encode_q6_k(const float *values, uint64_t cols, uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        struct quant_q6_k block;
        quant_search_q6_k(values + BLOCK * b, &block);
        memcpy(planes[2] + 16 * b, block.scales, 16);
        quant_store_u16(planes[3] + 2 * b, block.d);
        for (int half = 0; half < 2; half++) {
            const uint8_t *codes = block.codes + 128 * half;
            uint8_t *low = planes[0] + 128 * b + 64 * half;
            uint8_t *high = planes[1] + 64 * b + 32 * half;
            for (int i = 0; i < 64; i++) {
                low[i] = (uint8_t)((codes[i] & 15) | (codes[64 + i] & 15) << 4);
            }
            for (int i = 0; i < 32; i++) {
                high[i] = (uint8_t)(codes[i] >> 4 | codes[32 + i] >> 4 << 2 |
                                    codes[64 + i] >> 4 << 4 | codes[96 + i] >> 4 << 6);
            }
        }
    }
    quant_pad_plane(planes[0], blocks, 128);
    quant_pad_plane(planes[1], blocks, 64);
    quant_pad_plane(planes[2], blocks, 16);
    quant_pad_plane(planes[3], blocks, 2);
}

const struct quant quant_codec_Q4_K = {decode_q4_k, encode_q4_k};
const struct quant quant_codec_Q6_K = {decode_q6_k, encode_q6_k};
