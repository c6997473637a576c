/* A matrix as it lies in a file of somebody else, read row by row.
 *
 * A tensor of a checkpoint is rarely the matrix we store: experts are stacked in three dimensions,
 * gate and up share one tensor, rotary pairs are interleaved, latent attention packs four matrices
 * into two. All of these are selections of rows (of scalar encodings also of columns, or
 * transposed), so that no copy is made and quantised rows can be taken over bit for bit.
 *
 * Sources: ggml's block formats, DeepSeek-V3's FP8 with block scales, gpt-oss's MXFP4 pairs
 * (format/README.md tells all of them).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/dtype.h"

enum source_encoding {
    SOURCE_F32,
    SOURCE_F16,
    SOURCE_BF16,
    SOURCE_F8_E4M3,    /* values times `scales`: f32, one per scale_rows x scale_cols tile of the
                          stored tensor (one for all, if that is its size); NULL: as they are */
    SOURCE_MXFP4_PAIR, /* gpt-oss: 16 bytes of codes (2j low, 2j + 1 high) a block of 32;
                          `scales`: one E8M0 byte a block */
    SOURCE_BLOCKS,     /* ggml blocks of `block_type` */
    SOURCE_PLANES, /* a matrix of `block_type` as format/dtype.h lays it out; row_bytes unused */
};

struct source_matrix {
    enum source_encoding encoding;
    const struct dtype_info *block_type; /* SOURCE_BLOCKS and SOURCE_PLANES only */
    uint64_t rows, cols;                 /* of this matrix, after selection */

    const uint8_t *data;  /* row 0, column 0 of the stored tensor (slice); not aligned */
    uint64_t row_bytes;   /* from one stored row to the next */
    uint64_t stored_rows; /* of the slice, for assertions */
    uint64_t stored_cols;

    /* Row r of the matrix, r = group * group_rows + i, is stored row
     * first_row + group * group_stride + i * row_step, where with `half_split` i counts the first
     * members of all pairs, then the second ones, of stored interleaved pairs:
     * i -> 2 (i mod (group_rows / 2)) + i / (group_rows / 2). */
    uint64_t first_row, group_rows, group_stride, row_step;
    bool half_split;
    /* Column c is stored column first_col + c * col_step: 0 and 1 except in scalar encodings and
     * transposed matrices. */
    uint64_t first_col, col_step;
    /* Exchanges the two after the row rule: element (r, c) of the matrix is stored element
     * (first_row + group * group_stride + c * row_step, first_col + i * col_step), r = group *
     * group_rows + i: a block of columns per head, transposed. Without half_split. Of blocks and
     * pairs, too, but slowly: each element costs the decoding of its block. */
    bool transposed;

    const uint8_t *scales;           /* not aligned; NULL: none */
    uint64_t scale_rows, scale_cols; /* stored elements a tile of SOURCE_F8_E4M3 covers */
    uint64_t scale_row_bytes;        /* from one row of tiles (or of E8M0 bytes) to the next */
};

/* A plain view of a whole stored tensor: every row, every column. */
struct source_matrix source_matrix_whole(enum source_encoding encoding,
                                         const struct dtype_info *block_type, const void *data,
                                         uint64_t rows, uint64_t cols);

/* values[0..cols) of row r, exactly (f32 holds every value of every encoding but the products of
 * SOURCE_F8_E4M3, which are rounded once). Any number of threads at once. */
void source_matrix_read(const struct source_matrix *matrix, uint64_t row, float *values);

/* The dtype that holds the rows bit for bit: f32, f16, bf16, the block type, mxfp4 for its pairs;
 * f32 for SOURCE_F8_E4M3; the nearest that does for transposed blocks (f32). */
enum dtype source_matrix_exact(const struct source_matrix *matrix);
/* Writes row `row` of the matrix as row `to` of a matrix in the layout of format/dtype.h, unchanged
 * in value; only for a type equal to source_matrix_exact, quantised or not. */
void source_matrix_copy(const struct source_matrix *matrix, uint64_t row, void *target,
                        uint64_t target_rows, uint64_t to);
