/* Random matrices of weights, of every type. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant.h"
#include "checks/check_ops.h"

struct check_scales check_scales_of(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q4_0:
        return (struct check_scales){1, 1, -3};
    case DTYPE_Q4_1:
        return (struct check_scales){1, 2, -4};
    case DTYPE_Q5_0:
        return (struct check_scales){2, 1, -4};
    case DTYPE_Q5_1:
        return (struct check_scales){2, 2, -5};
    case DTYPE_Q8_0:
    case DTYPE_IQ4_NL:
        return (struct check_scales){1, 1, -7};
    case DTYPE_Q2_K:
        return (struct check_scales){2, 2, -5};
    case DTYPE_Q3_K:
        return (struct check_scales){3, 1, -7};
    case DTYPE_Q4_K:
        return (struct check_scales){1, 2, -10};
    case DTYPE_Q5_K:
        return (struct check_scales){2, 2, -11};
    case DTYPE_IQ4_XS:
        return (struct check_scales){1, 1, -12};
    case DTYPE_MXFP4:
        return (struct check_scales){1, 0, 0};
    case DTYPE_Q6_K:
        return (struct check_scales){3, 1, -12};
    default:
        abort();
    }
}

/* Either sign, 1 to 4 times 2^exponent. */
static void put_random_half(struct check_random *random, int exponent, uint8_t *half)
{
    float value = ldexpf(check_random_float(random, 1, 4), exponent);
    uint16_t bits = f16_from_f32(check_random_below(random, 2) ? value : -value);
    memcpy(half, &bits, sizeof(bits));
}

void check_random_scales(struct check_random *random, const struct check_scales *scales,
                         uint8_t *bytes)
{
    if (scales->n_halves == 0) {
        bytes[0] = (uint8_t)(124 + check_random_below(random, 4));
    }
    for (uint32_t i = 0; i < scales->n_halves; i++) {
        put_random_half(random, scales->exponent, bytes + 2 * i);
    }
}

static void random_blocks(struct check_random *random, const struct dtype_info *type, uint64_t rows,
                          uint64_t cols, uint8_t *matrix)
{
    struct check_scales scales = check_scales_of(type->dtype);
    if (check_random_below(random, 8) == 0) {
        scales.exponent = -18; /* f16 subnormals, which a fast decoder might take for zero */
    }
    for (uint32_t p = 0; p < type->n_planes; p++) {
        uint64_t stride = dtype_row_stride(type, p, cols);
        uint64_t row_bytes = cols / type->block_elements * type->plane_bytes[p];
        uint8_t *plane = matrix + dtype_plane_offset(type, p, rows, cols);
        for (uint64_t row = 0; row < rows; row++) {
            uint8_t *bytes = plane + row * stride;
            memset(bytes + row_bytes, 0, stride - row_bytes);
            for (uint64_t i = 0; i < row_bytes; i++) {
                bytes[i] = (uint8_t)(check_random_u64(random) >> 56);
            }
            for (uint64_t b = 0; p == scales.plane && b < row_bytes; b += type->plane_bytes[p]) {
                check_random_scales(random, &scales, bytes + b);
            }
        }
    }
}

void check_random_matrix(struct check_random *random, enum check_fill fill,
                         const struct dtype_info *type, uint64_t rows, uint64_t cols,
                         uint8_t *matrix, float *values)
{
    if (type->block_elements == 1) {
        check_fill(random, fill, values, rows * cols);
        for (uint64_t row = 0; row < rows; row++) {
            quant_encode_matrix_row(type, values + row * cols, NULL, matrix, rows, cols, row);
        }
    } else {
        random_blocks(random, type, rows, cols, matrix);
    }
    for (uint64_t row = 0; row < rows; row++) {
        quant_decode_matrix_row(type, matrix, rows, cols, row, values + row * cols);
    }
}

float *check_input_weights(struct check_case *c, uint32_t index, uint64_t rows, uint64_t cols)
{
    const struct dtype_info *type = dtype_info(c->dtype);
    uint64_t bytes = dtype_matrix_bytes(type, rows, cols);
    float *values = check_alloc(c, rows * cols);
    uint8_t *matrix = malloc(bytes);
    if (!matrix) {
        abort();
    }
    check_random_matrix(&c->random, c->fill, type, rows, cols, matrix, values);
    check_input(c, index, c->dtype, rows, cols, matrix, bytes);
    free(matrix);
    return values;
}
