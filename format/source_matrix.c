#include "format/source_matrix.h"

#include <assert.h>
#include <string.h>

#include "format/f16.h"
#include "format/f8.h"
#include "format/quant.h"
#include "format/quant_blocks.h"

/* Elements decoded at a time: a whole number of blocks of every type. */
#define CHUNK 1024
#define MAX_PLANE_BYTES (CHUNK + DTYPE_ROW_ALIGN) /* q8_0 has a byte an element */

#define PAIR_ELEMENTS 32
#define PAIR_BYTES 16

/* ---- what an encoding is ---- */

static bool is_scalar(enum source_encoding encoding)
{
    return encoding < SOURCE_MXFP4_PAIR;
}

/* The type of the blocks of an encoding that has such. */
static const struct dtype_info *block_type_of(const struct source_matrix *matrix)
{
    return matrix->encoding == SOURCE_MXFP4_PAIR ? dtype_info(DTYPE_MXFP4) : matrix->block_type;
}

/* Bytes of an element. */
static uint64_t scalar_bytes(enum source_encoding encoding)
{
    return encoding == SOURCE_F32 ? 4 : encoding == SOURCE_F8_E4M3 ? 1 : 2;
}

static uint64_t stored_row_bytes(enum source_encoding encoding, const struct dtype_info *block_type,
                                 uint64_t cols)
{
    if (encoding == SOURCE_BLOCKS) {
        return cols / block_type->block_elements * block_type->ggml_block_bytes;
    }
    if (encoding == SOURCE_MXFP4_PAIR) {
        return cols / PAIR_ELEMENTS * PAIR_BYTES;
    }
    if (encoding == SOURCE_PLANES) {
        return 0;
    }
    return cols * scalar_bytes(encoding);
}

struct source_matrix source_matrix_whole(enum source_encoding encoding,
                                         const struct dtype_info *block_type, const void *data,
                                         uint64_t rows, uint64_t cols)
{
    assert((encoding >= SOURCE_BLOCKS) == (block_type != NULL));
    return (struct source_matrix){
        .encoding = encoding,
        .block_type = block_type,
        .rows = rows,
        .cols = cols,
        .data = data,
        .row_bytes = stored_row_bytes(encoding, block_type, cols),
        .stored_rows = rows,
        .stored_cols = cols,
        .group_rows = rows,
        .row_step = 1,
        .col_step = 1,
    };
}

enum dtype source_matrix_exact(const struct source_matrix *matrix)
{
    switch (matrix->encoding) {
    case SOURCE_F16:
        return DTYPE_F16;
    case SOURCE_BF16:
        return DTYPE_BF16;
    case SOURCE_MXFP4_PAIR:
        return matrix->transposed ? DTYPE_F32 : DTYPE_MXFP4;
    case SOURCE_BLOCKS:
    case SOURCE_PLANES:
        return matrix->transposed ? DTYPE_F32 : matrix->block_type->dtype;
    case SOURCE_F32:
    case SOURCE_F8_E4M3:
        break;
    }
    return DTYPE_F32;
}

/* ---- selection ---- */

/* The stored elements of a row of the matrix: element c is at (row + c row_step, col + c col_step).
 */
struct source_line {
    uint64_t row, row_step, col, col_step;
};

static struct source_line line_of(const struct source_matrix *matrix, uint64_t row)
{
    assert(row < matrix->rows && matrix->group_rows > 0);
    uint64_t group = row / matrix->group_rows, i = row % matrix->group_rows;
    uint64_t first = matrix->first_row + group * matrix->group_stride;
    struct source_line line = {.row = first, .col = matrix->first_col};
    if (matrix->transposed) {
        assert(!matrix->half_split);
        line.row_step = matrix->row_step;
        line.col += i * matrix->col_step;
    } else {
        if (matrix->half_split) {
            uint64_t half = matrix->group_rows / 2;
            i = 2 * (i % half) + i / half;
        }
        line.row += i * matrix->row_step;
        line.col_step = matrix->col_step;
    }
    assert(line.row + (matrix->cols - 1) * line.row_step < matrix->stored_rows);
    assert(line.col + (matrix->cols - 1) * line.col_step < matrix->stored_cols);
    return line;
}

/* ---- scalar encodings ---- */

static float load_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint16_t load_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static float tile_scale(const struct source_matrix *matrix, uint64_t row, uint64_t col)
{
    if (!matrix->scales) {
        return 1;
    }
    return load_f32(matrix->scales + row / matrix->scale_rows * matrix->scale_row_bytes +
                    col / matrix->scale_cols * sizeof(float));
}

static void read_f8(const struct source_matrix *matrix, struct source_line line, float *values)
{
    for (uint64_t c = 0; c < matrix->cols; c++) {
        uint64_t row = line.row + c * line.row_step, col = line.col + c * line.col_step;
        values[c] = f32_from_f8_e4m3(matrix->data[row * matrix->row_bytes + col]) *
                    tile_scale(matrix, row, col);
    }
}

static void scale_f8(const uint8_t *restrict bytes, uint64_t n, float scale, float *restrict values)
{
    for (uint64_t i = 0; i < n; i++) {
        values[i] = f32_from_f8_e4m3(bytes[i]) * scale;
    }
}

/* Neighbours in one row, the usual case: tile by tile. */
static void read_f8_row(const struct source_matrix *matrix, struct source_line line, float *values)
{
    const uint8_t *bytes = matrix->data + line.row * matrix->row_bytes + line.col;
    for (uint64_t c = 0, n; c < matrix->cols; c += n) {
        n = matrix->cols - c;
        if (matrix->scales) {
            uint64_t left = matrix->scale_cols - (line.col + c) % matrix->scale_cols;
            n = left < n ? left : n;
        }
        scale_f8(bytes + c, n, tile_scale(matrix, line.row, line.col + c), values + c);
    }
}

static void read_scalars(const struct source_matrix *matrix, struct source_line line, float *values)
{
    uint64_t step =
        line.row_step * matrix->row_bytes + line.col_step * scalar_bytes(matrix->encoding);
    const uint8_t *from =
        matrix->data + line.row * matrix->row_bytes + line.col * scalar_bytes(matrix->encoding);
    switch (matrix->encoding) {
    case SOURCE_F32:
        if (step == sizeof(float)) {
            memcpy(values, from, matrix->cols * sizeof(float));
            break;
        }
        for (uint64_t c = 0; c < matrix->cols; c++) {
            values[c] = load_f32(from + c * step);
        }
        break;
    case SOURCE_F16:
        if (step == sizeof(uint16_t)) {
            quant_of(DTYPE_F16)->decode_row(&from, matrix->cols, values);
            break;
        }
        for (uint64_t c = 0; c < matrix->cols; c++) {
            values[c] = f32_from_f16(load_u16(from + c * step));
        }
        break;
    case SOURCE_BF16:
        for (uint64_t c = 0; c < matrix->cols; c++) {
            values[c] = f32_from_bf16(load_u16(from + c * step));
        }
        break;
    default:
        if (line.row_step == 0 && line.col_step == 1) {
            read_f8_row(matrix, line, values);
        } else {
            read_f8(matrix, line, values);
        }
    }
}

/* ---- blocks ---- */

/* The 32 codes of a pair's 16 bytes, from 2j, 2j + 1 in byte j to j, j + 16. */
static void reorder_pair(const uint8_t from[PAIR_BYTES], uint8_t to[PAIR_BYTES])
{
    for (int j = 0; j < PAIR_BYTES; j++) {
        int low = from[j / 2] >> 4 * (j % 2) & 15;
        int high = from[8 + j / 2] >> 4 * (j % 2) & 15;
        to[j] = (uint8_t)(low | high << 4);
    }
}

/* Blocks first .. first + n of a row of planes. */
static void load_planes(const struct source_matrix *matrix, uint64_t row, uint64_t first,
                        uint64_t n, uint8_t *const planes[DTYPE_MAX_PLANES])
{
    const struct dtype_info *type = matrix->block_type;
    for (uint32_t p = 0; p < type->n_planes; p++) {
        const uint8_t *from =
            matrix->data + dtype_plane_offset(type, p, matrix->stored_rows, matrix->stored_cols) +
            row * dtype_row_stride(type, p, matrix->stored_cols) + first * type->plane_bytes[p];
        uint64_t bytes = n * type->plane_bytes[p];
        memcpy(planes[p], from, bytes);
        memset(planes[p] + bytes, 0, dtype_row_stride(type, p, n * type->block_elements) - bytes);
    }
}

/* Blocks first .. first + n of a stored row, as one row in planes, padded. */
static void load_blocks(const struct source_matrix *matrix, uint64_t row, uint64_t first,
                        uint64_t n, uint8_t *const planes[DTYPE_MAX_PLANES])
{
    const uint8_t *bytes = matrix->data + row * matrix->row_bytes;
    if (matrix->encoding == SOURCE_BLOCKS) {
        quant_blocks_to_planes(matrix->block_type,
                               bytes + first * matrix->block_type->ggml_block_bytes,
                               n * matrix->block_type->block_elements, planes);
        return;
    }
    if (matrix->encoding == SOURCE_PLANES) {
        load_planes(matrix, row, first, n, planes);
        return;
    }
    const struct dtype_info *type = dtype_info(DTYPE_MXFP4);
    bytes += first * PAIR_BYTES;
    for (uint64_t b = 0; b < n; b++) {
        reorder_pair(bytes + b * PAIR_BYTES, planes[0] + b * PAIR_BYTES);
    }
    uint64_t stride = dtype_row_stride(type, 1, n * PAIR_ELEMENTS);
    memcpy(planes[1], matrix->scales + row * matrix->scale_row_bytes + first, n);
    memset(planes[1] + n, 0, stride - n);
}

static void decode_blocks(const struct source_matrix *matrix, uint64_t row, uint64_t first,
                          uint64_t n, float *values)
{
    const struct dtype_info *type = block_type_of(matrix);
    _Alignas(DTYPE_ROW_ALIGN) uint8_t bytes[DTYPE_MAX_PLANES][MAX_PLANE_BYTES];
    uint8_t *planes[DTYPE_MAX_PLANES] = {bytes[0], bytes[1], bytes[2], bytes[3]};
    const uint8_t *loaded[DTYPE_MAX_PLANES] = {bytes[0], bytes[1], bytes[2], bytes[3]};
    load_blocks(matrix, row, first, n, planes);
    quant_of(type->dtype)->decode_row(loaded, n * type->block_elements, values);
}

static void read_blocks(const struct source_matrix *matrix, struct source_line line, float *values)
{
    uint64_t elements = block_type_of(matrix)->block_elements;
    if (line.row_step == 0) {
        assert(line.col == 0 && line.col_step == 1 && matrix->cols % elements == 0);
        for (uint64_t c = 0; c < matrix->cols; c += CHUNK) {
            uint64_t n = matrix->cols - c < CHUNK ? matrix->cols - c : CHUNK;
            decode_blocks(matrix, line.row, c / elements, n / elements, values + c);
        }
        return;
    }
    float block[CHUNK];
    for (uint64_t c = 0; c < matrix->cols; c++) {
        decode_blocks(matrix, line.row + c * line.row_step, line.col / elements, 1, block);
        values[c] = block[line.col % elements];
    }
}

/* ---- */

void source_matrix_read(const struct source_matrix *matrix, uint64_t row, float *values)
{
    struct source_line line = line_of(matrix, row);
    if (is_scalar(matrix->encoding)) {
        read_scalars(matrix, line, values);
    } else {
        read_blocks(matrix, line, values);
    }
}

void source_matrix_copy(const struct source_matrix *matrix, uint64_t row, void *target,
                        uint64_t target_rows, uint64_t to)
{
    const struct dtype_info *type = dtype_info(source_matrix_exact(matrix));
    uint8_t *planes[DTYPE_MAX_PLANES] = {0};
    for (uint32_t p = 0; p < type->n_planes; p++) {
        planes[p] = (uint8_t *)target + dtype_plane_offset(type, p, target_rows, matrix->cols) +
                    to * dtype_row_stride(type, p, matrix->cols);
    }
    struct source_line line = line_of(matrix, row);
    if (type->block_elements > 1) {
        assert(line.col == 0 && line.col_step == 1);
        load_blocks(matrix, line.row, 0, matrix->cols / type->block_elements, planes);
        return;
    }
    uint64_t element = type->plane_bytes[0], used = matrix->cols * element;
    memset(planes[0] + used, 0, dtype_row_stride(type, 0, matrix->cols) - used);
    if (matrix->encoding == SOURCE_F8_E4M3 || !is_scalar(matrix->encoding)) {

        float *values = (float *)(void *)planes[0];
        assert((uintptr_t)values % sizeof(float) == 0);
        source_matrix_read(matrix, row, values);
        return;
    }
    const uint8_t *from = matrix->data + line.row * matrix->row_bytes + line.col * element;
    uint64_t step = line.row_step * matrix->row_bytes + line.col_step * element;
    if (step == element) {
        memcpy(planes[0], from, used);
        return;
    }
    for (uint64_t c = 0; c < matrix->cols; c++) {
        memcpy(planes[0] + c * element, from + c * step, element);
    }
}
