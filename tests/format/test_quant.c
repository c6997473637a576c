/* Decoding against vectors and against a second implementation that walks ggml's blocks in order;
 * encoding against its rules and error bounds; hostile floats. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant.h"
#include "tests/check.h"

#define MAX_BLOCK 256

/* ---- a second decoder, on ggml's blocks ---- */

/* Where the fields of a ggml block lie, in the order of our planes. */
static void split_block(const struct dtype_info *type, const uint8_t *block,
                        uint8_t planes[DTYPE_MAX_PLANES][MAX_BLOCK])
{
    switch (type->dtype) {
    case DTYPE_Q4_0:
    case DTYPE_Q8_0:
        memcpy(planes[0], block + 2, type->plane_bytes[0]);
        memcpy(planes[1], block, 2);
        break;
    case DTYPE_Q4_K:
        memcpy(planes[0], block + 16, 128);
        memcpy(planes[1], block, 16);
        break;
    case DTYPE_Q6_K:
        memcpy(planes[0], block, 128);
        memcpy(planes[1], block + 128, 64);
        memcpy(planes[2], block + 192, 16);
        memcpy(planes[3], block + 208, 2);
        break;
    default:
        cr_assert_fail("no blocks in %s", type->name);
    }
}

static float half_at(const uint8_t *bytes)
{
    return f32_from_f16((uint16_t)(bytes[0] | bytes[1] << 8));
}

static void walk_q4_k(const uint8_t *block, float *out)
{
    const uint8_t *nibbles = block + 16, *s = block + 4;
    for (int group = 0; group < 8; group++) {
        int scale, low;
        if (group < 4) {
            scale = s[group] % 64;
            low = s[group + 4] % 64;
        } else {
            scale = s[group + 4] % 16 + 16 * (s[group - 4] / 64);
            low = s[group + 4] / 16 + 16 * (s[group] / 64);
        }
        for (int i = 0; i < 32; i++) {
            int byte = nibbles[i];
            int n = group % 2 ? byte / 16 : byte % 16;
            *out++ = half_at(block) * (float)scale * (float)n - half_at(block + 2) * (float)low;
        }
        nibbles += group % 2 ? 32 : 0;
    }
}

static void walk_q6_k(const uint8_t *block, float *out)
{
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = block + 64 * half, *high = block + 128 + 32 * half;
        const int8_t *scales = (const int8_t *)block + 192 + 8 * half;
        for (int i = 0; i < 32; i++) {
            int codes[4] = {
                low[i] % 16 + 16 * (high[i] % 4),
                low[i + 32] % 16 + 16 * (high[i] / 4 % 4),
                low[i] / 16 + 16 * (high[i] / 16 % 4),
                low[i + 32] / 16 + 16 * (high[i] / 64),
            };
            for (int k = 0; k < 4; k++) {
                out[128 * half + 32 * k + i] =
                    half_at(block + 208) * (float)scales[i / 16 + 2 * k] * (float)(codes[k] - 32);
            }
        }
    }
}

static void walk_block(const struct dtype_info *type, const uint8_t *block, float *out)
{
    switch (type->dtype) {
    case DTYPE_Q8_0:
        for (int i = 0; i < 32; i++) {
            out[i] =
                half_at(block) * (float)(block[2 + i] < 128 ? block[2 + i] : block[2 + i] - 256);
        }
        break;
    case DTYPE_Q4_0:
        for (int i = 0; i < 16; i++) {
            out[i] = half_at(block) * (float)(block[2 + i] % 16 - 8);
            out[i + 16] = half_at(block) * (float)(block[2 + i] / 16 - 8);
        }
        break;
    case DTYPE_Q4_K:
        walk_q4_k(block, out);
        break;
    case DTYPE_Q6_K:
        walk_q6_k(block, out);
        break;
    default:
        cr_assert_fail("no blocks in %s", type->name);
    }
}

static void decode_block(const struct dtype_info *type, const uint8_t *block, float *out)
{
    uint8_t planes[DTYPE_MAX_PLANES][MAX_BLOCK];
    memset(planes, 0xA5, sizeof(planes));
    split_block(type, block, planes);
    const uint8_t *rows[DTYPE_MAX_PLANES] = {planes[0], planes[1], planes[2], planes[3]};
    for (int i = 0; i < MAX_BLOCK; i++) {
        out[i] = -12345.0f;
    }
    quant_of(type->dtype)->decode_row(rows, type->block_elements, out);
}

static void check_block(const struct dtype_info *type, const uint8_t *block)
{
    float ours[MAX_BLOCK], walked[MAX_BLOCK];
    decode_block(type, block, ours);
    walk_block(type, block, walked);
    for (uint32_t i = 0; i < type->block_elements; i++) {
        bool same = ours[i] == walked[i] || (isnan(ours[i]) && isnan(walked[i]));
        cr_assert(same, "%s element %u: %g, not %g", type->name, i, ours[i], walked[i]);
    }
}

static const enum dtype block_types[] = {DTYPE_Q4_0, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_Q6_K};
#define N_BLOCK_TYPES (sizeof(block_types) / sizeof(block_types[0]))

/* ---- vectors ---- */

static uint32_t crc32_of(const void *data, size_t bytes)
{
    uint32_t crc = 0xFFFFFFFFu;
    const uint8_t *at = data;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}

/* The block is b[k] = 73 k + 41, then f16 values put at up to two places. Sum and CRC-32 are those
 * of ggml's own decoder (with -0 turned into +0). */
struct vector {
    enum dtype type;
    struct {
        int offset;
        uint16_t half;
    } patch[2];
    int positions[5];
    float values[5];
    double sum;
    uint32_t crc;
};

static const struct vector vectors[] = {
    {DTYPE_Q8_0,
     {{0, 0x2800}, {0, 0x2800}},
     {0, 1, 15, 16, 31},
     {-2.15625f, 0.125f, 0.0625f, 2.34375f, -3.4375f},
     -1.5,
     0xed623bf3},
    {DTYPE_Q4_0,
     {{0, 0x2800}, {0, 0x2800}},
     {0, 1, 15, 16, 31},
     {0.09375f, -0.125f, -0.1875f, 0.09375f, -0.25f},
     -1.03125,
     0xf0d25afd},
    {DTYPE_Q4_K,
     {{0, 0x2800}, {2, 0x2400}},
     {0, 1, 17, 100, 255},
     {2.890625f, 0.046875f, 0.046875f, 18.5625f, -0.359375f},
     1667.25,
     0xa4ce464e},
    {DTYPE_Q6_K,
     {{208, 0x2800}, {208, 0x2800}},
     {0, 1, 17, 100, 255},
     {5.03125f, -1.4375f, 3.125f, -66.6875f, 9.0f},
     -463.875,
     0xeb73591f},
};

Test(quant, vectors)
{
    for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++) {
        const struct vector *vector = &vectors[v];
        const struct dtype_info *type = dtype_info(vector->type);
        uint8_t block[MAX_BLOCK];
        for (int k = 0; k < MAX_BLOCK; k++) {
            block[k] = (uint8_t)(73 * k + 41);
        }
        for (int p = 0; p < 2; p++) {
            block[vector->patch[p].offset] = (uint8_t)vector->patch[p].half;
            block[vector->patch[p].offset + 1] = (uint8_t)(vector->patch[p].half >> 8);
        }
        float out[MAX_BLOCK];
        decode_block(type, block, out);
        double sum = 0;
        for (uint32_t i = 0; i < type->block_elements; i++) {
            sum += out[i];
            out[i] += 0.0f; /* -0 becomes +0 */
        }
        for (int i = 0; i < 5; i++) {
            cr_expect_eq(out[vector->positions[i]], vector->values[i], "%s %d", type->name, i);
        }
        cr_expect_eq(sum, vector->sum, "%s", type->name);
        cr_expect_eq(crc32_of(out, type->block_elements * sizeof(float)), vector->crc, "%s",
                     type->name);
    }
}

Test(quant, every_bit_alone)
{
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
        const struct dtype_info *type = dtype_info(block_types[t]);
        for (uint32_t bit = 0; bit < 8 * type->ggml_block_bytes; bit++) {
            for (int background = 0; background < 2; background++) {
                uint8_t block[MAX_BLOCK];
                memset(block, background ? 0x5A : 0, sizeof(block));
                int half = type->dtype == DTYPE_Q6_K ? 208 : 0;
                block[half + 1] = 0x3C; /* d = 1 */
                if (type->dtype == DTYPE_Q4_K) {
                    block[3] = 0x38; /* dmin = 0.5 */
                }
                block[bit / 8] ^= (uint8_t)(1u << bit % 8);
                check_block(type, block);
            }
        }
    }
}

Test(quant, every_byte_at_every_place)
{
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
        const struct dtype_info *type = dtype_info(block_types[t]);
        struct check_random random = {7 + t};
        for (uint32_t place = 0; place < type->ggml_block_bytes; place++) {
            for (int byte = 0; byte < 256; byte++) {
                uint8_t block[MAX_BLOCK];
                for (uint32_t k = 0; k < type->ggml_block_bytes; k++) {
                    block[k] = (uint8_t)check_random_u64(&random);
                }
                block[place] = (uint8_t)byte;
                check_block(type, block);
            }
        }
    }
}

/* ---- f16 and bf16 ---- */

static double half_value(uint32_t bits)
{
    double sign = bits >> 15 ? -1 : 1;
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static uint16_t encode_one(enum dtype type, float value)
{
    uint8_t row[16];
    uint8_t *planes[DTYPE_MAX_PLANES] = {row};
    quant_of(type)->encode_row(&value, 1, planes);
    return (uint16_t)(row[0] | row[1] << 8);
}

Test(quant, f16_all)
{
    static uint16_t bits[65536];
    static float values[65536];
    for (int i = 0; i < 65536; i++) {
        bits[i] = (uint16_t)i;
    }
    const uint8_t *planes[DTYPE_MAX_PLANES] = {(const uint8_t *)bits};
    quant_of(DTYPE_F16)->decode_row(planes, 65536, values);
    for (uint32_t i = 0; i < 65536; i++) {
        if ((i & 0x7C00) == 0x7C00) {
            cr_assert(i & 1023 ? isnan(values[i])
                               : isinf(values[i]) && (values[i] < 0) == (i >> 15));
            cr_assert(i & 1023 ? isnan(f32_from_f16(encode_one(DTYPE_F16, values[i])))
                               : encode_one(DTYPE_F16, values[i]) == i);
            continue;
        }
        cr_assert_eq(values[i], half_value(i));
        cr_assert_eq(signbit(values[i]) != 0, i >> 15);
        cr_assert_eq(encode_one(DTYPE_F16, values[i]), i);
        if ((i & 0x7FFF) == 0x7BFF) {
            continue;
        }
        /* Halfway to the next one: to even; a hair to either side: to the nearer. */
        float halfway = (float)((half_value(i) + half_value(i + 1)) / 2);
        float away = i >> 15 ? -INFINITY : INFINITY;
        cr_assert_eq(encode_one(DTYPE_F16, halfway), i + (i & 1), "halfway above %x", i);
        cr_assert_eq(encode_one(DTYPE_F16, nextafterf(halfway, away)), i + 1);
        cr_assert_eq(encode_one(DTYPE_F16, nextafterf(halfway, 0)), i);
    }
    cr_assert_eq(encode_one(DTYPE_F16, 65519.996f), 0x7BFF);
    cr_assert_eq(encode_one(DTYPE_F16, 65520.0f), 0x7C00);
    cr_assert_eq(encode_one(DTYPE_F16, -3e38f), 0xFC00);
    cr_assert_eq(encode_one(DTYPE_F16, -1e-20f), 0x8000);
}

Test(quant, bf16_all)
{
    for (uint32_t i = 0; i < 65536; i++) {
        uint8_t row[16] = {(uint8_t)i, (uint8_t)(i >> 8)};
        const uint8_t *planes[DTYPE_MAX_PLANES] = {row};
        float value;
        quant_of(DTYPE_BF16)->decode_row(planes, 1, &value);
        cr_assert_eq(f32_to_bits(value), i << 16);
        if ((i & 0x7FFF) > 0x7F80) {
            cr_assert(isnan(f32_from_bf16(encode_one(DTYPE_BF16, value))));
            cr_assert(isnan(f32_from_bf16(encode_one(DTYPE_BF16, f32_from_bits(i << 16 | 1)))));
            continue;
        }
        cr_assert_eq(encode_one(DTYPE_BF16, value), i);
        if ((i & 0x7FFF) < 0x7F80) {
            cr_assert_eq(encode_one(DTYPE_BF16, f32_from_bits(i << 16 | 0x8000)), i + (i & 1));
            cr_assert_eq(encode_one(DTYPE_BF16, f32_from_bits(i << 16 | 0x8001)), i + 1);
            cr_assert_eq(encode_one(DTYPE_BF16, f32_from_bits(i << 16 | 0x7FFF)), i);
        }
    }
    /* A NaN whose payload lies below the cut stays one. */
    cr_assert(isnan(f32_from_bf16(encode_one(DTYPE_BF16, f32_from_bits(0x7F800001)))));
}

/* ---- encoding ---- */

static float gaussian(struct check_random *random)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += check_random_float(random, -0.5f, 0.5f);
    }
    return sum;
}

/* One row through encoder and decoder, with guards around the planes. */
static void round_trip(const struct dtype_info *type, const float *values, uint64_t cols,
                       float *out)
{
    uint64_t bytes = dtype_matrix_bytes(type, 1, cols);
    uint8_t *matrix = malloc(bytes + 32);
    memset(matrix, 0xA5, bytes + 32);
    quant_encode_matrix_row(type, values, matrix + 16, 1, cols, 0);
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

/* Root of the mean squared error, relative to the rms of gaussian weights. The bounds lie just
 * above what the types reach. For q4_k and q6_k that takes the whole search; scales found group by
 * group, as ggml's own quantisers do, end near 0.0715 and 0.0178. */
Test(quant, error_bounds)
{
    static const struct {
        enum dtype type;
        double bound;
    } bounds[] = {{DTYPE_F32, 0},       {DTYPE_F16, 0.00025}, {DTYPE_BF16, 0.0018},
                  {DTYPE_Q8_0, 0.0056}, {DTYPE_Q4_0, 0.089},  {DTYPE_Q4_K, 0.0698},
                  {DTYPE_Q6_K, 0.01703}};
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

/* The rule of ggml for the simple types: codes with the scale before its rounding to f16. */
Test(quant, simple_rules)
{
    struct check_random random = {5};
    for (int round = 0; round < 4000; round++) {
        float x[32], size = powf(10, check_random_float(&random, -6, 4));
        float amax = 0, mx = 0;
        for (int i = 0; i < 32; i++) {
            x[i] = size * gaussian(&random);
            if (round % 3 == 0) {
                x[i] = rintf(x[i] * 2); /* many ties, among them halves */
            }
            if (fabsf(x[i]) > amax) {
                amax = fabsf(x[i]);
                mx = x[i];
            }
        }
        uint8_t matrix[48];
        quant_encode_matrix_row(dtype_info(DTYPE_Q8_0), x, matrix, 1, 32, 0);
        float d = amax / 127, inverse = d != 0 ? 1 / d : 0;
        cr_assert_eq(matrix[32] | matrix[33] << 8, f16_from_f32(d));
        for (int i = 0; i < 32; i++) {
            cr_assert_eq((int8_t)matrix[i], (int)roundf(x[i] * inverse));
        }
        quant_encode_matrix_row(dtype_info(DTYPE_Q4_0), x, matrix, 1, 32, 0);
        d = mx / -8, inverse = d != 0 ? 1 / d : 0;
        cr_assert_eq(matrix[16] | matrix[17] << 8, f16_from_f32(d));
        for (int i = 0; i < 32; i++) {
            int n = (int)(x[i] * inverse + 8.5f);
            cr_assert_eq(matrix[i % 16] >> 4 * (i / 16) & 15, n > 15 ? 15 : n);
        }
    }
}

/* Super-blocks with structure: groups of very different sizes, one-sided groups, single outliers.
 * Each group must come back to within the step that its own range and the shared factors allow. */
Test(quant, k_types_uneven_groups)
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
        round_trip(dtype_info(DTYPE_Q6_K), x, 256, out);
        cr_assert_leq(check_nmse(out, x, 256), 0.0006, "q6_k: %g", check_nmse(out, x, 256));
        round_trip(dtype_info(DTYPE_Q4_K), x, 256, out);
        cr_assert_leq(check_nmse(out, x, 256), 0.012, "q4_k: %g", check_nmse(out, x, 256));
    }
}

Test(quant, rows_of_a_matrix)
{
    struct check_random random = {3};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        uint64_t rows = 5, cols = 3 * type->block_elements;
        float x[5][3 * MAX_BLOCK], out[3 * MAX_BLOCK], alone[3 * MAX_BLOCK];
        uint8_t *matrix = malloc(dtype_matrix_bytes(type, rows, cols));
        memset(matrix, 0xA5, dtype_matrix_bytes(type, rows, cols));
        for (uint64_t r = 0; r < rows; r++) {
            for (uint64_t i = 0; i < cols; i++) {
                x[r][i] = gaussian(&random);
            }
        }
        for (int r = 4; r >= 0; r--) {
            quant_encode_matrix_row(type, x[r], matrix, rows, cols, (uint64_t)r);
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

Test(quant, zeros_and_constants)
{
    static const float constants[] = {0,     1,    -1,    0.3f,  -0.3f,  1000,
                                      -1000, 6e4f, -6e4f, 1e-3f, -1e-3f, 1e5f};
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
        const struct dtype_info *type = dtype_info(block_types[t]);
        for (size_t c = 0; c < sizeof(constants) / sizeof(constants[0]); c++) {
            float x[256], out[256];
            for (int i = 0; i < 256; i++) {
                x[i] = constants[c];
            }
            round_trip(type, x, 256, out);
            for (int i = 0; i < 256; i++) {
                /* What f16 scales allow: 2^-11 of two roundings, 2^-24 steps near zero. */
                float allowed = fabsf(constants[c]) * 0.004f + 127 * 0x1p-25f;
                cr_assert_leq(fabsf(out[i] - x[i]), allowed, "%s %g: %g", type->name, x[i], out[i]);
            }
        }
    }
}

Test(quant, tiny_k_types)
{
    /* Group scales below the smallest f16 still use the integers above it. */
    struct check_random random = {17};
    for (int t = 2; t < 4; t++) {
        float x[256], out[256];
        for (int i = 0; i < 256; i++) {
            x[i] = 1e-5f * check_random_float(&random, -1, 1);
        }
        round_trip(dtype_info(block_types[t]), x, 256, out);
        cr_assert_leq(check_nmse(out, x, 256), 0.02, "%s", dtype_name(block_types[t]));
    }
}

Test(quant, hostile_values)
{
    static const float poisons[] = {INFINITY, -INFINITY, NAN,    -NAN,    3.4e38f, -3.4e38f,
                                    1e-45f,   -1e-45f,   1e-38f, 1e30f,   -1e30f,  1e-30f,
                                    65504.0f, 8.4e6f,    6.3e7f, -4.2e6f, 2.7e8f};
    struct check_random random = {19};
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
        const struct dtype_info *type = dtype_info(block_types[t]);
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
                bool sign_kept = !(fabsf(x[i]) >= 1e30f) || out[i] * x[i] > 0;
                cr_assert(sign_kept, "%s: %g becomes %g", type->name, x[i], out[i]);
            }
        }
    }
}

Test(quant, nan_counts_as_zero)
{
    struct check_random random = {23};
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
        const struct dtype_info *type = dtype_info(block_types[t]);
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

Test(quant, infinity_is_the_largest_value)
{
    static const float largest[N_BLOCK_TYPES][2] = {/* of +inf, of -inf alone in a block */
                                                    {65504.0f * 8, -65504.0f * 8},
                                                    {65504.0f * 127, -65504.0f * 127},
                                                    {65504.0f * 63 * 15, -65504.0f * 63},
                                                    {65504.0f * 128 * 32, -65504.0f * 128 * 32}};
    for (size_t t = 0; t < N_BLOCK_TYPES; t++) {
        for (int sign = 0; sign < 2; sign++) {
            float x[256] = {0}, out[256];
            x[5] = sign ? -INFINITY : INFINITY;
            round_trip(dtype_info(block_types[t]), x, 256, out);
            cr_expect_leq(fabsf(out[5] / largest[t][sign] - 1), 0.02f, "%s: %g",
                          dtype_name(block_types[t]), out[5]);
        }
    }
}
