/* The codec of each row of DTYPES, defined in quant_<kind>.c. Private to format/quant*.c: callers
 * ask quant_of. */
#pragma once

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

/* A value that can be quantised: NaN becomes 0, everything else at most `limit` away from 0. */
static inline float quant_finite(float value, float limit)
{
    if (value != value) {
        return 0;
    }
    return value > limit ? limit : value < -limit ? -limit : value;
}
