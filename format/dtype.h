/* The types that weights are stored in: one row a type, everything else is derived from it.
 *
 * A matrix has `rows` rows of `cols` elements, row-major (PyTorch's [out, in]). A quantised type
 * groups `block_elements` consecutive elements of a row into a block. ggml keeps the fields of a
 * block together (`ggml_block_bytes`); we split them into planes, because blocks of 18, 34 or 210
 * bytes cannot be read with aligned words:
 *
 *     matrix = plane 0 of all rows | plane 1 of all rows | ...
 *     plane  = rows x stride, stride = blocks in a row x plane bytes of a block, rounded up to 16
 *
 * so every row of every plane starts at a 16-byte boundary (when the matrix does). The values are
 * exactly ggml's. Padding at the end of a row is zero.
 *
 *     f32, f16, bf16   one plane of elements
 *     q4_0     nibbles[16] | f16 d                                   y = d (n - 8)
 *     q4_1     nibbles[16] | f16 d, f16 m                            y = d n + m
 *     q5_0     nibbles[16] | high bits[4] | f16 d                    y = d (n - 16)
 *     q5_1     nibbles[16] | high bits[4] | f16 d, f16 m             y = d n + m
 *     q8_0     int8 quants[32] | f16 d                               y = d q
 *     q2_k     pairs[64] | scales[16] | f16 d, f16 dmin
 *     q3_k     pairs[64] | high bits[32] | scales[12] | f16 d
 *     q4_k     nibbles[128] | f16 d, f16 dmin, scales[12]            (16 bytes together)
 *     q5_k     nibbles[128] | high bits[32] | f16 d, f16 dmin, scales[12]
 *     q6_k     low nibbles[128] | high pairs[64] | int8 scales[16] | f16 d
 *     iq4_nl   nibbles[16] | f16 d                                   y = d table[n]
 *     iq4_xs   nibbles[128] | f16 d, u16 scales_h, scales_l[4]       (8 bytes together)
 *     mxfp4    nibbles[16] | e8m0 scale                              y = 2^(e - 128) table[n]
 *
 * The order of bytes and bits inside each field is ggml's (format/README.md repeats it in full).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define DTYPE_MAX_PLANES 4
#define DTYPE_ROW_ALIGN 16 /* bytes: one 128-bit load of a shader or of SSE */

/* X(NAME, id, "name", block_elements, ggml_block_bytes, planes...)
 * id is ggml's type number and is what files store. */
#define DTYPES(X) \
    X(F32, 0, "f32", 1, 4, 4) \
    X(F16, 1, "f16", 1, 2, 2) \
    X(Q4_0, 2, "q4_0", 32, 18, 16, 2) \
    X(Q4_1, 3, "q4_1", 32, 20, 16, 4) \
    X(Q5_0, 6, "q5_0", 32, 22, 16, 4, 2) \
    X(Q5_1, 7, "q5_1", 32, 24, 16, 4, 4) \
    X(Q8_0, 8, "q8_0", 32, 34, 32, 2) \
    X(Q2_K, 10, "q2_k", 256, 84, 64, 16, 4) \
    X(Q3_K, 11, "q3_k", 256, 110, 64, 32, 12, 2) \
    X(Q4_K, 12, "q4_k", 256, 144, 128, 16) \
    X(Q5_K, 13, "q5_k", 256, 176, 128, 32, 16) \
    X(Q6_K, 14, "q6_k", 256, 210, 128, 64, 16, 2) \
    X(IQ4_NL, 20, "iq4_nl", 32, 18, 16, 2) \
    X(IQ4_XS, 23, "iq4_xs", 256, 136, 128, 8) \
    X(BF16, 30, "bf16", 1, 2, 2) \
    X(MXFP4, 39, "mxfp4", 32, 17, 16, 1)

enum dtype {
#define X(NAME, id, ...) DTYPE_##NAME = id,
    DTYPES(X)
#undef X
        DTYPE_U32 = 1000, /* ids and lists between ops; never in a file */
};

struct dtype_info {
    const char *name;
    enum dtype dtype;
    uint32_t block_elements;
    uint32_t ggml_block_bytes;
    uint32_t n_planes;
    uint32_t plane_bytes[DTYPE_MAX_PLANES]; /* bytes of one block in each plane */
};

/* The row of a type, or NULL if the number is not one of DTYPES (DTYPE_U32 included). */
const struct dtype_info *dtype_info(uint32_t id);

/* The row of a type by its lower-case name, or NULL. */
const struct dtype_info *dtype_find(const char *name);

/* Number of rows of DTYPES, and the row at an index below it: for loops over all types. */
uint32_t dtype_count(void);
const struct dtype_info *dtype_at(uint32_t index);

/* Name of any enum dtype, "u32" included; "?" if unknown. */
const char *dtype_name(uint32_t id);

/* Bytes from one row of a plane to the next. cols must be a multiple of block_elements. */
uint64_t dtype_row_stride(const struct dtype_info *type, uint32_t plane, uint64_t cols);

/* Byte offset of a plane from the start of its matrix, and bytes of the whole matrix. The caller
 * has made sure that nothing overflows (dtype_matrix_fits). */
uint64_t dtype_plane_offset(const struct dtype_info *type, uint32_t plane, uint64_t rows,
                            uint64_t cols);
uint64_t dtype_matrix_bytes(const struct dtype_info *type, uint64_t rows, uint64_t cols);

/* Whether cols is a whole number of blocks, both are positive and the matrix has fewer than 2^62
 * bytes: to be asked before the functions above for any shape that comes from a file. */
bool dtype_matrix_fits(const struct dtype_info *type, uint64_t rows, uint64_t cols);
