/* expert_group: exact; experts with no pair, one pair, and all of them; tiles that are cut often
 * and never. */

#include "checks/check_ops.h"

/* One pair after the other: a tile ends where it is full, and where its expert has no more. */
static uint32_t *cut(struct check_case *c, const uint32_t *offsets, uint32_t n_experts,
                     uint32_t tile_pairs, uint32_t *n_tiles)
{
    uint32_t *tiles = (uint32_t *)check_alloc(c, 1 + 3 * (uint64_t)offsets[n_experts]);
    uint32_t n = 0;
    for (uint32_t e = 0; e < n_experts; e++) {
        for (uint32_t place = offsets[e]; place < offsets[e + 1]; place++) {
            uint32_t *tile = tiles + 1 + 3 * (uint64_t)n;
            if ((place - offsets[e]) % tile_pairs == 0) {
                tile[0] = e;
                tile[1] = place;
                n++;
            }
            tiles[3 * (uint64_t)n] += 1;
        }
    }
    tiles[0] = *n_tiles = n;
    return tiles;
}

/* `from` neighbouring experts are in use; those of a token are distinct. */
static void check_one(struct check_device *device, uint32_t n_experts, uint32_t top_k, uint32_t n,
                      uint32_t from)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_expert_group, DTYPE_F32, n, "%u of %u experts, %u in use",
                     top_k, n_experts, from)) {
        return;
    }
    uint32_t n_pairs = n * top_k, first = check_random_below(&c.random, n_experts - from + 1);
    uint32_t *ids = (uint32_t *)check_alloc(&c, n_pairs);
    uint32_t *offsets = (uint32_t *)check_alloc(&c, n_experts + 1);
    uint32_t *pairs = (uint32_t *)check_alloc(&c, n_pairs);
    for (uint32_t t = 0; t < n; t++) {
        uint32_t start = check_random_below(&c.random, from);
        for (uint32_t slot = 0; slot < top_k; slot++) {
            ids[t * top_k + slot] = first + (start + slot) % from;
        }
    }
    uint32_t sorted = 0;
    for (uint32_t e = 0; e < n_experts; e++) {
        offsets[e] = sorted;
        for (uint32_t pair = 0; pair < n_pairs; pair++) {
            if (ids[pair] == e) {
                pairs[sorted++] = pair;
            }
        }
    }
    offsets[n_experts] = sorted;
    check_step(&c, 1, NULL);
    check_input_tokens(&c, 1, DTYPE_U32, top_k, ids);
    check_output(&c, 2, DTYPE_U32, 1, n_experts + 1, NULL, (n_experts + 1) * sizeof(uint32_t));
    check_output(&c, 3, DTYPE_U32, c.max_tokens, top_k, NULL,
                 (uint64_t)c.max_tokens * top_k * sizeof(uint32_t));
    uint32_t tile_pairs = check_random_below(&c.random, 2) == 1
                              ? 1 + check_random_below(&c.random, 64)
                              : op_expert_tile_pairs(c.max_tokens, top_k, n_experts, 0);
    uint32_t n_tiles;
    uint32_t *tiles = cut(&c, offsets, n_experts, tile_pairs, &n_tiles);
    check_output(&c, 4, DTYPE_U32, 1, 1 + 3 * (uint64_t)n_tiles, NULL,
                 (1 + 3 * (uint64_t)n_tiles) * sizeof(uint32_t));
    struct expert_group_args *args = &check_op(&c)->args.expert_group;
    args->n_experts = n_experts;
    args->top_k = top_k;
    args->tile_pairs = tile_pairs;
    if (check_run(&c)) {
        check_compare_u32(&c, 2, offsets, n_experts + 1);
        check_compare_u32(&c, 3, pairs, n_pairs);
        check_compare_u32(&c, 4, tiles, 1 + 3 * (uint64_t)n_tiles);
    }
    check_end(&c);
}

void check_expert_group(struct check_device *device)
{
    static const uint32_t counts[] = {1, 2, 7, 33, 128, 300};
    for (uint32_t i = 0; i < 6; i++) {
        check_one(device, 1, 1, counts[i], 1);
        check_one(device, 8, 2, counts[i], 8);
        check_one(device, 8, 2, counts[i], 2);
        check_one(device, 127, 1, counts[i], 1);
        check_one(device, 128, 8, counts[i], 128);
        check_one(device, 128, 8, counts[i], 9);
        check_one(device, 257, 6, counts[i], 257);
        check_one(device, 1024, 32, counts[i], 1000);
    }
}
