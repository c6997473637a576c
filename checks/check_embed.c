/* embed: rows of the table, decoded; tokens repeat, the first and the last row among them. */
#include <string.h>

#include "checks/check_ops.h"

static void check_one(struct check_device *device, enum dtype dtype, uint32_t rows, uint32_t dim,
                      uint32_t n)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_embed, dtype, n, "%u rows of %u", rows, dim)) {
        return;
    }
    uint32_t *tokens = (uint32_t *)check_alloc(&c, n);
    float *expected = check_alloc(&c, (uint64_t)n * dim);
    for (uint32_t t = 0; t < n; t++) {
        tokens[t] = t == 1 ? 0 : t == 0 ? rows - 1 : check_random_below(&c.random, rows);
    }
    check_step(&c, 5, tokens);
    const float *table = check_input_weights(&c, 1, rows, dim);
    check_output_floats(&c, 2, c.max_tokens, dim);
    struct embed_args *args = &check_op(&c)->args.embed;
    args->rows = rows;
    args->dim = dim;
    if (check_run(&c)) {
        for (uint32_t t = 0; t < n; t++) {
            memcpy(expected + (uint64_t)t * dim, table + (uint64_t)tokens[t] * dim,
                   dim * sizeof(float));
        }
        check_compare(&c, 2, expected, (uint64_t)n * dim, 1e-12);
    }
    check_end(&c);
}

void check_embed(struct check_device *device)
{
    check_patterns_embed(device);
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        bool block = type->block_elements > 1;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t n = check_token_counts[i];
            for (uint32_t k = 0; k < 11 && !block; k++) {
                check_one(device, type->dtype, 9, check_lengths[k], n);
            }
            for (uint32_t blocks = 1; blocks <= 9 && block; blocks += 2) {
                check_one(device, type->dtype, 5, blocks * type->block_elements, n);
            }
            check_one(device, type->dtype, 65, 2048, n);
        }
    }
}
