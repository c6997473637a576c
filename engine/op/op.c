#include "engine/op/op.h"

#include <assert.h>

static const struct {
    const char *name, *access;
    uint32_t args_bytes;
} rows[OP_COUNT] = {
#define X(op, tensors, text) {#op, tensors, sizeof(struct op##_args)},
    OPS(X)
#undef X
};

#define X(op, tensors, text) \
    static_assert(sizeof(struct op##_args) <= OP_MAX_ARGS_BYTES, "push constants are 128 bytes"); \
    static_assert(sizeof(tensors) - 1 <= OP_MAX_TENSORS, "too many tensors");
OPS(X)
#undef X

const char *op_name(enum op_kind kind)
{
    return rows[kind].name;
}

const char *op_access(enum op_kind kind)
{
    return rows[kind].access;
}

bool op_writes(enum op_kind kind, uint32_t tensor)
{
    return rows[kind].access[tensor] == 'w' || rows[kind].access[tensor] == 'p';
}

bool op_parts(enum op_kind a, uint32_t tensor_of_a, enum op_kind b, uint32_t tensor_of_b)
{
    return a == b && tensor_of_a == tensor_of_b && rows[a].access[tensor_of_a] == 'p';
}

uint32_t op_args_bytes(enum op_kind kind)
{
    return rows[kind].args_bytes;
}

void op_assert_router(const struct router_rule *rule)
{
    uint32_t groups = rule->n_groups > 1 ? rule->n_groups : 1;
    uint32_t remaining = groups > 1 ? rule->n_experts / groups * rule->top_groups : rule->n_experts;
    assert(rule->score == ROUTER_SOFTMAX || rule->score == ROUTER_SIGMOID);
    assert(rule->group_score == ROUTER_GROUP_MAX || rule->group_score == ROUTER_GROUP_SUM_OF_2);
    assert(rule->n_experts <= ROUTER_MAX_EXPERTS && rule->n_experts % groups == 0);
    assert(groups == 1 || rule->top_groups <= groups);
    assert(rule->top_k <= ROUTER_MAX_TOP_K && rule->top_k <= remaining);
    (void)remaining; /* an NDEBUG build has no assert */
}

uint64_t op_attention_parts(uint32_t dim)
{
    return ATTENTION_MAX_TILES + ATTENTION_MAX_PARTS * ((uint64_t)dim + 2);
}

/* A tile is as high as a work-group that multiplies it is wide, so it is best as high as experts
 * have pairs. Of at most 32 tokens all pairs of an expert are one tile: products that take few at a
 * time read its weights once. */
uint32_t op_expert_tile_pairs(uint32_t max_tokens, uint32_t top_k, uint32_t n_experts,
                              uint32_t wide)
{
    uint64_t mean = (uint64_t)max_tokens * top_k / n_experts;
    uint32_t tile = mean <= 16 ? 16 : mean <= (wide ? wide : OP_EXPERT_WIDE) ? 32 : 64;
    return max_tokens <= 32 && tile < 32 ? 32 : tile;
}

uint32_t op_expert_tiles(uint32_t max_tokens, uint32_t top_k, uint32_t n_experts,
                         uint32_t tile_pairs)
{
    uint32_t pairs = max_tokens * top_k;
    assert(tile_pairs > 0);
    return pairs / tile_pairs + (n_experts < pairs ? n_experts : pairs);
}

void op_expert_cut(const uint32_t *offsets, uint32_t n_experts, uint32_t tile_pairs,
                   uint32_t *tiles)
{
    uint32_t n = 0;
    assert(tile_pairs > 0);
    for (uint32_t e = 0; e < n_experts; e++) {
        for (uint32_t first = offsets[e]; first < offsets[e + 1]; first += tile_pairs) {
            uint32_t left = offsets[e + 1] - first, *tile = tiles + 1 + EXPERT_TILE_WORDS * n++;
            tile[0] = e;
            tile[1] = first;
            tile[2] = left < tile_pairs ? left : tile_pairs;
        }
    }
    tiles[0] = n;
}

uint64_t op_expert_tile_words(uint32_t max_tokens, uint32_t top_k, uint32_t n_experts,
                              uint32_t tile_pairs)
{
    return 1 +
           EXPERT_TILE_WORDS * (uint64_t)op_expert_tiles(max_tokens, top_k, n_experts, tile_pairs);
}

/* Whether the ops clash in tensors `i` and `k` of theirs. */
static bool clash(const struct op *a, uint32_t i, const struct op *b, uint32_t k)
{
    return a->tensors[i] && a->tensors[i] == b->tensors[k] &&
           (op_writes(a->kind, i) || op_writes(b->kind, k)) && !op_parts(a->kind, i, b->kind, k);
}

bool op_depends(const struct op *later, const struct op *earlier)
{
    for (uint32_t i = 0; i < later->n_tensors; i++) {
        for (uint32_t k = 0; k < earlier->n_tensors; k++) {
            if (clash(later, i, earlier, k)) {
                return true;
            }
        }
    }
    return false;
}
