/* What the files of this room share: the surroundings of a running op, and the loops over weight
 * rows that matmul, the router and the experts have in common.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "engine/base/threads.h"
#include "engine/cpu/cpu_dot.h"
#include "engine/op/op.h"

/* Given to every op. Nothing in it may be allocated or freed while a program runs. */
struct cpu_run {
    struct thread_pool *pool;
    const struct cpu_level *level;
    uint8_t *scratch; /* 64-byte aligned, as large as the op's scratch_bytes */
};

/* One row per op of OPS. */
struct cpu_op {
    void (*run)(const struct cpu_run *run, const struct op *op);
    uint64_t (*scratch_bytes)(const struct cpu_level *level, const struct op *op);
};

extern const struct cpu_op cpu_ops[OP_COUNT];

/* Each op's file defines cpu_<op> and cpu_<op>_scratch: the plain C of the op, its specification.
 */
#define X(name, ...) \
    void cpu_##name(const struct cpu_run *run, const struct op *op); \
    uint64_t cpu_##name##_scratch(const struct cpu_level *level, const struct op *op);
OPS(X)
#undef X

/* An address in an argument struct is a host pointer here. */
static inline void *cpu_pointer(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

static inline const struct step *cpu_step(const struct op *op, uint64_t address)
{
    const struct step *step = cpu_pointer(address);
    (void)op; /* an NDEBUG build has no assert */
    assert(step->n_tokens >= 1 && step->n_tokens <= op->max_tokens);
    return step;
}

/* A weight matrix in memory, planes found. */
struct cpu_matrix {
    const struct dtype_info *type;
    const uint8_t *planes[DTYPE_MAX_PLANES];
    uint64_t strides[DTYPE_MAX_PLANES]; /* bytes from row to row */
    uint64_t rows, cols;
    const float *bias; /* (rows), added to every product; NULL: none */
};

struct cpu_matrix cpu_matrix_of(enum dtype dtype, const void *bytes, uint64_t rows, uint64_t cols);

static inline void cpu_matrix_row(const struct cpu_matrix *matrix, uint64_t row,
                                  const uint8_t *planes[DTYPE_MAX_PLANES])
{
    for (uint32_t p = 0; p < matrix->type->n_planes; p++) {
        planes[p] = matrix->planes[p] + row * matrix->strides[p];
    }
}

/* Rows of activations in the form a dot product wants. */
struct cpu_vectors {
    const uint8_t *first;
    uint64_t stride; /* bytes */
};

/* Scratch bytes for n rows prepared for the dot product; 0 if it takes floats. */
uint64_t cpu_prepared_bytes(const struct cpu_dot *dot, uint64_t n, uint64_t cols);

/* Prepares n rows of x into scratch, on all threads. */
struct cpu_vectors cpu_prepare(const struct cpu_run *run, const struct cpu_dot *dot, const float *x,
                               uint64_t n, uint64_t cols, void *scratch);

/* Weight rows that one thread takes at a time: few enough that they stay in the L1 cache while all
 * tokens pass, so that each row is read from memory once. */
#define CPU_ROWS_PER_TASK 16

/* y[t * rows + r] = row r . x[t] + bias[r] for t < n, on all threads. */
void cpu_matrix_vectors(const struct cpu_run *run, const struct cpu_matrix *matrix,
                        const struct cpu_dot *dot, struct cpu_vectors x, uint64_t n, float *y);

/* What the two expert products share: for every (token, slot) pair whose expert is here and every
 * block of rows, `fn` is called once with the pair's expert and its slab. With a grouping (offsets,
 * pairs) a block of rows is read from memory once for all pairs of its expert. */
struct cpu_expert_task {
    const uint8_t *slab;
    uint64_t first_row, end_row; /* of h or parts */
    uint32_t expert, pair;
};
typedef void (*cpu_expert_fn)(const void *context, const struct cpu_expert_task *task);

struct cpu_expert_loop {
    const uint64_t *slabs;                 /* 0: the expert is not here */
    const uint32_t *ids, *offsets, *pairs; /* offsets and pairs may be NULL */
    uint32_t n_experts;
    uint64_t n_pairs, rows;
    cpu_expert_fn fn;
    const void *context;
};
void cpu_expert_for(const struct cpu_run *run, const struct cpu_expert_loop *loop);

/* A weighted sum of cache rows whose weights are a softmax, in one pass: rows come in blocks, and
 * when a block raises the maximum, what was summed so far is scaled down (Milakov & Gimelshein
 * 2018, "Online normalizer calculation for softmax"). */
struct cpu_softmax {
    float maximum, sum;
};

/* Rows of a block: few enough that what several heads share of the cache stays in the L2 cache. */
#define CPU_SOFTMAX_ROWS 64

/* Of no rows; with a sink, of one logit that has no row. y is what will be summed: (dim) zeros. */
struct cpu_softmax cpu_softmax_begin(const float *sink, uint64_t dim, float *y);
/* Adds n <= CPU_SOFTMAX_ROWS rows, the first at `values`, with these scores. */
void cpu_softmax_add(struct cpu_softmax *softmax, const struct cpu_cache_math *math,
                     const float *scores, const uint8_t *values, uint64_t row_bytes, uint64_t n,
                     uint64_t dim, float *y);
void cpu_softmax_end(const struct cpu_softmax *softmax, uint64_t dim, float *y);
