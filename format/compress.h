/* The codecs of stored tensors: Zstandard, and Zstandard after byte-splitting (bytes 0 of all
 * elements, then bytes 1, and so on), which suits floats. Memory to memory, bounded by the lengths
 * given. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/model_file.h"

/* Bytes of the elements that CODEC_SPLIT_ZSTD splits, by the type of the tensor record. */
uint32_t compress_split_width(enum dtype type);

/* Bytes that stored data may need at most. */
uint64_t compress_bound(uint64_t raw_bytes);

/* Encodes with CODEC_ZSTD or CODEC_SPLIT_ZSTD into `stored` (compress_bound long). width divides
 * raw_bytes. False only if memory is short. */
bool compress_encode(enum codec codec, uint32_t width, const void *raw, uint64_t raw_bytes,
                     void *stored, uint64_t *stored_bytes);

/* Decodes exactly raw_bytes; NULL as destination only checks that the data would decode to that
 * length, in little memory. On failure returns what is wrong ("is damaged ..."), else NULL. */
const char *compress_decode(enum codec codec, uint32_t width, const void *stored,
                            uint64_t stored_bytes, void *destination, uint64_t raw_bytes);
