/* Products of rows of a weight matrix with one or many rows of activations: what every matrix op of
 * this room, and every expert, spends its time in. How they are computed depends on how many there
 * are; the results differ by the order of float sums only.
 */
#pragma once

#include <stdint.h>

#include "engine/cpu/cpu_dot.h"

struct cpu_matrix;

/* y[i][row - first] = row . x[i] for rows [first, end) of the matrix and i < n. x[i] are prepared
 * as cpu_dot says; y[i] has end - first floats. scratch: cpu_rows_scratch bytes that no other
 * thread uses, 64-byte aligned. A matrix's bias is not added. */
void cpu_rows_multiply(const struct cpu_level *level, const struct cpu_matrix *matrix,
                       uint64_t first, uint64_t end, const uint8_t *const *x, float *const *y,
                       uint32_t n, void *scratch);
uint64_t cpu_rows_scratch(const struct cpu_level *level, enum dtype dtype, uint64_t cols);
