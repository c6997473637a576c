/* Reading and copying rows of other people's tensors: every encoding with every selection, against
 * the stored element that the selection's definition names. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/f8.h"
#include "format/quant.h"
#include "format/quant_blocks.h"
#include "format/source_matrix.h"
#include "tests/check.h"

#define POISON -12345.0f

/* A stored tensor and its values, decoded in the simplest way. */
struct stored {
    struct source_matrix whole;
    uint8_t *bytes, *scales;
    float *values; /* rows x cols */
};

static float load_f32(const uint8_t *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static float pair_value(const struct source_matrix *m, uint64_t row, uint64_t col)
{
    static const float fp4[16] = {0, 0.5f,  1,  1.5f,  2,  3,  4,  6,
                                  0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    uint8_t byte = m->data[row * m->row_bytes + col / 2];
    uint8_t exponent = m->scales[row * m->scale_row_bytes + col / 32];
    return ldexpf(fp4[col % 2 ? byte / 16 : byte % 16], exponent - 127);
}

static float scalar_value(const struct source_matrix *m, uint64_t row, uint64_t col)
{
    const uint8_t *line = m->data + row * m->row_bytes;
    switch (m->encoding) {
    case SOURCE_F32:
        return load_f32(line + 4 * col);
    case SOURCE_F16:
        return f32_from_f16((uint16_t)(line[2 * col] | line[2 * col + 1] << 8));
    case SOURCE_BF16:
        return f32_from_bf16((uint16_t)(line[2 * col] | line[2 * col + 1] << 8));
    case SOURCE_F8_E4M3:
        if (!m->scales) {
            return f32_from_f8_e4m3(line[col]);
        }
        return f32_from_f8_e4m3(line[col]) *
               load_f32(m->scales + row / m->scale_rows * m->scale_row_bytes +
                        4 * (col / m->scale_cols));
    default:
        return pair_value(m, row, col);
    }
}

/* All values of the tensor. */
static void decode_stored(struct stored *stored)
{
    const struct source_matrix *m = &stored->whole;
    stored->values = malloc(m->rows * m->cols * sizeof(float));
    for (uint64_t r = 0; r < m->rows; r++) {
        float *values = stored->values + r * m->cols;
        if (m->encoding != SOURCE_BLOCKS) {
            for (uint64_t c = 0; c < m->cols; c++) {
                values[c] = scalar_value(m, r, c);
            }
            continue;
        }
        uint8_t planes[DTYPE_MAX_PLANES][4096];
        uint8_t *to[] = {planes[0], planes[1], planes[2], planes[3]};
        const uint8_t *from[] = {planes[0], planes[1], planes[2], planes[3]};
        quant_blocks_to_planes(m->block_type, m->data + r * m->row_bytes, m->cols, to);
        quant_of(m->block_type->dtype)->decode_row(from, m->cols, values);
    }
}

/* rows x cols of random bytes, one byte off any alignment, with a gap after each row. */
static struct stored make_stored(struct check_random *random, enum source_encoding encoding,
                                 const struct dtype_info *block_type, uint64_t rows, uint64_t cols)
{
    struct stored stored = {0};
    stored.whole = source_matrix_whole(encoding, block_type, NULL, rows, cols);
    struct source_matrix *m = &stored.whole;
    m->row_bytes += 3;
    stored.bytes = malloc(rows * m->row_bytes + 1);
    for (uint64_t i = 0; i < rows * m->row_bytes + 1; i++) {
        stored.bytes[i] = (uint8_t)check_random_u64(random);
    }
    m->data = stored.bytes + 1;
    if (encoding == SOURCE_F8_E4M3 || encoding == SOURCE_MXFP4_PAIR) {
        m->scale_rows = 3; /* these divide neither rows nor columns: tiles at the edges are cut */
        m->scale_cols = 5;
        uint64_t floats = (cols + 4) / 5;
        m->scale_row_bytes = encoding == SOURCE_F8_E4M3 ? 4 * floats + 2 : cols / 32 + 2;
        uint64_t n = (encoding == SOURCE_F8_E4M3 ? (rows + 2) / 3 : rows) * m->scale_row_bytes;
        stored.scales = malloc(n + 1);
        for (uint64_t i = 0; i < n + 1; i++) {
            stored.scales[i] = (uint8_t)(100 + check_random_below(random, 50));
        }
        m->scales = stored.scales + 1;
    }
    decode_stored(&stored);
    return stored;
}

static void free_stored(struct stored *stored)
{
    free(stored->bytes);
    free(stored->scales);
    free(stored->values);
}

/* The stored element that is (r, c) of the matrix, by the words of source_matrix.h. */
static float selected(const struct stored *stored, const struct source_matrix *m, uint64_t r,
                      uint64_t c)
{
    uint64_t group = r / m->group_rows, i = r % m->group_rows, row, col;
    if (m->transposed) {
        row = m->first_row + group * m->group_stride + c * m->row_step;
        col = m->first_col + i * m->col_step;
    } else {
        if (m->half_split) {
            uint64_t half = m->group_rows / 2;
            i = i < half ? 2 * i : 2 * (i - half) + 1;
        }
        row = m->first_row + group * m->group_stride + i * m->row_step;
        col = m->first_col + c * m->col_step;
    }
    cr_assert(row < stored->whole.rows && col < stored->whole.cols);
    return stored->values[row * stored->whole.cols + col];
}

static bool same(float a, float b)
{
    return f32_to_bits(a + 0.0f) == f32_to_bits(b + 0.0f) || (isnan(a) && isnan(b));
}

static void check_read(const struct stored *stored, const struct source_matrix *m, const char *what)
{
    float *row = malloc((m->cols + 1) * sizeof(float));
    for (uint64_t r = 0; r < m->rows; r++) {
        for (uint64_t c = 0; c <= m->cols; c++) {
            row[c] = POISON;
        }
        source_matrix_read(m, r, row);
        cr_assert_eq(row[m->cols], POISON);
        for (uint64_t c = 0; c < m->cols; c++) {
            float expected = selected(stored, m, r, c);
            cr_assert(same(row[c], expected), "%s, encoding %d: (%zu, %zu) is %g, not %g", what,
                      (int)m->encoding, (size_t)r, (size_t)c, row[c], expected);
        }
    }
    free(row);
}

/* Rows go where they should, among rows that stay, and decode to the same values. */
static void check_copy(const struct source_matrix *m, const char *what)
{
    const struct dtype_info *type = dtype_info(source_matrix_exact(m));
    cr_assert(type && m->cols % type->block_elements == 0);
    uint64_t target_rows = 2 * m->rows + 1;
    uint64_t bytes = dtype_matrix_bytes(type, target_rows, m->cols);
    uint8_t *target = malloc(bytes);
    float *expected = malloc(m->cols * sizeof(float)), *out = malloc(m->cols * sizeof(float));
    memset(target, 0xA5, bytes);
    for (uint64_t r = 0; r < m->rows; r++) {
        source_matrix_copy(m, r, target, target_rows, 2 * r + 1);
    }
    for (uint64_t r = 0; r < m->rows; r++) {
        source_matrix_read(m, r, expected);
        quant_decode_matrix_row(type, target, target_rows, m->cols, 2 * r + 1, out);
        for (uint64_t c = 0; c < m->cols; c++) {
            cr_assert(same(out[c], expected[c]), "%s, encoding %d: (%zu, %zu) is %g, not %g", what,
                      (int)m->encoding, (size_t)r, (size_t)c, out[c], expected[c]);
        }
    }
    for (uint32_t p = 0; p < type->n_planes; p++) {
        uint64_t stride = dtype_row_stride(type, p, m->cols);
        uint64_t used = m->cols / type->block_elements * type->plane_bytes[p];
        const uint8_t *plane = target + dtype_plane_offset(type, p, target_rows, m->cols);
        for (uint64_t i = 0; i < target_rows * stride; i++) {
            bool padding = i / stride % 2 == 1 && i % stride >= used;
            bool other = i / stride % 2 == 0;
            cr_assert(!padding || plane[i] == 0, "%s: padding", what);
            cr_assert(!other || plane[i] == 0xA5, "%s: another row", what);
        }
    }
    free(target);
    free(expected);
    free(out);
}

static void check_matrix(const struct stored *stored, const struct source_matrix *m,
                         const char *what)
{
    check_read(stored, m, what);
    check_copy(m, what);
}

/* Selections of rows, which every encoding takes. The tensor has 4 heads of 6 rows. */
static void check_row_selections(const struct stored *stored)
{
    const struct source_matrix *whole = &stored->whole;
    check_matrix(stored, whole, "whole");

    struct source_matrix m = *whole; /* an expert's rows: 6 to 17 */
    m.first_row = 6, m.rows = m.group_rows = 12;
    check_matrix(stored, &m, "slice");

    m = *whole; /* gate and up by turns */
    m.first_row = 1, m.row_step = 2, m.rows = m.group_rows = 12;
    check_matrix(stored, &m, "odd rows");

    m = *whole; /* rotary pairs of each head */
    m.group_rows = m.group_stride = 6, m.half_split = true;
    check_matrix(stored, &m, "pairs");

    m = *whole; /* the first 2 of each head */
    m.group_rows = 2, m.group_stride = 6, m.rows = 8;
    check_matrix(stored, &m, "first of each head");

    m = *whole; /* the last 4 of each head, which are pairs */
    m.first_row = 2, m.group_rows = 4, m.group_stride = 6, m.rows = 16, m.half_split = true;
    check_matrix(stored, &m, "last of each head");

    m = *whole; /* a latent's rotary rows */
    m.first_row = 20, m.rows = m.group_rows = 4, m.half_split = true;
    check_matrix(stored, &m, "last rows, pairs");
}

/* Of each head's 6 rows 4, transposed; then a plain transposition of odd columns. */
static void check_transposed(const struct stored *stored)
{
    const struct source_matrix *whole = &stored->whole;
    struct source_matrix m = *whole;
    m.transposed = true;
    m.first_row = 1, m.group_rows = whole->cols, m.group_stride = 6;
    m.rows = 4 * whole->cols, m.cols = 4;
    check_matrix(stored, &m, "heads transposed");

    m = *whole;
    m.transposed = true;
    m.first_col = 1, m.col_step = 2, m.rows = m.group_rows = whole->cols / 2, m.cols = 24;
    check_matrix(stored, &m, "odd columns transposed");
}

static void check_columns(const struct stored *stored)
{
    const struct source_matrix *whole = &stored->whole;
    struct source_matrix m = *whole;
    m.col_step = 2, m.cols = (whole->cols + 1) / 2;
    check_matrix(stored, &m, "even columns");
    m.first_col = 1, m.cols = whole->cols / 2;
    check_matrix(stored, &m, "odd columns");
    m = *whole;
    m.first_col = 3, m.cols = whole->cols - 3;
    check_matrix(stored, &m, "last columns");
    m.half_split = true, m.group_rows = m.group_stride = 6;
    check_matrix(stored, &m, "last columns, pairs");
}

Test(source_matrix, scalars)
{
    struct check_random random = {3};
    static const enum source_encoding encodings[] = {SOURCE_F32, SOURCE_F16, SOURCE_BF16,
                                                     SOURCE_F8_E4M3};
    for (size_t e = 0; e < sizeof(encodings) / sizeof(encodings[0]); e++) {
        for (uint64_t cols = 8; cols <= 37; cols += 29) {
            struct stored stored = make_stored(&random, encodings[e], NULL, 24, cols);
            check_row_selections(&stored);
            check_columns(&stored);
            check_transposed(&stored);
            free_stored(&stored);
        }
    }
}

Test(source_matrix, blocks)
{
    struct check_random random = {5};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        if (type->block_elements == 1) {
            continue;
        }
        /* More than is decoded at a time, and not a multiple of it. */
        uint64_t cols = type->block_elements == 32 ? 1024 + 96 : 1024 + 512;
        struct stored stored = make_stored(&random, SOURCE_BLOCKS, type, 24, cols);
        cr_assert_eq(source_matrix_exact(&stored.whole), type->dtype);
        check_row_selections(&stored);
        free_stored(&stored);
        stored = make_stored(&random, SOURCE_BLOCKS, type, 24, 2 * type->block_elements);
        check_transposed(&stored);
        free_stored(&stored);
    }
}

Test(source_matrix, mxfp4_pairs)
{
    struct check_random random = {7};
    for (uint64_t cols = 32; cols <= 1120; cols += 1088) {
        struct stored stored = make_stored(&random, SOURCE_MXFP4_PAIR, NULL, 24, cols);
        cr_assert_eq(source_matrix_exact(&stored.whole), DTYPE_MXFP4);
        check_row_selections(&stored);
        if (cols == 32) {
            check_transposed(&stored);
        }
        free_stored(&stored);
    }
}

/* The example of the format's description: codes 0 to 15 in turn, scale 1. */
Test(source_matrix, mxfp4_pair_bytes)
{
    static const uint8_t bytes[16] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
    static const uint8_t scale[1] = {127};
    static const float expected[16] = {0, 0.5f,  1,  1.5f,  2,  3,  4,  6,
                                       0, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    struct source_matrix m = source_matrix_whole(SOURCE_MXFP4_PAIR, NULL, bytes, 1, 32);
    m.scales = scale;
    m.scale_row_bytes = 1;
    float values[32];
    source_matrix_read(&m, 0, values);
    for (int i = 0; i < 32; i++) {
        cr_expect_eq(values[i], i < 16 ? expected[i] : 0, "%d: %g", i, values[i]);
    }
    uint8_t target[32];
    source_matrix_copy(&m, 0, target, 1, 0);
    for (int k = 0; k < 16; k++) {
        cr_expect_eq(target[k], k, "byte %d", k);
    }
    cr_expect_eq(target[16], 127);
}

/* A scale for each row, one for all, none. */
Test(source_matrix, f8_scale_shapes)
{
    struct check_random random = {9};
    struct stored stored = make_stored(&random, SOURCE_F8_E4M3, NULL, 24, 21);
    static const uint64_t shapes[][2] = {{1, 21}, {24, 21}, {24, 1}, {128, 128}, {0, 0}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        free(stored.values);
        stored.whole.scale_rows = shapes[s][0];
        stored.whole.scale_cols = shapes[s][1];
        stored.whole.scale_row_bytes = shapes[s][0] == 1 ? 7 : 0;
        if (shapes[s][0] == 0) {
            stored.whole.scales = NULL;
        }
        uint8_t scales[24 * 7 + 84];
        for (size_t i = 0; i < sizeof(scales); i++) {
            scales[i] = (uint8_t)(50 + check_random_below(&random, 30));
        }
        stored.whole.scales = stored.whole.scales ? scales : NULL;
        decode_stored(&stored);
        check_row_selections(&stored);
        check_columns(&stored);
        check_transposed(&stored);
    }
    free_stored(&stored);
}

/* By hand: 1.5 x 0.25. */
Test(source_matrix, f8_example)
{
    static const uint8_t bytes[2] = {0x3C, 0x7E};
    static const float scale = 0.25f;
    struct source_matrix m = source_matrix_whole(SOURCE_F8_E4M3, NULL, bytes, 1, 2);
    m.scales = (const uint8_t *)&scale;
    m.scale_rows = m.scale_cols = 128;
    m.scale_row_bytes = 4;
    float values[2];
    source_matrix_read(&m, 0, values);
    cr_expect_eq(values[0], 0.375f);
    cr_expect_eq(values[1], 112.0f);
    cr_expect_eq(source_matrix_exact(&m), DTYPE_F32);
}
