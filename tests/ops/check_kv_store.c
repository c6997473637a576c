/* kv_store: the tokens' rows arrive, rounded to nearest even; all other rows stay as they were. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "tests/ops/check_ops.h"

static float cache_value(const struct check_case *c, const uint8_t *cache, uint64_t i)
{
    if (c->dtype == DTYPE_F32) {
        float value;
        memcpy(&value, cache + i * sizeof(value), sizeof(value));
        return value;
    }
    uint16_t half;
    memcpy(&half, cache + i * sizeof(half), sizeof(half));
    return f32_from_f16(half);
}

/* A driver may round to f16 as it likes: then one step of f16 is allowed. */
static bool is_stored(const struct check_case *c, float stored, float value)
{
    if (c->dtype == DTYPE_F32) {
        return stored == value;
    }
    float nearest = f32_from_f16(f16_from_f32(value));
    float step = fmaxf(fabsf(nearest) * 0x1p-10f, 0x1p-24f);
    return c->device->gpu ? fabsf(stored - value) <= step : stored == nearest;
}

static void compare_cache(struct check_case *c, uint32_t index, const float *values, uint32_t dim,
                          uint32_t position, uint32_t capacity)
{
    uint64_t row_bytes = (uint64_t)dim * (c->dtype == DTYPE_F32 ? 4 : 2);
    uint64_t end = (uint64_t)position + c->n_tokens;
    const uint8_t *cache = check_result(c, index);
    check_unchanged(c, index, 0, position * row_bytes);
    check_unchanged(c, index, end * row_bytes, (capacity - end) * row_bytes);
    for (uint64_t i = 0; i < (uint64_t)c->n_tokens * dim; i++) {
        float stored = cache_value(c, cache + position * row_bytes, i);
        if (!is_stored(c, stored, values[i])) {
            check_fail(c, "tensor %u: element %zu is %.9g, should be %.9g", index, (size_t)i,
                       (double)stored, (double)values[i]);
            return;
        }
    }
}

static void check_one(struct check_device *device, enum dtype dtype, const uint32_t dims[2],
                      uint32_t position, uint32_t n)
{
    struct check_case c;
    uint32_t capacity = position + n + 4;
    if (!check_begin(&c, device, OP_kv_store, dtype, n, "dims %u and %u, position %u", dims[0],
                     dims[1], position)) {
        return;
    }
    uint64_t column_bytes = (uint64_t)capacity * (dtype == DTYPE_F32 ? 4 : 2);
    check_step(&c, position, NULL);
    const float *k = check_input_token_floats(&c, 1, dims[0]);
    const float *v = check_input_token_floats(&c, 2, dims[1]);
    check_output(&c, 3, dtype, capacity, dims[0], NULL, column_bytes * dims[0]);
    check_output(&c, 4, dtype, capacity, dims[1], NULL, column_bytes * dims[1]);
    struct kv_store_args *args = &check_op(&c)->args.kv_store;
    args->k_dim = dims[0];
    args->v_dim = dims[1];
    args->capacity = capacity;
    if (check_run(&c)) {
        compare_cache(&c, 3, k, dims[0], position, capacity);
        compare_cache(&c, 4, v, dims[1], position, capacity);
    }
    check_end(&c);
}

void check_kv_store(struct check_device *device)
{
    static const uint32_t dims[][2] = {{2, 2},     {30, 30},   {32, 32},     {34, 2},  {128, 128},
                                       {130, 256}, {256, 130}, {1024, 1024}, {512, 64}};
    static const uint32_t positions[] = {0, 1, 33, 300};
    for (uint32_t d = 0; d < 2; d++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < sizeof(dims) / sizeof(dims[0]); k++) {
                for (uint32_t p = 0; p < 4; p++) {
                    check_one(device, d ? DTYPE_F16 : DTYPE_F32, dims[k], positions[p],
                              check_token_counts[i]);
                }
            }
        }
    }
}
