/* Slabs, addresses and choices for the checks of the expert ops. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks/check_ops.h"

#define SLAB_ALIGN 256
#define MAX_EXPERTS ROUTER_MAX_EXPERTS
#define TENSOR_SLABS 1
#define TENSOR_IDS 2

void check_shuffle(struct check_random *random, uint32_t *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        values[i] = i;
    }
    for (uint32_t i = n; i > 1; i--) {
        uint32_t other = check_random_below(random, i), kept = values[i - 1];
        values[i - 1] = values[other];
        values[other] = kept;
    }
}

static void choose(struct check_case *c, const struct check_experts *experts,
                   const uint32_t *present, uint32_t chosen_from, uint32_t *ids)
{
    for (uint32_t t = 0; t < c->n_tokens; t++) {
        uint32_t order[MAX_EXPERTS];
        check_shuffle(&c->random, order, chosen_from);
        for (uint32_t slot = 0; slot < experts->top_k; slot++) {
            ids[t * experts->top_k + slot] = present[order[slot]];
        }
    }
}

static void group(struct check_case *c, const struct check_experts *experts)
{
    const bool up = c->kind == OP_expert_gate_up;
    const uint32_t tensor_offsets = up ? 5 : 4, tensor_tiles = up ? 9 : 7;
    uint32_t n_pairs = c->n_tokens * experts->top_k;
    uint32_t *offsets = (uint32_t *)check_alloc(c, experts->n_experts + 1);
    uint32_t *pairs = (uint32_t *)check_alloc(c, n_pairs);
    uint32_t n = 0;
    for (uint32_t e = 0; e < experts->n_experts; e++) {
        offsets[e] = n;
        for (uint32_t pair = 0; pair < n_pairs; pair++) {
            if (experts->ids[pair] == e) {
                pairs[n++] = pair;
            }
        }
    }
    offsets[experts->n_experts] = n;
    check_input(c, tensor_offsets, DTYPE_U32, 1, experts->n_experts + 1, offsets,
                (experts->n_experts + 1) * sizeof(uint32_t));
    check_input_tokens(c, tensor_offsets + 1, DTYPE_U32, experts->top_k, pairs);
    uint64_t words = op_expert_tile_words(c->max_tokens, experts->top_k, experts->n_experts,
                                          experts->tile_pairs);
    uint32_t *tiles = (uint32_t *)check_alloc(c, words);
    memset(tiles, 0xFF, words * sizeof(*tiles));
    op_expert_cut(offsets, experts->n_experts, experts->tile_pairs, tiles);
    check_input(c, tensor_tiles, DTYPE_U32, 1, words, tiles, words * sizeof(*tiles));
}

void check_experts_make(struct check_case *c, struct check_experts *experts, uint64_t rows,
                        uint64_t cols, uint32_t offset, uint32_t chosen_from, bool grouped)
{
    const struct dtype_info *type = dtype_info(c->dtype);
    uint64_t bytes = dtype_matrix_bytes(type, rows, cols);
    uint64_t stride = (offset + bytes + 16 + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
    uint64_t *addresses = (uint64_t *)check_alloc(c, 2 * (uint64_t)experts->n_experts);
    float **values = (float **)check_alloc(c, 2 * (uint64_t)experts->n_experts);
    uint32_t *ids = (uint32_t *)check_alloc(c, (uint64_t)c->n_tokens * experts->top_k);
    uint8_t *slabs = malloc(stride * chosen_from);
    uint32_t present[MAX_EXPERTS];
    bool some_absent = check_sometimes(c, "some absent");
    if (!slabs) {
        abort();
    }
    memset(slabs, 0xFF, stride * chosen_from);
    check_shuffle(&c->random, present, experts->n_experts);
    for (uint32_t i = 0; i < chosen_from; i++) {
        values[present[i]] = check_alloc(c, rows * cols);
        check_random_matrix(&c->random, c->fill, type, rows, cols, slabs + i * stride + offset,
                            values[present[i]]);
    }
    check_place_slabs(c, slabs, stride * chosen_from);
    free(slabs);
    for (uint32_t i = 0; i < chosen_from; i++) {
        addresses[present[i]] = check_slabs_address(c) + i * stride;
        if (some_absent && check_random_below(&c->random, 3) == 0) {
            addresses[present[i]] = 0;
            values[present[i]] = NULL;
        }
    }
    choose(c, experts, present, chosen_from, ids);
    experts->ids = ids;
    experts->values = values;
    check_input(c, TENSOR_SLABS, DTYPE_U32, experts->n_experts, 2, addresses,
                experts->n_experts * sizeof(uint64_t));
    check_input_tokens(c, TENSOR_IDS, DTYPE_U32, experts->top_k, ids);
    if (grouped) {
        experts->tile_pairs = 16u << check_random_below(&c->random, 3);
        group(c, experts);
    }
}

const float *check_input_pairs(struct check_case *c, const struct check_experts *experts,
                               uint32_t index, enum check_fill fill, uint64_t row)
{
    uint64_t n_pairs = (uint64_t)c->n_tokens * experts->top_k;
    float *values = check_alloc(c, n_pairs * row);
    check_fill(&c->random, fill, values, n_pairs * row);
    for (uint64_t i = 0; i < n_pairs * row; i++) {
        values[i] = experts->values[experts->ids[i / row]] ? values[i] : NAN;
    }
    check_input_tokens(c, index, DTYPE_F32, experts->top_k * row, values);
    return values;
}

void check_experts_shapes(struct check_device *device,
                          void (*check_one)(struct check_device *device, enum dtype dtype,
                                            uint32_t rows, uint32_t cols, uint32_t n,
                                            struct check_experts experts, uint32_t chosen_from))
{
    const struct check_experts few = {.n_experts = 8, .top_k = 2};
    const struct check_experts many = {.n_experts = 128, .top_k = 8};
    const struct check_experts most = {.n_experts = 1024, .top_k = 32};
    const struct check_experts one = {.n_experts = 1, .top_k = 1};
    static const uint32_t rows[] = {1, 7, 31, 33, 64, 127, 257};
    for (uint32_t d = 0; d < dtype_count(); d++) {
        const struct dtype_info *type = dtype_at(d);
        uint32_t unit = type->block_elements;
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t n = check_token_counts[i];
            for (uint32_t k = 0; k < 7; k++) {
                uint32_t cols = unit == 1 ? check_lengths[1 + k] : unit * (1 + k % 4);
                check_one(device, type->dtype, rows[k], cols, n, few, 2 + k % 7);
            }
            check_one(device, type->dtype, 48, 256, n, many, 12);
            check_one(device, type->dtype, 256, 256, n, few, 8);
            check_one(device, type->dtype, 32, 256, n, one, 1);
        }
        check_one(device, type->dtype, 768, 2048, 1, many, 8);
        check_one(device, type->dtype, 96, 2048, 7, many, 10);
        check_one(device, type->dtype, 33, unit == 1 ? 40 : unit, 1, most, 36);
        check_one(device, type->dtype, 33, unit == 1 ? 40 : unit, 7, most, 36);
    }
}

void check_compare_pairs(struct check_case *c, const struct check_experts *experts, uint32_t index,
                         uint64_t row, float *expected, float *slack, double nmse)
{
    uint64_t n_pairs = (uint64_t)c->n_tokens * experts->top_k, row_bytes = row * sizeof(float);
    /* A pair that is not there counts as a zero that came out right. */
    uint8_t *result = (uint8_t *)(uintptr_t)check_result(c, index);
    bool all_zero = true;
    for (uint64_t pair = 0; pair < n_pairs; pair++) {
        if (experts->values[experts->ids[pair]]) {
            continue;
        }
        check_unchanged(c, index, pair * row_bytes, row_bytes);
        memset(result + pair * row_bytes, 0, row_bytes);
        memset(expected + pair * row, 0, row_bytes);
        memset(slack + pair * row, 0, row_bytes);
    }
    for (uint64_t i = 0; all_zero && i < n_pairs * row; i++) {
        all_zero = expected[i] == 0;
    }
    /* None is there, or an outlier closed every gate: nearly so where the exponential is held below
     * infinity. */
    float *floats = (float *)(void *)result;
    for (uint64_t i = 0; all_zero && i < n_pairs * row; i++) {
        floats[i] = fabsf(floats[i]) < 1e-25f ? 0 : floats[i];
    }
    if (all_zero) {
        check_compare(c, index, expected, n_pairs * row, 0);
    } else {
        check_compare_products_within(c, index, expected, slack, n_pairs * row, nmse);
    }
}
