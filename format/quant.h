/* Encoding and decoding of one matrix row, for every row of DTYPES.
 *
 * `planes[p]` points at this row's bytes in plane p (format/dtype.h). Sources of the formulas:
 * ggml's block formats, written out in format/README.md.
 */
#pragma once

#include <stdint.h>

#include "format/dtype.h"

struct quant {
    /* values[0..cols) from the planes. cols is a multiple of block_elements. */
    void (*decode_row)(const uint8_t *const planes[DTYPE_MAX_PLANES], uint64_t cols, float *values);
    /* The planes from values[0..cols), the row's padding up to the stride set to zero. NaN encodes
     * as 0 in quantised types; infinities as the largest finite value.
     * `importance`: cols non-negative weights of the squared errors (activation statistics of the
     * columns), or NULL. Only their proportions within a block count; a block whose weights are
     * all zero, or not all finite, is encoded as without. */
    void (*encode_row)(const float *values, const float *importance, uint64_t cols,
                       uint8_t *const planes[DTYPE_MAX_PLANES]);
};

/* Never NULL for a row of DTYPES: a type without codecs does not link. */
const struct quant *quant_of(enum dtype type);

/* Convenience over whole matrices laid out as format/dtype.h says. */
void quant_decode_matrix_row(const struct dtype_info *type, const void *matrix, uint64_t rows,
                             uint64_t cols, uint64_t row, float *values);
void quant_encode_matrix_row(const struct dtype_info *type, const float *values,
                             const float *importance, void *matrix, uint64_t rows, uint64_t cols,
                             uint64_t row);
