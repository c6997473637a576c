/* The codec of each row of DTYPES, defined in quant_<kind>.c. Private to format/quant*.c: callers
 * ask quant_of. */
#pragma once

#include <stddef.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant.h"

#define X(NAME, ...) extern const struct quant quant_codec_##NAME;
DTYPES(X)
#undef X

/* Bytes that a plane of a row with this many blocks takes, padding included. */
static inline uint64_t quant_plane_stride(uint64_t blocks, uint64_t plane_bytes)
{
    return (blocks * plane_bytes + DTYPE_ROW_ALIGN - 1) / DTYPE_ROW_ALIGN * DTYPE_ROW_ALIGN;
}

/* Zeroes the bytes after the last block. */
static inline void quant_pad_plane(uint8_t *plane, uint64_t blocks, uint64_t plane_bytes)
{
    uint64_t used = blocks * plane_bytes;
    memset(plane + used, 0, quant_plane_stride(blocks, plane_bytes) - used);
}

static inline uint16_t quant_load_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline void quant_store_u16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

/* The low two bits of 128 codes in 32 bytes: byte l holds codes l, l + 32, l + 64, l + 96. */
static inline void quant_pack_pairs(const uint8_t codes[128], uint8_t pairs[32])
{
    for (int l = 0; l < 32; l++) {
        pairs[l] = (uint8_t)((codes[l] & 3) | (codes[l + 32] & 3) << 2 | (codes[l + 64] & 3) << 4 |
                             (codes[l + 96] & 3) << 6);
    }
}

static inline void quant_unpack_pairs(const uint8_t pairs[32], uint8_t codes[128])
{
    for (int l = 0; l < 32; l++) {
        codes[l] = pairs[l] & 3;
        codes[l + 32] = pairs[l] >> 2 & 3;
        codes[l + 64] = pairs[l] >> 4 & 3;
        codes[l + 96] = pairs[l] >> 6;
    }
}

/* 32 codes below 16 in 16 bytes: byte k holds code k, and code k + 16 above it. */
static inline void quant_pack_halves(const uint8_t codes[32], uint8_t nibbles[16])
{
    for (int k = 0; k < 16; k++) {
        nibbles[k] = (uint8_t)((codes[k] & 15) | (codes[k + 16] & 15) << 4);
    }
}

/* The weights of a block, or NULL. */
static inline const float *quant_importance_at(const float *importance, uint64_t first)
{
    return importance ? importance + first : NULL;
}

/* Values that can be quantised: NaN becomes 0, everything else is kept within low..high. */
static inline void quant_clean(const float *values, int n, float low, float high, float *x)
{
    int32_t outside = 0;
    for (int i = 0; i < n; i++) {
        x[i] = values[i];
        outside |= !(values[i] >= low) | !(values[i] <= high);
    }
    for (int i = 0; outside && i < n; i++) {
        x[i] = x[i] != x[i] ? 0 : x[i] < low ? low : x[i] > high ? high : x[i];
    }
}
