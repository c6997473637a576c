/* What the files of this room share: the surroundings of a running op, weight matrices, and the
 * running softmax of attention. What ops with weights have in common is in cpu_item.h.
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
    struct cpu_phase *phase; /* of the op's step (cpu_phase.h) */
    uint8_t *scratch; /* 64-byte aligned, as large as the op's scratch_bytes; its own until the
                         phase is over */
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
};

struct cpu_matrix cpu_matrix_of(enum dtype dtype, const void *bytes, uint64_t rows, uint64_t cols);
/* Bytes of a row in all planes. */
uint64_t cpu_matrix_row_bytes(const struct cpu_matrix *matrix);

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

/* n rows of activations as an op is given them: (n, cols), and the RMS norm that they stand for. */
struct cpu_input {
    const float *x, *norm; /* norm: (cols) weights, or NULL */
    float epsilon;
    uint64_t n, cols;
};

/* A token's experts and their weights by its logits (cpu_router.c); correction may be NULL. */
void cpu_router_choose(const struct router_rule *rule, const float *correction, const float *logits,
                       uint32_t *ids, float *weights);

/* y = x / sqrt(mean(x^2) + epsilon) * weight over `dim` elements (cpu_rms_norm.c). */
void cpu_rms_norm_row(const float *x, const float *weight, float epsilon, uint64_t dim, float *y);
