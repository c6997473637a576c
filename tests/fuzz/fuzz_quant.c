/* Weights of any value through every codec: 256 floats and 256 weights of their errors are encoded
 * and decoded, and the same bytes are taken as blocks of every type. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant.h"
#include "format/quant_blocks.h"
#include "tests/fuzz/fuzz.h"

#define COLS 256
#define LARGE 30000 /* what every type can hold: its scale is f16 at worst */

/* A matrix of one row. */
struct row {
    uint8_t *matrix, *planes[DTYPE_MAX_PLANES];
    const uint8_t *readable[DTYPE_MAX_PLANES];
};

static struct row row_new(const struct dtype_info *type)
{
    struct row row;
    uint64_t bytes = dtype_matrix_bytes(type, 1, COLS);
    row.matrix = malloc(bytes);
    assert(row.matrix);
    memset(row.matrix, 0xA5, bytes);
    for (uint32_t p = 0; p < type->n_planes; p++) {
        row.planes[p] = row.matrix + dtype_plane_offset(type, p, 1, COLS);
        row.readable[p] = row.planes[p];
    }
    return row;
}

static void encode(const struct dtype_info *type, const float *values, const float *importance)
{
    const struct quant *quant = quant_of(type->dtype);
    struct row row = row_new(type);
    float decoded[COLS];
    bool moderate = true;
    for (uint32_t i = 0; i < COLS; i++) {
        moderate = moderate && fabsf(values[i]) <= LARGE;
    }
    quant->encode_row(values, importance, COLS, row.planes);
    quant->decode_row(row.readable, COLS, decoded);
    for (uint32_t i = 0; moderate && i < COLS; i++) {
        assert(fabsf(decoded[i]) <= 2.0f * LARGE);
    }
    free(row.matrix);
}

static void decode(const struct dtype_info *type, const uint8_t *data)
{
    struct row row = row_new(type);
    float decoded[COLS];
    uint64_t bytes = COLS / type->block_elements * type->ggml_block_bytes;
    uint8_t *blocks = malloc(bytes);
    assert(blocks);
    quant_blocks_to_planes(type, data, COLS, row.planes);
    quant_of(type->dtype)->decode_row(row.readable, COLS, decoded);
    quant_planes_to_blocks(type, row.readable, COLS, blocks);
    assert(memcmp(blocks, data, bytes) == 0);
    free(blocks);
    free(row.matrix);
}

static bool run(const uint8_t *data, size_t bytes)
{
    float values[COLS] = {0}, importance[COLS] = {0};
    uint8_t blocks[COLS * sizeof(float)] = {0};
    size_t first = bytes < sizeof(values) ? bytes : sizeof(values);
    size_t rest = bytes - first < sizeof(importance) ? bytes - first : sizeof(importance);
    memcpy(values, data, first);
    memcpy(importance, data + first, rest);
    memcpy(blocks, data, first);
    for (uint32_t i = 0; i < COLS; i++) {
        importance[i] = fabsf(importance[i]); /* not negative: the caller's part */
    }
    for (uint32_t i = 0; i < dtype_count(); i++) {
        encode(dtype_at(i), values, NULL);
        encode(dtype_at(i), values, importance);
        decode(dtype_at(i), blocks);
    }
    return true;
}

static float trouble(struct fuzz_random *random)
{
    static const float values[] = {0,     -0.0f,  1,        -1,        1e-45f, 1e-38f,   -6e-8f,
                                   3e38f, -3e38f, INFINITY, -INFINITY, NAN,    65504.0f, 30000.0f};
    return values[fuzz_random_below(random, sizeof(values) / sizeof(values[0]))];
}

/* Single values, or all of a block. */
static size_t mutate(uint8_t *data, size_t bytes, size_t room, struct fuzz_random *random,
                     fuzz_change *change)
{
    if (bytes < sizeof(float) || fuzz_random_below(random, 2)) {
        return change(data, bytes, room);
    }
    uint32_t n = (uint32_t)(bytes / sizeof(float));
    uint32_t at = fuzz_random_below(random, n), run = fuzz_random_below(random, 4) ? 1 : 32;
    float value = trouble(random);
    for (uint32_t i = at; i < n && i < at + run; i++) {
        memcpy(data + i * sizeof(float), &value, sizeof(value));
    }
    return bytes;
}

const struct fuzz_target fuzz_quant = {"quant", run, mutate};
