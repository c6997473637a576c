/* f32, f16 and bf16: one plane of little-endian elements. Conversion is IEEE's round to nearest,
 * ties to even (format/f16.h); NaN and infinities are kept. */
#include <stddef.h>

#include "format/quant_codecs.h"

static void decode_f32(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    memcpy(values, planes[0], cols * sizeof(float));
}

static void encode_f32(const float *values, const float *importance, uint64_t cols,
                       uint8_t *const planes[DTYPE_MAX_PLANES])
{
    memcpy(planes[0], values, cols * sizeof(float));
    quant_pad_plane(planes[0], cols, sizeof(float));
}

static void decode_f16(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t i = 0; i < cols; i++) {
        values[i] = f32_from_f16(quant_load_u16(planes[0] + 2 * i));
    }
}

static void encode_f16(const float *values, const float *importance, uint64_t cols,
                       uint8_t *const planes[DTYPE_MAX_PLANES])
{
    for (uint64_t i = 0; i < cols; i++) {
        quant_store_u16(planes[0] + 2 * i, f16_from_f32(values[i]));
    }
    quant_pad_plane(planes[0], cols, 2);
}

static void decode_bf16(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values)
{
    for (uint64_t i = 0; i < cols; i++) {
        values[i] = f32_from_bf16(quant_load_u16(planes[0] + 2 * i));
    }
}

static void encode_bf16(const float *values, const float *importance, uint64_t cols,
                        uint8_t *const planes[DTYPE_MAX_PLANES])
{
    for (uint64_t i = 0; i < cols; i++) {
        quant_store_u16(planes[0] + 2 * i, bf16_from_f32(values[i]));
    }
    quant_pad_plane(planes[0], cols, 2);
}

const struct quant quant_codec_F32 = {decode_f32, encode_f32};
const struct quant quant_codec_F16 = {decode_f16, encode_f16};
const struct quant quant_codec_BF16 = {decode_bf16, encode_bf16};
