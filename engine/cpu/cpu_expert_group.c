/* A stable counting sort of the (token, slot) pairs by expert, and its tiles. */
#include "engine/cpu/cpu_internal.h"

void cpu_expert_group(const struct cpu_run *run, const struct op *op)
{
    const struct expert_group_args *args = &op->args.expert_group;
    const uint32_t *ids = cpu_pointer(args->ids);
    uint32_t *offsets = cpu_pointer(args->offsets);
    uint32_t *pairs = cpu_pointer(args->pairs);
    uint32_t n_pairs = cpu_step(op, args->step)->n_tokens * args->top_k;
    uint32_t next[ROUTER_MAX_EXPERTS] = {0};
    assert(args->n_experts <= ROUTER_MAX_EXPERTS);
    for (uint32_t pair = 0; pair < n_pairs; pair++) {
        assert(ids[pair] < args->n_experts);
        next[ids[pair]]++;
    }
    uint32_t sum = 0;
    for (uint32_t e = 0; e < args->n_experts; e++) {
        offsets[e] = sum;
        sum += next[e];
        next[e] = offsets[e];
    }
    offsets[args->n_experts] = sum;
    for (uint32_t pair = 0; pair < n_pairs; pair++) {
        pairs[next[ids[pair]]++] = pair;
    }
    op_expert_cut(offsets, args->n_experts, args->tile_pairs, cpu_pointer(args->tiles));
}

uint64_t cpu_expert_group_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
