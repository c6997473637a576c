/* q8_0 and q4_0: blocks of 32 elements with one f16 scale d.
 *
 *     q8_0   plane 0: int8 q[32]            y[i] = d q[i]
 *     q4_0   plane 0: nibbles[16]           y[i] = d (n - 8), n = low nibble of byte i for i < 16,
 *                                                             high nibble of byte i - 16 after
 *     both   plane 1: f16 d
 *
 * Encoding is ggml's rule: d from the largest magnitude, stored as f16; the codes are computed with
 * d before that rounding. */
#include <math.h>
#include <stddef.h>

#include "format/quant_codecs.h"

#define BLOCK 32
#define F16_MAX 65504.0f

/* 1 / d, or 0 where that is no finite number (d zero or so small that the f16 is 0 anyway). */
static float inverse_of(float d)
{
    float inverse = d != 0 ? 1 / d : 0;
    return isfinite(inverse) ? inverse : 0;
}

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
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) {
        x[i] = quant_finite(values[i], 127 * F16_MAX);
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    float d = largest / 127;
    float inverse = inverse_of(d);
    for (int i = 0; i < BLOCK; i++) {
        float scaled = x[i] * inverse;
        int whole = (int)scaled;
        float rest = scaled - (float)whole; /* exact: halves round away from zero */
        codes[i] = (uint8_t)(int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
    }
    quant_store_u16(scale, f16_from_f32(d));
}

static void encode_q8_0(const float *values, uint64_t cols, uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        encode_block_q8_0(values + BLOCK * b, planes[0] + BLOCK * b, planes[1] + 2 * b);
    }
    quant_pad_plane(planes[0], blocks, BLOCK);
    quant_pad_plane(planes[1], blocks, 2);
}

static void decode_q4_0(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t b = 0; b < cols / BLOCK; b++) {
        float d = f32_from_f16(quant_load_u16(planes[1] + 2 * b));
        const uint8_t *nibbles = planes[0] + BLOCK / 2 * b;
        float *y = values + BLOCK * b;
        for (int i = 0; i < BLOCK / 2; i++) {
            y[i] = d * (float)((nibbles[i] & 15) - 8);
            y[i + BLOCK / 2] = d * (float)((nibbles[i] >> 4) - 8);
        }
    }
}

static void encode_block_q4_0(const float *values, uint8_t *nibbles, uint8_t *scale)
{
    float x[BLOCK];
    float extreme = 0; /* the first value of the largest magnitude, with its sign */
    for (int i = 0; i < BLOCK; i++) {
        x[i] = quant_finite(values[i], 8 * F16_MAX);
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    }
    float d = extreme / -8; /* the extreme value gets code 0, which reaches further than 15 */
    float inverse = inverse_of(d);
    uint8_t codes[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        int code = (int)(x[i] * inverse + 8.5f);
        codes[i] = (uint8_t)(code > 15 ? 15 : code);
    }
    for (int i = 0; i < BLOCK / 2; i++) {
        nibbles[i] = (uint8_t)(codes[i] | codes[i + BLOCK / 2] << 4);
    }
    quant_store_u16(scale, f16_from_f32(d));
}

static void encode_q4_0(const float *values, uint64_t cols, uint8_t *const planes[DTYPE_MAX_PLANES])
{
    uint64_t blocks = cols / BLOCK;
    for (uint64_t b = 0; b < blocks; b++) {
        encode_block_q4_0(values + BLOCK * b, planes[0] + BLOCK / 2 * b, planes[1] + 2 * b);
    }
    quant_pad_plane(planes[0], blocks, BLOCK / 2);
    quant_pad_plane(planes[1], blocks, 2);
}

const struct quant quant_codec_Q8_0 = {decode_q8_0, encode_q8_0};
const struct quant quant_codec_Q4_0 = {decode_q4_0, encode_q4_0};
