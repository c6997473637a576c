/* A phase: what the ops of a dependent step have to do, shared out over all threads at once.
 *
 * An op that runs either does its work then and there, or adds it to the phase as a share: items
 * that any thread may do in any order. Shares of one phase make one list of work: every thread
 * begins with a stretch of it that costs as much as the others', in the order of memory, and helps
 * others when it is done. So a step takes one wake-up and one wait, however many ops it has, and a
 * thread reads weights that lie side by side.
 *
 * Activations are prepared before the items are shared out, once for all shares that read the same.
 */
#pragma once

#include "engine/cpu/cpu_internal.h"

/* Vectors that an item multiplies at a time, and its weight rows at most: bounds of what a thread
 * keeps beside. */
#define CPU_ITEM_VECTORS 128
#define CPU_ITEM_ROWS 128

/* What one thread has for itself while it does an item. */
struct cpu_item_memory {
    float *products; /* CPU_ITEM_VECTORS * CPU_ITEM_ROWS */
    void *rows;      /* for cpu_rows_multiply */
};

#define CPU_SHARE_CONTEXT_BYTES 256

/* Items are the blocks of groups, in this order: group 0 block 0, group 0 block 1, ... */
struct cpu_share {
    uint64_t n_groups, n_blocks;
    /* What a block of a group costs, in bytes of weights or what takes as long. */
    uint64_t (*cost)(const void *context, uint64_t group);
    void (*run)(const struct cpu_level *level, const void *context, uint64_t group, uint64_t block,
                const struct cpu_item_memory *memory);
    uint64_t first_item; /* in the phase's list, whose keeper it is */
    _Alignas(16) uint8_t context[CPU_SHARE_CONTEXT_BYTES];
};

/* Rows of activations that are to be prepared. */
struct cpu_preparation {
    struct cpu_input input;
    const struct cpu_dot *dot;
    uint8_t *normed, *prepared; /* NULL: not wanted */
    uint64_t normed_stride, prepared_stride;
};

struct cpu_phase {
    uint32_t capacity; /* of both */
    uint32_t n_shares, n_preparations;
    struct cpu_share *shares;
    struct cpu_preparation *preparations;
    uint64_t *starts; /* (threads + 1) */
    uint8_t *memory;  /* of all threads */
    uint64_t memory_stride;
};

/* For steps of up to n_ops ops. rows_scratch: the most that cpu_rows_scratch says for any of their
 * matrices. False if memory is short. */
bool cpu_phase_init(struct cpu_phase *phase, uint32_t n_threads, uint32_t n_ops,
                    uint64_t rows_scratch);
void cpu_phase_free(struct cpu_phase *phase);

/* Adds a share whose context is a copy of `bytes` bytes (at most CPU_SHARE_CONTEXT_BYTES). */
void cpu_phase_add(struct cpu_phase *phase, const struct cpu_share *share, const void *context,
                   uint64_t bytes);

/* Scratch bytes for these rows prepared for the dot product (only n, cols and whether there is a
 * norm count); 0 if it takes x as it is. */
uint64_t cpu_prepared_bytes(const struct cpu_dot *dot, const struct cpu_input *input);

/* Where the rows will be, prepared, when the items run: in scratch or where another share of the
 * phase has them. */
struct cpu_vectors cpu_phase_prepare(struct cpu_phase *phase, const struct cpu_dot *dot,
                                     const struct cpu_input *input, void *scratch);

/* Does what has been added and empties the phase. */
void cpu_phase_run(struct cpu_phase *phase, struct thread_pool *pool,
                   const struct cpu_level *level);
