/* What the ops with weights have in common: their items are blocks of weight rows, times all
 * vectors that want them.
 */
#pragma once

#include "engine/cpu/cpu_phase.h"

/* Rows of an item for n vectors, a multiple of 4 and of what is multiplied at a time: enough to be
 * worth the taking, few enough that threads end at about the same time. row_bytes: of weights, of
 * all matrices that are read. It does not depend on the number of threads, and so results do not.
 */
uint64_t cpu_item_rows(uint64_t row_bytes, uint64_t n);

/* What the item costs: reading its rows, and multiplying each with n vectors. */
uint64_t cpu_item_cost(const struct cpu_matrix *matrix, uint64_t rows, uint64_t n);

/* memory->products, (n, end - first), = rows [first, end) times x[0..n), n <= CPU_ITEM_VECTORS, end
 * - first <= CPU_ITEM_ROWS. */
void cpu_item_multiply(const struct cpu_level *level, const struct cpu_matrix *matrix,
                       uint64_t first, uint64_t end, const uint8_t *const *x, uint64_t n,
                       const struct cpu_item_memory *memory);

/* Asks for the beginnings of rows that will be read next, because processors read ahead only where
 * they have seen a sequence begin. */
void cpu_item_prefetch(const struct cpu_matrix *matrix, uint64_t row);

/* The most that cpu_rows_scratch says for what the op reads; 0 if it reads no matrix of weights. */
uint64_t cpu_item_rows_scratch(const struct cpu_level *level, const struct op *op);

/* The experts of gate/up and down: groups of (token, slot) pairs of one expert. With a grouping
 * (offsets, pairs) a group is an expert, so that its rows are read from memory once; without, a
 * pair. */
struct cpu_expert_groups {
    const uint64_t *slabs;                 /* 0: the expert is not here */
    const uint32_t *ids, *offsets, *pairs; /* offsets and pairs may be NULL */
    uint32_t n_experts, n_pairs;
};

struct cpu_expert_group {
    const uint8_t *slab; /* NULL: nothing is to be done */
    uint32_t expert, n;
    const uint32_t *pairs; /* (n), or NULL: the one pair is `pair` */
    uint32_t pair;
};

uint64_t cpu_expert_groups_count(const struct cpu_expert_groups *groups);
struct cpu_expert_group cpu_expert_group_at(const struct cpu_expert_groups *groups, uint64_t index);

static inline uint32_t cpu_expert_group_pair(const struct cpu_expert_group *group, uint64_t i)
{
    return group->pairs ? group->pairs[i] : group->pair;
}
