/* Products of tiles of block types (cpu_tile_unpack.h) with a few vectors of int8 activations at a
 * time, two vectors of rows each, so that all sums stay in registers. The loops are written here
 * once; beside what cpu_tile_unpack.h wants, the including file defines
 *
 *     multiply_group(codes, shape, x, n, sums)   sums of codes times activations over a group of
 *                                                columns, the codes' offset undone
 *     TILE_COUNTS(X, ...)                        X(n, ...) for n of 1 to MAX_VECTORS
 *     TILE_SHAPES(X)                             X(groups, minima, offset, quads), every
 * combination of TILE_TYPES that multiply_group tells apart TILE_PASSES(groups, minima, offset,
 * quads) a name for each of those TILE_FUNCTION(name)                        the head of the
 * function for a type
 */
#pragma once

#include "engine/cpu/cpu_tile_unpack.h"

TILE_INLINE void add_minima(const tile_floats minima[TILE_VECTORS], const struct activations *x,
                            const int n, tile_floats sums[TILE_VECTORS][MAX_VECTORS])
{
    for (int i = 0; i < n; i++) {
        float sum = load_float(x->rows[i] + x->sum);
        sums[0][i] += minima[0] * sum;
        sums[1][i] += minima[1] * sum;
    }
}

/* Adds integers * scales, of the last group of a block, and `parts` of the first if there are two,
 * times the block's scale of activations. */
TILE_INLINE void add_scaled(const tile_floats scales[TILE_VECTORS],
                            tile_ints integers[TILE_VECTORS][MAX_VECTORS],
                            tile_floats parts[TILE_VECTORS][MAX_VECTORS], const bool two,
                            const struct activations *x, const int n,
                            tile_floats sums[TILE_VECTORS][MAX_VECTORS])
{
    for (int i = 0; i < n; i++) {
        float scale = load_float(x->rows[i] + x->scale);
        for (int v = 0; v < TILE_VECTORS; v++) {
            tile_floats part = __builtin_convertvector(integers[v][i], tile_floats) * scales[v];
            sums[v][i] += (two ? part + parts[v][i] : part) * scale;
        }
    }
}

/* The next group: its sums of integers; what its minima add is added. */
TILE_INLINE void next_group(const struct tile *tile, uint64_t group, const struct shape shape,
                            struct activations *x, const int n,
                            tile_ints integers[TILE_VECTORS][MAX_VECTORS],
                            tile_floats sums[TILE_VECTORS][MAX_VECTORS])
{
    const uint64_t quads = 8 / (uint64_t)shape.groups;
    if (shape.minima) {
        add_minima(tile->minima[group], x, n, sums);
    }
    multiply_group(tile->codes + group * quads, shape, x, n, integers);
    x->q += 4 * quads;
    x->sum += sizeof(float);
    x->shift += sizeof(int32_t);
}

/* A block of 32 columns. */
TILE_INLINE void add_block(const struct tile *tile, uint64_t group, const struct shape shape,
                           struct activations *x, const int n,
                           tile_floats sums[TILE_VECTORS][MAX_VECTORS])
{
    const bool two = shape.groups == 2;
    tile_floats parts[TILE_VECTORS][MAX_VECTORS];
    tile_ints integers[TILE_VECTORS][MAX_VECTORS];
    if (two) {
        next_group(tile, group, shape, x, n, integers, sums);
        for (int i = 0; i < n; i++) {
            for (int v = 0; v < TILE_VECTORS; v++) {
                tile_floats products = __builtin_convertvector(integers[v][i], tile_floats);
                parts[v][i] = products * tile->scales[group][v];
            }
        }
        group++;
    }
    next_group(tile, group, shape, x, n, integers, sums);
    add_scaled(tile->scales[group], integers, parts, two, x, n, sums);
    x->scale += sizeof(float);
}

TILE_INLINE void multiply_panel(const struct tile_pass *pass, const struct shape shape, const int n)
{
    struct activations x = activations_of(pass, shape.groups, n);
    tile_floats sums[TILE_VECTORS][MAX_VECTORS];
    for (int i = 0; i < n; i++) {
        sums[0][i] = sums[1][i] = (tile_floats){0};
    }
    uint64_t n_groups = pass->n_columns / 32 * (uint64_t)shape.groups;
    for (uint64_t g = 0; g < n_groups; g += (uint64_t)shape.groups) {
        add_block(pass->tile, g, shape, &x, n, sums);
    }
    for (int i = 0; i < n; i++) {
        tile_put(pass, sums[0][i], i, 0);
        tile_put(pass, sums[1][i], i, 1);
    }
}

#define TILE_PASTE(a, b) a##_##b
#define TILE_PASS_OF(n, passes, ...) \
    static void TILE_PASTE(passes, n)(const struct tile_pass *pass) \
    { \
        multiply_panel(pass, (struct shape){__VA_ARGS__}, n); \
    }
#define TILE_ENTRY_OF(n, passes, ...) TILE_PASTE(passes, n),
#define X(...) TILE_COUNTS(TILE_PASS_OF, TILE_PASSES(__VA_ARGS__), __VA_ARGS__)
TILE_SHAPES(X)
#undef X
#define X(...) \
    static void (*const TILE_PASSES(__VA_ARGS__)[MAX_VECTORS])(const struct tile_pass *pass) = { \
        TILE_COUNTS(TILE_ENTRY_OF, TILE_PASSES(__VA_ARGS__), __VA_ARGS__)};
TILE_SHAPES(X)
#undef X

#define X(NAME, name, groups, minima, offset, quads, ...) \
    TILE_FUNCTION(name)(const struct cpu_tile_call *call) \
    { \
        tile_walk(call, &(struct tile_kind){unpack_##name, 32 * TILE_GROUPS / groups, MAX_VECTORS, \
                                            TILE_PASSES(groups, minima, offset, quads)}); \
    }
TILE_TYPES(X)
#undef X
