/* Caches as inputs of the attention ops. */
#include <stdlib.h>
#include <string.h>

#include "format/f16.h"
#include "tests/ops/check_ops.h"

float *check_input_cache(struct check_case *c, uint32_t index, uint64_t first, uint64_t end,
                         uint64_t capacity, uint64_t dim)
{
    uint64_t element_bytes = c->dtype == DTYPE_F32 ? 4 : 2;
    uint64_t bytes = capacity * dim * element_bytes;
    float *values = check_alloc(c, end * dim);
    uint8_t *cache = malloc(bytes);
    if (!cache) {
        abort();
    }
    memset(cache, 0xFF, bytes);
    check_fill(&c->random, c->fill, values + first * dim, (end - first) * dim);
    for (uint64_t i = first * dim; i < end * dim; i++) {
        uint16_t half = f16_from_f32(values[i]);
        if (c->dtype == DTYPE_F32) {
            memcpy(cache + 4 * i, &values[i], 4);
        } else {
            memcpy(cache + 2 * i, &half, 2);
            values[i] = f32_from_f16(half);
        }
    }
    check_input(c, index, c->dtype, capacity, dim, cache, bytes);
    free(cache);
    return values;
}
