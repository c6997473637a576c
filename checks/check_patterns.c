/* Every bit pattern of every field of every type of weights.
 *
 * Blocks come in two stretches. In the first, every byte but the scales takes each of its 256
 * values four times, each in an order of its own, so that fields made of bits of two or three bytes
 * take all of theirs, too. In the second, the scales go through all subnormal halves and some of
 * the others, or all exponents of mxfp4, with random codes. The 16-bit types go through all finite
 * numbers. What a subnormal float comes to is the device's own choice: it may be 0.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant.h"
#include "checks/check_ops.h"

#define CODE_BLOCKS (4 * 256)
#define HALF_STEP 29 /* of the halves that are not subnormal, one in so many */
#define MAX_HALVES 8192

/* The block-th block's bytes in a plane. */
static uint8_t *block_bytes(const struct dtype_info *type, uint8_t *matrix, uint64_t rows,
                            uint64_t cols, uint32_t plane, uint64_t block)
{
    uint64_t row_blocks = cols / type->block_elements;
    return matrix + dtype_plane_offset(type, plane, rows, cols) +
           block / row_blocks * dtype_row_stride(type, plane, cols) +
           block % row_blocks * type->plane_bytes[plane];
}

static uint32_t list_halves(uint16_t halves[MAX_HALVES])
{
    uint32_t n = 0;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint32_t exponent = bits >> 10 & 31;
        if (exponent == 0 || (exponent < 31 && bits % HALF_STEP == 0)) {
            halves[n++] = (uint16_t)bits;
        }
    }
    return n;
}

/* The number-th pattern of the scales; a second half takes patterns in another order. */
static void put_scales(const struct check_scales *scales, uint32_t number, uint8_t *bytes)
{
    static uint16_t halves[MAX_HALVES];
    static uint32_t n;
    if (n == 0) {
        n = list_halves(halves);
    }
    if (scales->n_halves == 0) {
        bytes[0] = (uint8_t)number;
    }
    for (uint32_t i = 0; i < scales->n_halves; i++) {
        memcpy(bytes + 2 * i, &halves[(number + i * 1001) * (2 * i + 1) % n], 2);
    }
}

static void put_blocks(const struct dtype_info *type, struct check_random *random, uint8_t *matrix,
                       uint64_t rows, uint64_t cols)
{
    const struct check_scales scales = check_scales_of(type->dtype);
    const uint64_t blocks = rows * cols / type->block_elements;
    uint32_t order[256];
    for (uint32_t p = 0; p < type->n_planes; p++) {
        for (uint32_t i = 0; i < type->plane_bytes[p]; i++) {
            for (uint64_t b = 0; b < blocks; b++) {
                if (b % 256 == 0) {
                    check_shuffle(random, order, 256);
                }
                block_bytes(type, matrix, rows, cols, p, b)[i] = (uint8_t)order[b % 256];
            }
        }
    }
    for (uint64_t b = 0; b < blocks; b++) {
        uint8_t *bytes = block_bytes(type, matrix, rows, cols, scales.plane, b);
        if (b < CODE_BLOCKS) {
            check_random_scales(random, &scales, bytes);
        } else {
            put_scales(&scales, (uint32_t)b - CODE_BLOCKS, bytes);
        }
    }
}

/* Numbers, not finite ones replaced by 0. */
static void put_elements(const struct dtype_info *type, struct check_random *random,
                         uint8_t *matrix, uint64_t rows, uint64_t cols)
{
    uint32_t bytes = type->plane_bytes[0];
    for (uint64_t i = 0; i < rows * cols; i++) {
        uint32_t bits = bytes == 2 ? (uint32_t)i : (uint32_t)(check_random_u64(random) >> 32);
        uint32_t exponent = type->dtype == DTYPE_F32    ? bits >> 23 & 255
                            : type->dtype == DTYPE_BF16 ? bits >> 7 & 255
                                                        : bits >> 10 & 31;
        if (exponent == (type->dtype == DTYPE_F16 ? 31 : 255)) {
            bits = 0;
        }
        memcpy(block_bytes(type, matrix, rows, cols, 0, i), &bits, bytes);
    }
}

static void shape_of(const struct dtype_info *type, uint32_t *rows, uint32_t *cols)
{
    uint16_t halves[MAX_HALVES];
    uint32_t elements = 65536;
    *cols = 64;
    if (type->block_elements > 1) {
        elements = (CODE_BLOCKS + list_halves(halves)) * type->block_elements;
        *cols = type->block_elements == 32 ? 128 : 512;
    }
    *rows = (elements + *cols - 1) / *cols;
}

/* A matrix made by `put`, as tensor 1; returns what it decodes to, infinite for some of mxfp4's
 * exponents. */
static float *input_matrix(struct check_case *c, uint32_t rows, uint32_t cols,
                           void (*put)(const struct dtype_info *type, struct check_random *random,
                                       uint8_t *matrix, uint64_t rows, uint64_t cols))
{
    const struct dtype_info *type = dtype_info(c->dtype);
    uint64_t bytes = dtype_matrix_bytes(type, rows, cols);
    float *values = check_alloc(c, (uint64_t)rows * cols);
    uint8_t *matrix = calloc(1, bytes);
    if (!matrix) {
        abort();
    }
    put(type, &c->random, matrix, rows, cols);
    for (uint64_t row = 0; row < rows; row++) {
        quant_decode_matrix_row(type, matrix, rows, cols, row, values + row * cols);
    }
    check_input(c, 1, c->dtype, rows, cols, matrix, bytes);
    free(matrix);
    return values;
}

static float *input_patterns(struct check_case *c, uint32_t rows, uint32_t cols)
{
    return input_matrix(c, rows, cols,
                        dtype_info(c->dtype)->block_elements > 1 ? put_blocks : put_elements);
}

/* Element by element, as near as two roundings of the largest number of a block. */
static void compare_elements(struct check_case *c, const float *expected, uint64_t n)
{
    const float *got = check_result(c, 2);
    const uint32_t block = dtype_info(c->dtype)->block_elements;
    for (uint64_t first = 0; first < n; first += block) {
        double largest = 0;
        for (uint64_t i = first; i < first + block; i++) {
            largest = isfinite(expected[i]) ? fmax(largest, fabs((double)expected[i])) : largest;
        }
        for (uint64_t i = first; i < first + block; i++) {
            double error = fabs((double)got[i] - (double)expected[i]);
            if (got[i] != expected[i] && !(error <= 2.5e-7 * largest + FLT_MIN)) {
                check_fail(c, "element %" PRIu64 " of block %" PRIu64 " is %.9g, should be %.9g",
                           i - first, first / block, (double)got[i], (double)expected[i]);
                return;
            }
        }
    }
}

void check_patterns_embed(struct check_device *device)
{
    if (device->no_patterns) {
        return;
    }
    for (uint32_t d = 0; d < dtype_count(); d++) {
        struct check_case c;
        uint32_t rows, cols;
        shape_of(dtype_at(d), &rows, &cols);
        check_begin_always(&c, device, OP_embed, dtype_at(d)->dtype, rows, "bit patterns");
        uint32_t *tokens = (uint32_t *)check_alloc(&c, rows);
        check_shuffle(&c.random, tokens, rows);
        check_step(&c, 0, tokens);
        const float *table = input_patterns(&c, rows, cols);
        check_output_floats(&c, 2, c.max_tokens, cols);
        struct embed_args *args = &check_op(&c)->args.embed;
        args->rows = rows;
        args->dim = cols;
        float *expected = check_alloc(&c, (uint64_t)rows * cols);
        if (check_run(&c)) {
            for (uint64_t t = 0; t < rows; t++) {
                memcpy(expected + t * cols, table + (uint64_t)tokens[t] * cols,
                       cols * sizeof(float));
            }
            compare_elements(&c, expected, (uint64_t)rows * cols);
        }
        check_end(&c);
    }
}

/* Whole numbers up to 127 in size, which is the largest of every 32: rounded to int8 as they are.
 */
static float *input_whole_numbers(struct check_case *c, uint32_t cols)
{
    float *x = check_alloc(c, cols);
    for (uint32_t i = 0; i < cols; i++) {
        int size = i % 32 == 0 ? 127 : 1 + (int)check_random_below(&c->random, 127);
        x[i] = (float)(check_random_below(&c->random, 2) ? size : -size);
    }
    check_input(c, 2, DTYPE_F32, 1, cols, x, cols * sizeof(float));
    return x;
}

/* Row by row of every token, relative to the sizes of what is summed, and to `unit` of those of the
 * vector; rows that leave the range of floats may be anything. */
static void compare_rows(struct check_case *c, const float *weights, const float *x, uint32_t rows,
                         uint32_t cols, double unit)
{
    const float *got = check_result(c, 6);
    for (uint64_t i = 0; i < (uint64_t)c->n_tokens * rows; i++) {
        uint64_t token = i / rows, row = i % rows;
        double sum = 0, size = 0;
        for (uint64_t k = 0; k < cols; k++) {
            double product = (double)weights[row * cols + k] * (double)x[token * cols + k];
            sum += product;
            size += fabs(product) + unit * fabs((double)x[token * cols + k]);
        }
        if (size < 1e36 && !(fabs((double)got[i] - sum) <= 4e-6 * size + 2e4 * FLT_MIN)) {
            check_fail(c, "row %" PRIu64 " of token %" PRIu64 " is %.9g, should be %.9g", row,
                       token, (double)got[i], sum);
            return;
        }
    }
}

void check_patterns_matmul(struct check_device *device)
{
    if (device->no_patterns || device->fewest_tokens > 1) {
        return;
    }
    for (uint32_t d = 0; d < dtype_count(); d++) {
        struct check_case c;
        uint32_t rows, cols;
        shape_of(dtype_at(d), &rows, &cols);
        check_begin_always(&c, device, OP_matmul, dtype_at(d)->dtype, 1, "bit patterns");
        check_step(&c, 0, NULL);
        const float *weights = input_patterns(&c, rows, cols);
        const float *x = input_whole_numbers(&c, cols);
        check_output_floats(&c, 6, 1, rows);
        struct matmul_args *args = &check_op(&c)->args.matmul;
        args->rows = rows;
        args->cols = cols;
        if (check_run(&c)) {
            compare_rows(&c, weights, x, rows, cols, 0);
        }
        check_end(&c);
    }
}

/* ---- extremes ---- */

#define EXTREME_ROWS 37 /* with every byte in every plane, and a number that nothing divides */

/* Bytes that make the largest and smallest codes, in all planes of a row but one, which is random,
 * so that there are scales of zero and others. */
static void put_extremes(const struct dtype_info *type, struct check_random *random,
                         uint8_t *matrix, uint64_t rows, uint64_t cols)
{
    static const uint8_t bytes[] = {0xFF, 0x00, 0x7F, 0x80, 0xF0, 0x0F, 0xAA, 0x55};
    const struct check_scales scales = check_scales_of(type->dtype);
    const uint64_t row_blocks = cols / type->block_elements;
    for (uint64_t b = 0; b < rows * row_blocks; b++) {
        uint32_t row = (uint32_t)(b / row_blocks);
        for (uint32_t p = 0; p < type->n_planes; p++) {
            uint8_t *block = block_bytes(type, matrix, rows, cols, p, b);
            for (uint32_t i = 0; i < type->plane_bytes[p]; i++) {
                block[i] = p == row % type->n_planes ? (uint8_t)(check_random_u64(random) >> 56)
                                                     : bytes[row / type->n_planes % 8];
            }
        }
        check_random_scales(random, &scales,
                            block_bytes(type, matrix, rows, cols, scales.plane, b));
    }
}

/* 127 in size, times a factor of every 32: positive, negative, in turn by token. */
static float *input_extremes(struct check_case *c, uint32_t cols)
{
    float *x = check_alloc(c, (uint64_t)c->n_tokens * cols);
    for (uint32_t t = 0; t < c->n_tokens; t++) {
        for (uint32_t i = 0; i < cols; i++) {
            bool negative = t % 3 == 1 || (t % 3 == 2 && i % 2 == 1);
            x[t * cols + i] = (negative ? -127.0f : 127.0f) * (float)(1 + (i / 32 + t) % 5);
        }
    }
    check_input_tokens(c, 2, DTYPE_F32, cols, x);
    return x;
}

/* One of each way in which kernels load scales: their matrices have more columns than the 2048 that
 * kernels take at once, and end within what they take next. */
static bool is_wide(enum dtype dtype)
{
    return dtype == DTYPE_Q4_0 || dtype == DTYPE_MXFP4 || dtype == DTYPE_Q4_K;
}

/* Sums of products that are as large as they come: where fields of words are added up, this is
 * where they run over. Vectors are as many as the device is open to: one, few or many. */
void check_extremes_matmul(struct check_device *device)
{
    if (device->no_patterns) {
        return;
    }
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        const uint32_t rows = EXTREME_ROWS;
        const uint32_t cols = type->block_elements == 32 ? (is_wide(type->dtype) ? 77 : 13) * 32
                                                         : (is_wide(type->dtype) ? 10 : 3) * 256;
        struct check_case c;
        if (type->block_elements == 1 || device->float16_products ||
            (device->types && !(device->types >> type->dtype & 1))) {
            continue;
        }
        check_begin_always(&c, device, OP_matmul, type->dtype,
                           device->fewest_tokens > 1 ? 11 : 1 + d % 2 * 2, "extremes");
        check_step(&c, 0, NULL);
        const float *weights = input_matrix(&c, rows, cols, put_extremes);
        const float *x = input_extremes(&c, cols);
        double largest = 0; /* some kernels add a constant to codes and take it off again */
        for (uint32_t i = 0; i < rows * cols; i++) {
            largest = fmax(largest, fabs((double)weights[i]));
        }
        check_output_floats(&c, 6, c.max_tokens, rows);
        struct matmul_args *args = &check_op(&c)->args.matmul;
        args->rows = rows;
        args->cols = cols;
        if (check_run(&c)) {
            compare_rows(&c, weights, x, rows, cols, largest / 20);
        }
        check_end(&c);
    }
}
