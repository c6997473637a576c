/* What gate/up and down of experts have in common: the matrix of each expert times the vectors of
 * all (token, slot) pairs that chose it. The ops differ in which matrix and which vectors that are,
 * and in what becomes of the products.
 */
#pragma once

#include "engine/cpu/cpu_item.h"

/* Groups of pairs of one expert. With a grouping (offsets, pairs) a group is an expert, so that its
 * rows are read from memory once; without, a pair. */
struct cpu_expert_groups {
    const uint64_t *slabs;                 /* 0: the expert is not here */
    const uint32_t *ids, *offsets, *pairs; /* offsets and pairs may be NULL */
    uint32_t n_experts, n_pairs;
};

struct cpu_expert_product {
    struct cpu_expert_groups groups;
    uint64_t slab_offset;      /* of the matrix, bytes */
    uint64_t rows, cols;       /* of the result, and of the matrix */
    uint32_t matrix_rows;      /* that make a row of the result, side by side */
    uint32_t pairs_per_vector; /* pair p takes vector p / pairs_per_vector of the input */
    const void *args;
    /* Makes rows [first, end) of the pair's result from (end - first) * matrix_rows products,
     * which it may change. */
    void (*write)(const void *args, uint32_t expert, uint32_t pair, uint64_t first, uint64_t end,
                  float *products);
    /* Filled in by cpu_expert_product_add. */
    struct cpu_vectors x;
    enum dtype dtype;
    uint64_t item_rows; /* of the result */
};

/* Adds the product of the op's matrices with the input to the phase, for n tokens. */
void cpu_expert_product_add(const struct cpu_run *run, const struct op *op,
                            struct cpu_expert_product *product, const struct cpu_input *input,
                            uint32_t n);
