#include "format/compress.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "format/model_layout.h"

#define LEVEL 3           /* higher ones gain next to nothing on weights */
#define CHUNK (128 << 10) /* one Zstandard block */

uint32_t compress_split_width(enum dtype type)
{
    return type == DTYPE_F32 ? 4 : 2;
}

uint64_t compress_bound(uint64_t raw_bytes)
{
    return ZSTD_compressBound(raw_bytes);
}

static void split_bytes(const uint8_t *raw, uint64_t raw_bytes, uint32_t width, uint8_t *split)
{
    uint64_t elements = raw_bytes / width;
    for (uint32_t k = 0; k < width; k++) {
        for (uint64_t i = 0; i < elements; i++) {
            split[elements * k + i] = raw[width * i + k];
        }
    }
}

/* Puts bytes [position, position + n) of the split order where they belong. */
static void join_bytes(const uint8_t *split, uint64_t position, uint64_t n, uint32_t width,
                       uint8_t *raw, uint64_t raw_bytes)
{
    uint64_t elements = raw_bytes / width;
    while (n > 0) {
        uint64_t k = position / elements, first = position % elements;
        uint64_t run = n < elements - first ? n : elements - first;
        for (uint64_t i = 0; i < run; i++) {
            raw[width * (first + i) + k] = split[i];
        }
        split += run;
        position += run;
        n -= run;
    }
}

bool compress_encode(enum codec codec, uint32_t width, const void *raw, uint64_t raw_bytes,
                     void *stored, uint64_t *stored_bytes)
{
    uint8_t *split = NULL;
    if (codec == CODEC_SPLIT_ZSTD) {
        assert(raw_bytes % width == 0);
        split = malloc(raw_bytes);
        if (!split) {
            return false;
        }
        split_bytes(raw, raw_bytes, width, split);
    }
    size_t written =
        ZSTD_compress(stored, ZSTD_compressBound(raw_bytes), split ? split : raw, raw_bytes, LEVEL);
    free(split);
    *stored_bytes = written;
    return !ZSTD_isError(written); /* the bound holds: only memory can be missing */
}

/* The frame piece by piece, through a chunk: splitting needs no second copy, checking no copy. */
static const char *decode_stream(ZSTD_DCtx *context, const void *stored, uint64_t stored_bytes,
                                 uint8_t *chunk, uint32_t width, void *destination,
                                 uint64_t raw_bytes)
{
    ZSTD_inBuffer in = {stored, stored_bytes, 0};
    uint64_t done = 0;
    for (size_t left = 1; left != 0;) {
        ZSTD_outBuffer out = {chunk, CHUNK, 0};
        size_t consumed_before = in.pos;
        left = ZSTD_decompressStream(context, &out, &in);
        if (ZSTD_isError(left)) {
            return "is damaged: it cannot be decompressed";
        }
        if (out.pos > raw_bytes - done) {
            return "is damaged: it decompresses to more than its length";
        }
        if (out.pos == 0 && in.pos == consumed_before && left != 0) {
            return "is damaged: its compressed data is cut short";
        }
        if (destination) {
            join_bytes(chunk, done, out.pos, width, destination, raw_bytes);
        }
        done += out.pos;
    }
    return done == raw_bytes ? NULL : "is damaged: it decompresses to less than its length";
}

const char *compress_decode(enum codec codec, uint32_t width, const void *stored,
                            uint64_t stored_bytes, void *destination, uint64_t raw_bytes)
{
    if (codec == CODEC_RAW) {
        if (stored_bytes != raw_bytes) {
            return "is damaged: its lengths differ";
        }
        if (destination) {
            memcpy(destination, stored, raw_bytes);
        }
        return NULL;
    }
    if (codec != CODEC_ZSTD && codec != CODEC_SPLIT_ZSTD) {
        return "has a codec that this version does not know";
    }
    if (ZSTD_getFrameContentSize(stored, stored_bytes) != raw_bytes ||
        ZSTD_findFrameCompressedSize(stored, stored_bytes) != stored_bytes) {
        return "is damaged: its compressed data is not one frame of the expected length";
    }
    if (codec == CODEC_ZSTD && destination) {
        size_t decoded = ZSTD_decompress(destination, raw_bytes, stored, stored_bytes);
        return decoded == raw_bytes ? NULL : "is damaged: it cannot be decompressed";
    }
    if (raw_bytes % width != 0) {
        return "is damaged: its length is not a whole number of elements";
    }
    ZSTD_DCtx *context = ZSTD_createDCtx();
    uint8_t *chunk = malloc(CHUNK);
    const char *fault = "cannot be decompressed: out of memory";
    if (context && chunk) {
        ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, LAYOUT_WINDOW_LOG);
        fault = decode_stream(context, stored, stored_bytes, chunk, width, destination, raw_bytes);
    }
    free(chunk);
    ZSTD_freeDCtx(context);
    return fault;
}
