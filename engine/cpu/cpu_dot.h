/* Dot products of a weight row with a row of activations, one way per dtype.
 *
 * A dot product may want the activations in a form of its own (int8 blocks). That form is prepared
 * once per row of activations and shared by all weight rows and threads. Level 0 is plain C over
 * decoded values: the reference. Faster ones are found at run time by the ladder in cpu_ladder.h.
 */
#pragma once

#include <stdint.h>

#include "format/dtype.h"

struct cpu_dot {
    /* Bytes of the prepared form of a row of `cols` activations, a multiple of 64. NULL: there is
     * none, and `dot` takes the floats themselves. */
    uint64_t (*prepared_bytes)(uint64_t cols);
    /* `prepared` is 64-byte aligned. */
    void (*prepare)(const float *x, uint64_t cols, void *prepared);
    /* Sum of weight * activation over a row; planes[p] is that row's bytes in plane p. */
    float (*dot)(const uint8_t *const planes[DTYPE_MAX_PLANES], const void *x, uint64_t cols);
    /* The same for n rows, which lie strides[p] bytes apart in plane p: y[i] is row i's. Planes
     * that the type has not are any address, with stride 0. NULL: `dot` does them one by one. */
    void (*dot_rows)(const uint8_t *const planes[DTYPE_MAX_PLANES],
                     const uint64_t strides[DTYPE_MAX_PLANES], uint64_t n, const void *x,
                     uint64_t cols, float *y);
};

struct cpu_attention_math; /* engine/cpu/cpu_attention.h */

enum cpu_dtype_index {
#define X(NAME, ...) CPU_DTYPE_##NAME,
    DTYPES(X)
#undef X
        CPU_DTYPES
};

/* Products of many rows of a matrix with many vectors at once (cpu_tile.h). */
struct cpu_tile_call;
struct cpu_tile {
    void (*multiply)(const struct cpu_tile_call *call); /* NULL: there is none */
    uint64_t scratch_bytes;
    uint32_t rows; /* at a time */
    uint32_t from; /* number of vectors from which on it is faster than dot products */
};

/* What one instruction set brings. Rows that are NULL leave the level below in place. */
struct cpu_level {
    const char *name;
    uint32_t features; /* all of these are needed (enum cpu_feature) */
    struct cpu_dot dots[CPU_DTYPES];
    struct cpu_tile tiles[CPU_DTYPES];
    const struct cpu_attention_math *attention;
};

extern const struct cpu_level cpu_level_plain;

/* Takes what the rung brings. */
void cpu_level_add(struct cpu_level *level, const struct cpu_level *rung);

/* The level made of the highest rungs these features allow. */
struct cpu_level cpu_level_choose(uint32_t features);

const struct cpu_dot *cpu_dot_of(const struct cpu_level *level, enum dtype dtype);
