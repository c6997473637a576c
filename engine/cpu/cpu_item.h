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
