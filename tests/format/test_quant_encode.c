/* Encoding against its rules and error bounds, with and without importance; hostile floats. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant.h"
#include "tests/check.h"

static bool is_quantised(const struct dtype_info *type)
{
    return type->block_elements > 1;
}

static float gaussian(struct check_random *random)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += check_random_float(random, -0.5f, 0.5f);
    }
    return sum;
}

/* One row through encoder and decoder, with guards around the planes. */
static void round_trip_weighted(const struct dtype_info *type, const float *values,
                                const float *importance, uint64_t cols, float *out)
{
    uint64_t bytes = dtype_matrix_bytes(type, 1, cols);
    uint8_t *matrix = malloc(bytes + 32);
    memset(matrix, 0xA5, bytes + 32);
    quant_encode_matrix_row(type, values, importance, matrix + 16, 1, cols, 0);
    for (int i = 0; i < 16; i++) {
        cr_assert(matrix[i] == 0xA5 && matrix[bytes + 16 + i] == 0xA5, "%s writes outside",
                  type->name);
    }
    for (uint32_t p = 0; p < type->n_planes; p++) {
        uint64_t end = dtype_plane_offset(type, p, 1, cols) + dtype_row_stride(type, p, cols);
        uint64_t used = dtype_plane_offset(type, p, 1, cols) +
                        cols / type->block_elements * type->plane_bytes[p];
        for (uint64_t i = used; i < end; i++) {
            cr_assert_eq(matrix[16 + i], 0, "%s leaves padding", type->name);
        }
    }
    for (uint64_t i = 0; i < cols; i++) {
        out[i] = NAN;
    }
    quant_decode_matrix_row(type, matrix + 16, 1, cols, 0, out);
    free(matrix);
}

static void round_trip(const struct dtype_info *type, const float *values, uint64_t cols,
                       float *out)
{
    round_trip_weighted(type, values, NULL, cols, out);
}

/* Root of the mean squared error, relative to the rms of gaussian weights. The bounds lie just
 * above what the types reach. ggml's own encoders end at 0.296 for q2_k, 0.151 for q3_k, 0.0715 for
 * q4_k, 0.0361 for q5_k, 0.0178 for q6_k, 0.0761 for iq4_nl, 0.0767 for iq4_xs, 0.114 for mxfp4. */
Test(quant_encode, error_bounds)
{
    static const struct {
        enum dtype type;
        double bound;
    } bounds[] = {{DTYPE_F32, 0},        {DTYPE_F16, 0.00025},  {DTYPE_BF16, 0.0018},
                  {DTYPE_Q8_0, 0.0056},  {DTYPE_Q4_0, 0.089},   {DTYPE_Q4_1, 0.08},
                  {DTYPE_Q5_0, 0.044},   {DTYPE_Q5_1, 0.039},   {DTYPE_Q2_K, 0.2665},
                  {DTYPE_Q3_K, 0.1433},  {DTYPE_Q4_K, 0.0698},  {DTYPE_Q5_K, 0.0343},
                  {DTYPE_Q6_K, 0.01703}, {DTYPE_IQ4_NL, 0.073}, {DTYPE_IQ4_XS, 0.0736},
                  {DTYPE_MXFP4, 0.1114}};
    enum { COLS = 1 << 16 };
    cr_assert_eq(sizeof(bounds) / sizeof(bounds[0]), dtype_count());
    float *values = malloc(COLS * sizeof(float)), *out = malloc(COLS * sizeof(float));
    struct check_random random = {11};
    for (int i = 0; i < COLS; i++) {
        values[i] = 0.02f * gaussian(&random);
    }
    for (size_t t = 0; t < dtype_count(); t++) {
        round_trip(dtype_info(bounds[t].type), values, COLS, out);
        double error = sqrt(check_nmse(out, values, COLS));
        cr_expect_leq(error, bounds[t].bound, "%s: %g", dtype_name(bounds[t].type), error);
    }
    free(values);
    free(out);
}

/* ---- importance ---- */

static double weighted_error(const float *out, const float *x, const float *importance, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += importance[i] * pow((double)out[i] - x[i], 2);
    }
    return sum;
}

/* Weights lower the error that they weigh, in every type that uses them. */
Test(quant_encode, importance_lowers_the_weighted_error)
{
    enum { COLS = 1 << 14 };
    static float x[COLS], importance[COLS], out[COLS];
    struct check_random random = {37};
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < COLS; i++) {
            x[i] = 0.02f * gaussian(&random);
            importance[i] = kind == 0                        ? expf(2 * gaussian(&random))
                            : check_random_below(&random, 4) ? 0
                                                             : 1e6f;
        }
        for (uint32_t t = 0; t < dtype_count(); t++) {
            const struct dtype_info *type = dtype_at(t);
            round_trip(type, x, COLS, out);
            double without = weighted_error(out, x, importance, COLS);
            round_trip_weighted(type, x, importance, COLS, out);
            double with = weighted_error(out, x, importance, COLS);
            bool uses = is_quantised(type) && type->dtype != DTYPE_Q8_0;
            double most = type->dtype == DTYPE_MXFP4 ? 0.99 : uses ? 0.95 : 1;
            cr_expect_leq(with, most * without, "%s %d: %g", type->name, kind, with / without);
        }
    }
}

/* Only proportions count, and weights that say nothing change nothing. */
Test(quant_encode, importance_out_of_range)
{
    static float x[256], importance[256], scaled[256], out[256], expected[256];
    struct check_random random = {41};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        for (int i = 0; i < 256; i++) {
            x[i] = gaussian(&random);
            importance[i] = check_random_float(&random, 0, 1);
        }
        for (int scale = -30; scale <= 30; scale += 20) {
            round_trip_weighted(type, x, importance, 256, expected);
            for (int i = 0; i < 256; i++) {
                scaled[i] = ldexpf(importance[i], scale);
            }
            round_trip_weighted(type, x, scaled, 256, out);
            cr_assert_arr_eq(out, expected, sizeof(out), "%s 2^%d", type->name, scale);
        }
        static const float useless[] = {0, -1, NAN, INFINITY, 3e38f, 1e-45f};
        for (size_t u = 0; u < sizeof(useless) / sizeof(useless[0]); u++) {
            round_trip(type, x, 256, expected);
            for (int i = 0; i < 256; i++) {
                bool alone = useless[u] < 0 || useless[u] != useless[u];
                scaled[i] = alone && i % 32 != 7 ? importance[i] : useless[u];
            }
            round_trip_weighted(type, x, scaled, 256, out);
            cr_assert_arr_eq(out, expected, sizeof(out), "%s %g", type->name, useless[u]);
        }
    }
}

/* ---- rules ---- */

/* Code i of a block of 32: nibbles in 16 bytes, then perhaps high bits in 4 at the next row's 16.
 */
static int code_at(const uint8_t *matrix, bool high, int i)
{
    int code = matrix[i % 16] >> 4 * (i / 16) & 15;
    return high ? code | (matrix[16 + i / 8] >> i % 8 & 1) << 4 : code;
}

/* The rule of ggml for the simple types: codes with the scale before its rounding to f16. */
Test(quant_encode, simple_rules)
{
    struct check_random random = {5};
    for (int round = 0; round < 4000; round++) {
        float x[32], size = powf(10, check_random_float(&random, -6, 4));
        float amax = 0, mx = 0, lowest = INFINITY, highest = -INFINITY;
        for (int i = 0; i < 32; i++) {
            x[i] = size * gaussian(&random);
            if (round % 3 == 0) {
                x[i] = rintf(x[i] * 2); /* many ties, among them halves */
            }
            lowest = fminf(lowest, x[i]);
            highest = fmaxf(highest, x[i]);
            if (fabsf(x[i]) > amax) {
                amax = fabsf(x[i]);
                mx = x[i];
            }
        }
        uint8_t matrix[64];
        quant_encode_matrix_row(dtype_info(DTYPE_Q8_0), x, NULL, matrix, 1, 32, 0);
        float d = amax / 127, inverse = d != 0 ? 1 / d : 0;
        cr_assert_eq(matrix[32] | matrix[33] << 8, f16_from_f32(d));
        for (int i = 0; i < 32; i++) {
            cr_assert_eq((int8_t)matrix[i], (int)roundf(x[i] * inverse));
        }
        for (int half = 8; half <= 16; half += 8) { /* q4_0, q5_0 */
            enum dtype dtype = half == 8 ? DTYPE_Q4_0 : DTYPE_Q5_0;
            quant_encode_matrix_row(dtype_info(dtype), x, NULL, matrix, 1, 32, 0);
            const uint8_t *scale = matrix + (half == 8 ? 16 : 32);
            d = mx / (float)-half, inverse = d != 0 ? 1 / d : 0;
            cr_assert_eq(scale[0] | scale[1] << 8, f16_from_f32(d));
            for (int i = 0; i < 32; i++) {
                int n = (int)(x[i] * inverse + (float)half + 0.5f);
                cr_assert_eq(code_at(matrix, half == 16, i), n >= 2 * half ? 2 * half - 1 : n);
            }
        }
        for (int most = 15; most <= 31; most += 16) { /* q4_1, q5_1 */
            enum dtype dtype = most == 15 ? DTYPE_Q4_1 : DTYPE_Q5_1;
            quant_encode_matrix_row(dtype_info(dtype), x, NULL, matrix, 1, 32, 0);
            const uint8_t *scale = matrix + (most == 15 ? 16 : 32);
            d = (highest - lowest) / (float)most, inverse = d != 0 ? 1 / d : 0;
            cr_assert_eq(scale[0] | scale[1] << 8, f16_from_f32(d));
            float m = f32_from_f16((uint16_t)(scale[2] | scale[3] << 8)); /* of either zero */
            cr_assert_eq(m, f32_from_f16(f16_from_f32(lowest)));
            for (int i = 0; i < 32; i++) {
                int n = (int)((x[i] - lowest) * inverse + 0.5f);
                cr_assert_eq(code_at(matrix, most == 31, i), n > most ? most : n);
            }
        }
    }
}

/* mxfp4: of all 253 exponents, none does better by more than the rounding of the sums. */
Test(quant_encode, mxfp4_finds_the_best_exponent)
{
    static const float table[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    struct check_random random = {43};
    for (int round = 0; round < 500; round++) {
        float x[32], out[32], ones[32];
        float size = ldexpf(1, (int)check_random_below(&random, 200) - 100);
        for (int i = 0; i < 32; i++) {
            x[i] = size * gaussian(&random);
            ones[i] = 1 / size / size;
        }
        round_trip(dtype_info(DTYPE_MXFP4), x, 32, out);
        double reached = weighted_error(out, x, ones, 32);
        for (int e = 0; e < 253; e++) {
            double error = 0;
            for (int i = 0; i < 32; i++) {
                double least = INFINITY;
                for (int k = 0; k < 8; k++) {
                    least = fmin(least, fabs(fabs((double)x[i]) - ldexp(table[k], e - 127)));
                }
                error += ones[i] * least * least;
            }
            cr_assert_geq(error * 1.0001, reached, "2^%d", e - 127);
        }
    }
}

/* Super-blocks with structure: groups of very different sizes, one-sided groups, single outliers.
 * Each group must come back to within the step that its own range and the shared factors allow. */
Test(quant_encode, k_types_uneven_groups)
{
    struct check_random random = {13};
    for (int round = 0; round < 500; round++) {
        float x[256], out[256];
        for (int g = 0; g < 16; g++) {
            float size = powf(2, check_random_float(&random, -2, 0));
            float shift = round % 2 ? check_random_float(&random, -1, 1) : 0;
            for (int i = 0; i < 16; i++) {
                x[16 * g + i] = size * check_random_float(&random, -1, 1) + shift;
            }
        }
        static const struct {
            enum dtype type;
            double bound;
        } bounds[] = {{DTYPE_Q2_K, 0.16},  {DTYPE_Q3_K, 0.05},   {DTYPE_Q4_K, 0.012},
                      {DTYPE_Q5_K, 0.003}, {DTYPE_Q6_K, 0.0006}, {DTYPE_IQ4_XS, 0.014}};
        for (size_t t = 0; t < sizeof(bounds) / sizeof(bounds[0]); t++) {
            const struct dtype_info *type = dtype_info(bounds[t].type);
            round_trip(type, x, 256, out);
            double error = check_nmse(out, x, 256);
            cr_assert_leq(error, bounds[t].bound, "%s: %g", type->name, error);
        }
    }
}

Test(quant_encode, rows_of_a_matrix)
{
    struct check_random random = {3};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        uint64_t rows = 5, cols = 3 * type->block_elements;
        float x[5][3 * 256], out[3 * 256], alone[3 * 256];
        uint8_t *matrix = malloc(dtype_matrix_bytes(type, rows, cols));
        memset(matrix, 0xA5, dtype_matrix_bytes(type, rows, cols));
        for (uint64_t r = 0; r < rows; r++) {
            for (uint64_t i = 0; i < cols; i++) {
                x[r][i] = gaussian(&random);
            }
        }
        for (int r = 4; r >= 0; r--) {
            quant_encode_matrix_row(type, x[r], NULL, matrix, rows, cols, (uint64_t)r);
        }
        for (uint64_t r = 0; r < rows; r++) {
            quant_decode_matrix_row(type, matrix, rows, cols, r, out);
            round_trip(type, x[r], cols, alone);
            cr_assert_arr_eq(out, alone, cols * sizeof(float), "%s row %zu", type->name, (size_t)r);
        }
        free(matrix);
    }
}

/* ---- hostile floats ---- */

Test(quant_encode, zeros_and_constants)
{
    static const float constants[] = {0,     1,    -1,    0.3f,  -0.3f,  1000,
                                      -1000, 6e4f, -6e4f, 1e-3f, -1e-3f, 1e5f};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        if (!is_quantised(type)) {
            continue;
        }
        for (size_t c = 0; c < sizeof(constants) / sizeof(constants[0]); c++) {
            float x[256], out[256];
            for (int i = 0; i < 256; i++) {
                x[i] = constants[c];
            }
            round_trip(type, x, 256, out);
            for (int i = 0; i < 256; i++) {
                /* What f16 scales allow: 2^-11 of two roundings, 2^-24 steps near zero. */
                float allowed = fabsf(constants[c]) * 0.004f + 127 * 0x1p-25f;
                if (type->dtype == DTYPE_MXFP4) { /* between 4 and 6 there is nothing */
                    allowed = fabsf(constants[c]) * 0.2001f;
                }
                cr_assert_leq(fabsf(out[i] - x[i]), allowed, "%s %g: %g", type->name, x[i], out[i]);
            }
        }
    }
}

Test(quant_encode, tiny_k_types)
{
    /* Group scales below the smallest f16 still use the integers above it. */
    struct check_random random = {17};
    static const enum dtype types[] = {DTYPE_Q3_K, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K,
                                       DTYPE_IQ4_XS};
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        float x[256], out[256];
        for (int i = 0; i < 256; i++) {
            x[i] = 1e-5f * check_random_float(&random, -1, 1);
        }
        round_trip(dtype_info(types[t]), x, 256, out);
        double bound = types[t] == DTYPE_Q3_K ? 0.08 : 0.02;
        cr_assert_leq(check_nmse(out, x, 256), bound, "%s", dtype_name(types[t]));
    }
}

Test(quant_encode, hostile_values)
{
    static const float poisons[] = {INFINITY, -INFINITY, NAN,    -NAN,    3.4e38f, -3.4e38f,
                                    1e-45f,   -1e-45f,   1e-38f, 1e30f,   -1e30f,  1e-30f,
                                    65504.0f, 8.4e6f,    6.3e7f, -4.2e6f, 2.7e8f};
    struct check_random random = {19};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        if (!is_quantised(type)) {
            continue;
        }
        for (int round = 0; round < 3000; round++) {
            float x[256], out[256];
            uint32_t poisoned =
                check_random_below(&random, 3) ? check_random_below(&random, 8) : 256;
            for (int i = 0; i < 256; i++) {
                x[i] = round % 2 ? gaussian(&random) : 0;
                if ((uint32_t)i < poisoned) {
                    x[i] = poisons[check_random_below(&random, sizeof(poisons) / sizeof(float))];
                }
            }
            for (int i = 255; i > 0; i--) { /* shuffle */
                uint32_t j = check_random_below(&random, (uint32_t)i + 1);
                float swap = x[i];
                x[i] = x[j];
                x[j] = swap;
            }
            round_trip(type, x, 256, out);
            for (int i = 0; i < 256; i++) {
                cr_assert(isfinite(out[i]), "%s: %g becomes %g", type->name, x[i], out[i]);
                /* The range of mxfp4 is wide enough to tell 1e30 from infinity. */
                bool huge = fabsf(x[i]) >= (type->dtype == DTYPE_MXFP4 ? 1e38f : 1e30f);
                bool sign_kept = !huge || (out[i] > 0) - (out[i] < 0) == (x[i] > 0) - (x[i] < 0);
                cr_assert(sign_kept, "%s: %g becomes %g", type->name, x[i], out[i]);
            }
        }
    }
}

Test(quant_encode, nan_counts_as_zero)
{
    struct check_random random = {23};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        if (!is_quantised(type)) {
            continue;
        }
        float x[256], zero[256], out[256], expected[256];
        for (int i = 0; i < 256; i++) {
            x[i] = zero[i] = gaussian(&random);
            if (i % 19 == 0) {
                x[i] = NAN;
                zero[i] = 0;
            }
        }
        round_trip(type, x, 256, out);
        round_trip(type, zero, 256, expected);
        cr_assert_arr_eq(out, expected, sizeof(out), "%s", type->name);
    }
}

Test(quant_encode, infinity_is_the_largest_value)
{
    static const struct {
        enum dtype type;
        float of_plus, of_minus; /* alone in a block, in units of 65504 */
    } largest[] = {{DTYPE_Q4_0, 8, -8},
                   {DTYPE_Q4_1, 15, -1},
                   {DTYPE_Q5_0, 16, -16},
                   {DTYPE_Q5_1, 31, -1},
                   {DTYPE_Q8_0, 127, -127},
                   {DTYPE_Q2_K, 15 * 3, -15},
                   {DTYPE_Q3_K, 32 * 4, -32 * 4},
                   {DTYPE_Q4_K, 63 * 15, -63},
                   {DTYPE_Q5_K, 63 * 31, -63},
                   {DTYPE_Q6_K, 128 * 32, -128 * 32},
                   {DTYPE_IQ4_NL, 127, -127},
                   {DTYPE_IQ4_XS, 32 * 127, -32 * 127},
                   {DTYPE_MXFP4, 0x1.8p127f / 65504, -0x1.8p127f / 65504}};
    for (size_t t = 0; t < sizeof(largest) / sizeof(largest[0]); t++) {
        for (int sign = 0; sign < 2; sign++) {
            float x[256] = {0}, out[256];
            x[5] = sign ? -INFINITY : INFINITY;
            round_trip(dtype_info(largest[t].type), x, 256, out);
            float expected = 65504 * (sign ? largest[t].of_minus : largest[t].of_plus);
            cr_expect_leq(fabsf(out[5] / expected - 1), 0.02f, "%s: %g",
                          dtype_name(largest[t].type), out[5]);
        }
    }
}
