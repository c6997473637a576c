#include "format/quant.h"

#include <assert.h>
#include <stddef.h>

#include "format/quant_codecs.h"

const struct quant *quant_of(enum dtype type)
{
    switch ((uint32_t)type) {
#define X(NAME, ...) \
    case DTYPE_##NAME: \
        return &quant_codec_##NAME;
        DTYPES(X)
#undef X
    default:
        assert(!"quant_of: not a row of DTYPES");
        return NULL;
    }
}

void quant_decode_matrix_row(const struct dtype_info *type, const void *matrix, uint64_t rows,
                             uint64_t cols, uint64_t row, float *values)
{
    const uint8_t *planes[DTYPE_MAX_PLANES] = {0};
    for (uint32_t p = 0; p < type->n_planes; p++) {
        planes[p] = (const uint8_t *)matrix + dtype_plane_offset(type, p, rows, cols) +
                    row * dtype_row_stride(type, p, cols);
    }
    quant_of(type->dtype)->decode_row(planes, cols, values);
}

void quant_encode_matrix_row(const struct dtype_info *type, const float *values,
                             const float *importance, void *matrix, uint64_t rows, uint64_t cols,
                             uint64_t row)
{
    uint8_t *planes[DTYPE_MAX_PLANES] = {0};
    for (uint32_t p = 0; p < type->n_planes; p++) {
        planes[p] = (uint8_t *)matrix + dtype_plane_offset(type, p, rows, cols) +
                    row * dtype_row_stride(type, p, cols);
    }
    quant_of(type->dtype)->encode_row(values, importance, cols, planes);
}
