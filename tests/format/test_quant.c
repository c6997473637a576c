/* Decoding against vectors and against a second implementation, of ggml's blocks element by
 * element; blocks to planes and back; the small floats. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/f8.h"
#include "format/quant.h"
#include "format/quant_blocks.h"
#include "tests/check.h"

#define MAX_BLOCK 256

/* ---- a second decoder: element i of a block b of ggml's ---- */

static float half_at(const uint8_t *bytes)
{
    return f32_from_f16((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* Nibble i of 16 bytes: low ones first. */
static int nibble_at(const uint8_t *bytes, int i)
{
    return i < 16 ? bytes[i] % 16 : bytes[i - 16] / 16;
}

static int bit_at(const uint8_t *bytes, int i)
{
    return bytes[i / 8] / (1 << i % 8) % 2;
}

static int signed_byte(uint8_t byte)
{
    return byte < 128 ? byte : byte - 256;
}

static float q2_k_at(const uint8_t *b, int i)
{
    int pair = b[16 + 32 * (i / 128) + i % 32] / (1 << 2 * (i % 128 / 32)) % 4;
    float scale = half_at(b + 80) * (float)(b[i / 16] % 16);
    return scale * (float)pair - half_at(b + 82) * (float)(b[i / 16] / 16);
}

static float q3_k_at(const uint8_t *b, int i)
{
    int g = i / 16, k = i % 128 / 32;
    int q = b[32 + 32 * (i / 128) + i % 32] / (1 << 2 * k) % 4;
    q -= b[i % 32] / (1 << (4 * (i / 128) + k)) % 2 ? 0 : 4;
    int low = g < 8 ? b[96 + g] % 16 : b[96 + g - 8] / 16;
    int high = b[104 + g % 4] / (1 << 2 * (g / 4)) % 4;
    return half_at(b + 108) * (float)(low + 16 * high - 32) * (float)q;
}

/* q4_k and q5_k; the quants start at `quants`, the fifth bits, if any, at `high`. */
static float q45_k_at(const uint8_t *b, int i, int quants, int high)
{
    int g = i / 32, scale, low;
    const uint8_t *s = b + 4;
    if (g < 4) {
        scale = s[g] % 64;
        low = s[g + 4] % 64;
    } else {
        scale = s[g + 4] % 16 + 16 * (s[g - 4] / 64);
        low = s[g + 4] / 16 + 16 * (s[g] / 64);
    }
    int byte = b[quants + 32 * (g / 2) + i % 32];
    int n = g % 2 ? byte / 16 : byte % 16;
    n += high ? 16 * (b[high + i % 32] / (1 << g) % 2) : 0;
    return half_at(b) * (float)scale * (float)n - half_at(b + 2) * (float)low;
}

static float q6_k_at(const uint8_t *b, int i)
{
    int half = i / 128, k = i % 128 / 32, l = i % 32;
    int low = b[64 * half + 32 * (k % 2) + l];
    low = k < 2 ? low % 16 : low / 16;
    int high = b[128 + 32 * half + l] / (1 << 2 * k) % 4;
    return half_at(b + 208) * (float)signed_byte(b[192 + i / 16]) * (float)(low + 16 * high - 32);
}

static const int iq4_table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

static float iq4_xs_at(const uint8_t *b, int i)
{
    int g = i / 32;
    int low = g % 2 ? b[4 + g / 2] / 16 : b[4 + g / 2] % 16;
    int high = (b[2] + 256 * b[3]) / (1 << 2 * g) % 4;
    int n = nibble_at(b + 8 + 16 * g, i % 32);
    return half_at(b) * (float)(low + 16 * high - 32) * (float)iq4_table[n];
}

static float mxfp4_at(const uint8_t *b, int i)
{
    static const double fp4[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    int n = nibble_at(b + 1, i);
    return (float)ldexp(n < 8 ? fp4[n] : -fp4[n - 8], b[0] - 127);
}

static float element(const struct dtype_info *type, const uint8_t *b, int i)
{
    switch (type->dtype) {
    case DTYPE_Q4_0:
        return half_at(b) * (float)(nibble_at(b + 2, i) - 8);
    case DTYPE_Q4_1:
        return half_at(b) * (float)nibble_at(b + 4, i) + half_at(b + 2);
    case DTYPE_Q5_0:
        return half_at(b) * (float)(nibble_at(b + 6, i) + 16 * bit_at(b + 2, i) - 16);
    case DTYPE_Q5_1:
        return half_at(b) * (float)(nibble_at(b + 8, i) + 16 * bit_at(b + 4, i)) + half_at(b + 2);
    case DTYPE_Q8_0:
        return half_at(b) * (float)signed_byte(b[2 + i]);
    case DTYPE_Q2_K:
        return q2_k_at(b, i);
    case DTYPE_Q3_K:
        return q3_k_at(b, i);
    case DTYPE_Q4_K:
        return q45_k_at(b, i, 16, 0);
    case DTYPE_Q5_K:
        return q45_k_at(b, i, 48, 16);
    case DTYPE_Q6_K:
        return q6_k_at(b, i);
    case DTYPE_IQ4_NL:
        return half_at(b) * (float)iq4_table[nibble_at(b + 2, i)];
    case DTYPE_IQ4_XS:
        return iq4_xs_at(b, i);
    case DTYPE_MXFP4:
        return mxfp4_at(b, i);
    default:
        cr_assert_fail("no blocks in %s", type->name);
        return 0;
    }
}

/* Through the planes, which are poisoned before. */
static void decode_block(const struct dtype_info *type, const uint8_t *block, float *out)
{
    uint8_t bytes[DTYPE_MAX_PLANES][MAX_BLOCK];
    memset(bytes, 0xA5, sizeof(bytes));
    uint8_t *planes[DTYPE_MAX_PLANES] = {bytes[0], bytes[1], bytes[2], bytes[3]};
    const uint8_t *rows[DTYPE_MAX_PLANES] = {bytes[0], bytes[1], bytes[2], bytes[3]};
    quant_blocks_to_planes(type, block, type->block_elements, planes);
    for (int i = 0; i < MAX_BLOCK; i++) {
        out[i] = -12345.0f;
    }
    quant_of(type->dtype)->decode_row(rows, type->block_elements, out);
}

static void check_block(const struct dtype_info *type, const uint8_t *block)
{
    float ours[MAX_BLOCK];
    decode_block(type, block, ours);
    for (uint32_t i = 0; i < type->block_elements; i++) {
        float expected = element(type, block, (int)i);
        bool same = ours[i] == expected || (isnan(ours[i]) && isnan(expected));
        cr_assert(same, "%s element %u: %g, not %g", type->name, i, ours[i], expected);
    }
}

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

/* The block is b[k] = 73 k + 41, then bytes put at up to two places (pairs: f16 values). Sum and
 * CRC-32 are those of ggml's own decoder (with -0 turned into +0). */
struct vector {
    enum dtype type;
    struct {
        int offset, n_bytes;
        uint16_t bits;
    } patch[2];
    float values[5]; /* elements 0, 1, 15, 16, 31, or of super-blocks 0, 1, 17, 100, 255 */
    double sum;
    uint32_t crc;
};

static const struct vector vectors[] = {
    {DTYPE_Q8_0,
     {{0, 2, 0x2800}},
     {-2.15625f, 0.125f, 0.0625f, 2.34375f, -3.4375f},
     -1.5,
     0xed623bf3},
    {DTYPE_Q4_0,
     {{0, 2, 0x2800}},
     {0.09375f, -0.125f, -0.1875f, 0.09375f, -0.25f},
     -1.03125,
     0xf0d25afd},
    {DTYPE_Q4_1,
     {{0, 2, 0x2800}, {2, 2, 0xb400}},
     {0.15625f, -0.0625f, -0.125f, -0.125f, 0.03125f},
     -0.96875,
     0xa833cd2c},
    {DTYPE_Q5_0,
     {{0, 2, 0x2800}},
     {0.46875f, 0.25f, -0.3125f, 0.40625f, 0.0625f},
     -1.40625,
     0xfb92137a},
    {DTYPE_Q5_1,
     {{0, 2, 0x2800}, {2, 2, 0xb400}},
     {0.28125f, 0.0625f, 0.5f, 0.46875f, 0.09375f},
     7.65625,
     0x6b619d56},
    {DTYPE_Q2_K,
     {{80, 2, 0x2800}, {82, 2, 0x2400}},
     {0.25f, 0.53125f, 0.015625f, 1.203125f, -0.109375f},
     63.84375,
     0x40e392f8},
    {DTYPE_Q3_K,
     {{108, 2, 0x2800}},
     {-0.21875f, 0.4375f, -0.125f, -0.53125f, -0.75f},
     7.3125,
     0xb09b671e},
    {DTYPE_Q4_K,
     {{0, 2, 0x2800}, {2, 2, 0x2400}},
     {2.890625f, 0.046875f, 0.046875f, 18.5625f, -0.359375f},
     1667.25,
     0xa4ce464e},
    {DTYPE_Q5_K,
     {{0, 2, 0x2800}, {2, 2, 0x2400}},
     {9.390625f, 0.046875f, 0.046875f, 21.0625f, -0.359375f},
     3439.75,
     0xb83f6863},
    {DTYPE_Q6_K,
     {{208, 2, 0x2800}},
     {5.03125f, -1.4375f, 3.125f, -66.6875f, 9.0f},
     -463.875,
     0xeb73591f},
    {DTYPE_IQ4_NL,
     {{0, 2, 0x2800}},
     {1.1875f, -1.53125f, -2.59375f, 1.1875f, -3.96875f},
     -15.03125,
     0xb7bfe95d},
    {DTYPE_IQ4_XS,
     {{0, 2, 0x2800}},
     {-94.25f, 22.65625f, 34.4375f, -9.84375f, -23.4375f},
     -201.5625,
     0xfb9fb5fb},
    {DTYPE_MXFP4,
     {{0, 1, 0x7c}},
     {0.125f, -0.1875f, -0.0625f, 0.75f, -0.1875f},
     1.5625,
     0xd5584393},
};
#define N_VECTORS (sizeof(vectors) / sizeof(vectors[0]))

static void patch_block(const struct vector *vector, uint8_t *block)
{
    for (int p = 0; p < 2; p++) {
        for (int k = 0; k < vector->patch[p].n_bytes; k++) {
            block[vector->patch[p].offset + k] = (uint8_t)(vector->patch[p].bits >> 8 * k);
        }
    }
}

Test(quant, vectors)
{
    uint32_t n_quantised = 0;
    for (uint32_t t = 0; t < dtype_count(); t++) {
        n_quantised += dtype_at(t)->block_elements > 1;
    }
    cr_assert_eq(n_quantised, N_VECTORS);
    for (size_t v = 0; v < N_VECTORS; v++) {
        const struct vector *vector = &vectors[v];
        const struct dtype_info *type = dtype_info(vector->type);
        uint8_t block[MAX_BLOCK];
        for (int k = 0; k < MAX_BLOCK; k++) {
            block[k] = (uint8_t)(73 * k + 41);
        }
        patch_block(vector, block);
        float out[MAX_BLOCK];
        decode_block(type, block, out);
        double sum = 0;
        for (uint32_t i = 0; i < type->block_elements; i++) {
            sum += out[i];
            out[i] += 0.0f; /* -0 becomes +0 */
        }
        static const int positions[2][5] = {{0, 1, 15, 16, 31}, {0, 1, 17, 100, 255}};
        for (int i = 0; i < 5; i++) {
            int position = positions[type->block_elements == 256][i];
            cr_expect_eq(out[position], vector->values[i], "%s %d", type->name, position);
        }
        cr_expect_eq(sum, vector->sum, "%s", type->name);
        cr_expect_eq(crc32_of(out, type->block_elements * sizeof(float)), vector->crc, "%s",
                     type->name);
    }
}

Test(quant, every_bit_alone)
{
    for (size_t v = 0; v < N_VECTORS; v++) {
        const struct dtype_info *type = dtype_info(vectors[v].type);
        for (uint32_t bit = 0; bit < 8 * type->ggml_block_bytes; bit++) {
            for (int background = 0; background < 2; background++) {
                uint8_t block[MAX_BLOCK];
                memset(block, background ? 0x5A : 0, sizeof(block));
                patch_block(&vectors[v], block);
                block[bit / 8] ^= (uint8_t)(1u << bit % 8);
                check_block(type, block);
            }
        }
    }
}

Test(quant, every_byte_at_every_place)
{
    for (size_t v = 0; v < N_VECTORS; v++) {
        const struct dtype_info *type = dtype_info(vectors[v].type);
        struct check_random random = {7 + v};
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

/* ---- blocks and planes ---- */

Test(quant, blocks_to_planes_and_back)
{
    struct check_random random = {29};
    for (uint32_t t = 0; t < dtype_count(); t++) {
        const struct dtype_info *type = dtype_at(t);
        uint32_t total = 0;
        for (uint32_t p = 0; p < type->n_planes; p++) {
            total += type->plane_bytes[p];
        }
        cr_assert_eq(total, type->ggml_block_bytes, "%s", type->name);
        for (uint64_t n = 1; n <= 9; n++) {
            uint64_t cols = n * type->block_elements, n_bytes = n * type->ggml_block_bytes;
            uint8_t blocks[9 * MAX_BLOCK + 1], back[9 * MAX_BLOCK + 2];
            uint8_t planes[DTYPE_MAX_PLANES][9 * MAX_BLOCK + 1];
            for (uint64_t k = 0; k < n_bytes; k++) {
                blocks[1 + k] = (uint8_t)check_random_u64(&random); /* not aligned */
            }
            memset(planes, 0xA5, sizeof(planes));
            memset(back, 0xA5, sizeof(back));
            uint8_t *to[] = {planes[0], planes[1], planes[2], planes[3]};
            const uint8_t *from[] = {planes[0], planes[1], planes[2], planes[3]};
            quant_blocks_to_planes(type, blocks + 1, cols, to);
            for (uint32_t p = 0; p < type->n_planes; p++) {
                uint64_t stride = dtype_row_stride(type, p, cols);
                for (uint64_t k = n * type->plane_bytes[p]; k < stride; k++) {
                    cr_assert_eq(planes[p][k], 0, "%s leaves padding", type->name);
                }
                cr_assert_eq(planes[p][stride], 0xA5, "%s writes outside", type->name);
            }
            quant_planes_to_blocks(type, from, cols, back + 1);
            cr_assert_arr_eq(back + 1, blocks + 1, n_bytes, "%s", type->name);
            cr_assert(back[0] == 0xA5 && back[n_bytes + 1] == 0xA5, "%s", type->name);
        }
    }
}

/* Rows of several blocks decode as their blocks do. */
Test(quant, rows_of_blocks)
{
    struct check_random random = {31};
    for (size_t v = 0; v < N_VECTORS; v++) {
        const struct dtype_info *type = dtype_info(vectors[v].type);
        enum { BLOCKS = 5 };
        uint64_t cols = BLOCKS * type->block_elements;
        uint8_t blocks[BLOCKS * MAX_BLOCK], planes[DTYPE_MAX_PLANES][BLOCKS * MAX_BLOCK];
        float out[BLOCKS * MAX_BLOCK + 1];
        for (int b = 0; b < BLOCKS; b++) {
            uint8_t *block = blocks + b * type->ggml_block_bytes;
            for (uint32_t k = 0; k < type->ggml_block_bytes; k++) {
                block[k] = (uint8_t)check_random_u64(&random);
            }
            patch_block(&vectors[v], block);
        }
        uint8_t *to[] = {planes[0], planes[1], planes[2], planes[3]};
        const uint8_t *from[] = {planes[0], planes[1], planes[2], planes[3]};
        quant_blocks_to_planes(type, blocks, cols, to);
        out[cols] = -12345.0f;
        quant_of(type->dtype)->decode_row(from, cols, out);
        cr_assert_eq(out[cols], -12345.0f);
        for (uint64_t i = 0; i < cols; i++) {
            const uint8_t *block = blocks + i / type->block_elements * type->ggml_block_bytes;
            cr_assert_eq(out[i], element(type, block, (int)(i % type->block_elements)), "%s %zu",
                         type->name, (size_t)i);
        }
    }
}

/* ---- f16, bf16 and 8-bit floats ---- */

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
    quant_of(type)->encode_row(&value, NULL, 1, planes);
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

Test(quant, f8_all)
{
    for (int i = 0; i < 256; i++) {
        float value = f32_from_f8_e4m3((uint8_t)i);
        int exponent = i >> 3 & 15, mantissa = i & 7;
        if ((i & 127) == 127) {
            cr_assert(isnan(value));
        } else {
            double size = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
            cr_assert_eq(value, i < 128 ? size : -size, "%x: %g", (unsigned)i, value);
            cr_assert_eq(signbit(value) != 0, i > 127);
        }
        float power = f32_from_e8m0((uint8_t)i);
        cr_assert(i == 255 ? isnan(power) : power == ldexp(1, i - 127), "%x: %g", (unsigned)i,
                  power);
    }
}
