/* ggml's blocks to and from the planes of format/dtype.h: one row, bits unchanged.
 *
 * GGUF files keep the fields of a block together, the blocks of a row one after the other. Import
 * and export move bytes only, so values are exactly those of the other file. Both functions take
 * every row of DTYPES; of f32, f16 and bf16 a block is an element.
 */
#pragma once

#include <stdint.h>

#include "format/dtype.h"

/* blocks: cols / block_elements blocks of ggml_block_bytes, at any address. Pads the planes' rows
 * with zero up to their strides. */
void quant_blocks_to_planes(const struct dtype_info *type, const uint8_t *blocks, uint64_t cols,
                            uint8_t *const planes[DTYPE_MAX_PLANES]);

/* The reverse; padding is not looked at. */
void quant_planes_to_blocks(const struct dtype_info *type,
                            const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols,
                            uint8_t *blocks);
