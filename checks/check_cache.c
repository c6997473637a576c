/* Caches of the attention ops: as inputs, and as results. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "format/quant.h"
#include "checks/check_ops.h"

/* Of f32, f16 or q8_0. */
static uint64_t cache_bytes(enum dtype dtype, uint64_t capacity, uint64_t dim)
{
    return dtype == DTYPE_Q8_0 ? dtype_matrix_bytes(dtype_info(dtype), capacity, dim)
                               : capacity * dim * (dtype == DTYPE_F32 ? 4 : 2);
}

/* Rounds a row's values to what the cache holds of them. */
static void store_row(enum dtype dtype, uint8_t *cache, uint64_t capacity, uint64_t dim,
                      uint64_t row, float *values)
{
    if (dtype == DTYPE_Q8_0) {
        const struct dtype_info *type = dtype_info(dtype);
        quant_encode_matrix_row(type, values, NULL, cache, capacity, dim, row);
        quant_decode_matrix_row(type, cache, capacity, dim, row, values);
        return;
    }
    for (uint64_t i = 0; i < dim; i++) {
        uint16_t half = f16_from_f32(values[i]);
        if (dtype == DTYPE_F32) {
            memcpy(cache + 4 * (row * dim + i), &values[i], 4);
        } else {
            memcpy(cache + 2 * (row * dim + i), &half, 2);
            values[i] = f32_from_f16(half);
        }
    }
}

float *check_input_cache(struct check_case *c, uint32_t index, uint64_t first, uint64_t end,
                         uint64_t capacity, uint64_t dim)
{
    uint64_t bytes = cache_bytes(c->dtype, capacity, dim);
    float *values = check_alloc(c, end * dim);
    uint8_t *cache = malloc(bytes);
    if (!cache) {
        abort();
    }
    memset(cache, 0xFF, bytes);
    check_fill(&c->random, c->fill, values + first * dim, (end - first) * dim);
    for (uint64_t row = first; row < end; row++) {
        store_row(c->dtype, cache, capacity, dim, row, values + row * dim);
    }
    check_input(c, index, c->dtype, capacity, dim, cache, bytes);
    free(cache);
    return values;
}

void check_output_cache(struct check_case *c, uint32_t index, uint64_t capacity, uint64_t dim)
{
    check_output(c, index, c->dtype, capacity, dim, NULL, cache_bytes(c->dtype, capacity, dim));
}

void check_output_parts(struct check_case *c, uint32_t index, uint32_t dim)
{
    uint64_t words = op_attention_parts(dim), bytes = words * sizeof(uint32_t);
    uint8_t *initial = malloc(bytes);
    if (!initial) {
        abort();
    }
    memset(initial, 0xFF, bytes);
    memset(initial, 0, ATTENTION_MAX_TILES * sizeof(uint32_t));
    check_output(c, index, DTYPE_F32, 1, words, initial, bytes);
    free(initial);
}

/* What a row of the cache holds, and by how much a value may differ from it. Drivers may round to
 * f16 as they like, by one step; a code of q8_0 may be off by one where a value lies between two.
 */
static void read_row(const struct check_case *c, const uint8_t *cache, uint64_t capacity,
                     uint64_t dim, uint64_t row, float *values, float *steps)
{
    const struct dtype_info *type = dtype_info(c->dtype);
    if (c->dtype == DTYPE_Q8_0) {
        quant_decode_matrix_row(type, cache, capacity, dim, row, values);
    }
    for (uint64_t i = 0; i < dim; i++) {
        if (c->dtype == DTYPE_F32) {
            memcpy(&values[i], cache + 4 * (row * dim + i), 4);
            steps[i] = fabsf(values[i]) * 0x1p-23f;
        } else if (c->dtype == DTYPE_F16) {
            uint16_t half;
            memcpy(&half, cache + 2 * (row * dim + i), 2);
            values[i] = f32_from_f16(half);
            steps[i] = fmaxf(fabsf(values[i]) * 0x1p-10f, 0x1p-24f);
        } else {
            uint64_t stride = dtype_row_stride(type, 1, dim);
            uint16_t half;
            memcpy(&half,
                   cache + dtype_plane_offset(type, 1, capacity, dim) + row * stride + i / 32 * 2,
                   2);
            steps[i] = f32_from_f16(half) * 1.02f + 1e-7f;
        }
    }
}

static void check_rest_unchanged(struct check_case *c, uint32_t index, uint64_t position,
                                 uint64_t capacity, uint64_t dim)
{
    bool planes = c->dtype == DTYPE_Q8_0;
    uint64_t end = position + c->n_tokens;
    for (uint32_t p = 0; p < (planes ? 2 : 1); p++) {
        const struct dtype_info *type = dtype_info(c->dtype);
        uint64_t offset = planes ? dtype_plane_offset(type, p, capacity, dim) : 0;
        uint64_t stride = planes ? dtype_row_stride(type, p, dim) : cache_bytes(c->dtype, 1, dim);
        check_unchanged(c, index, offset, position * stride);
        check_unchanged(c, index, offset + end * stride, (capacity - end) * stride);
    }
}

void check_compare_cache(struct check_case *c, uint32_t index, const float *expected,
                         uint64_t position, uint64_t capacity, uint64_t dim, bool computed)
{
    const uint8_t *cache = check_result(c, index);
    float *stored = check_alloc(c, dim), *steps = check_alloc(c, dim);
    float *rounded = check_alloc(c, dim);
    uint8_t *again = malloc(cache_bytes(c->dtype, 1, dim));
    if (!again) {
        abort();
    }
    check_rest_unchanged(c, index, position, capacity, dim);
    for (uint64_t t = 0; t < c->n_tokens && !c->failed; t++) {
        const float *row = expected + t * dim;
        read_row(c, cache, capacity, dim, position + t, stored, steps);
        memcpy(rounded, row, dim * sizeof(float));
        store_row(c->dtype, again, 1, dim, 0, rounded);
        float largest = 0;
        for (uint64_t i = 0; i < dim; i++) {
            largest = fmaxf(largest, fabsf(row[i]));
        }
        float slack = !computed ? 0 : largest * (c->device->gpu ? 1e-5f : 1e-6f);
        for (uint64_t i = 0; i < dim; i++) {
            float allowed = (computed || c->device->gpu ? steps[i] : 0) + slack;
            if (!(fabsf(stored[i] - rounded[i]) <= allowed)) {
                check_fail(c, "tensor %u: element %zu of token %zu is %.9g, should be %.9g", index,
                           (size_t)i, (size_t)t, (double)stored[i], (double)rounded[i]);
                break;
            }
        }
    }
    free(again);
}
