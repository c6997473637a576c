/* Sizes of kernels that are right on every device and fast on some: one table of them for each
 * class of devices, and better ones where `moxie bench --tune` has found them.
 *
 * Ops are planned with caps->tuning and nothing else. Results do not depend on it beyond rounding.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* X(name, smallest, largest, meaning): powers of two. */
#define VK_TUNINGS(X) \
    X(matvec_group, 32, 128, "invocations of a work-group, weights times one vector") \
    X(matvec_lanes, 1, 32, "most of these that share a row of weights") \
    X(matvec_groups, 1, 1024, \
      "work-groups below which more invocations share a row, weights times one vector") \
    X(matvec_rows, 2, 8, \
      "rows that share what is loaded of the vector: 2, or 8 with kernels for CPUs that play " \
      "GPUs, which other ops then have, too") \
    X(matvec_arithmetic, 1, 4, \
      "most of: 1 floats, 4 int8 where 8 rows share it; weights times one vector or few") \
    X(matmul_arithmetic, 1, 8, \
      "most of: 1 floats, 2 fp16, 4 integer dot, 8 cooperative matrix; weights times many " \
      "vectors") \
    X(matmul_lane_vectors, 4, 8, \
      "vectors that an invocation multiplies: 4, or 8 with kernels for CPUs that play GPUs; " \
      "weights times many vectors") \
    X(matmul_tokens, 16, 64, "most vectors of a tile, weights times many vectors") \
    X(expert_few, 8, 128, "tokens up to which the pairs of an expert are taken four at a time") \
    X(expert_wide, 16, 256, \
      "pairs of an expert, in the mean, beyond which a tile takes 64 of them, not 32") \
    X(attention_groups, 1, 256, "work-groups that few queries are split into")

struct vk_tuning {
#define X(name, ...) uint32_t name;
    VK_TUNINGS(X)
#undef X
};

enum {
#define X(name, ...) VK_TUNING_##name,
    VK_TUNINGS(X)
#undef X
        VK_TUNING_COUNT
};

struct vk_tuning_row {
    const char *name, *meaning;
    uint32_t smallest, largest;
};
extern const struct vk_tuning_row vk_tuning_rows[VK_TUNING_COUNT];

/* The value of a row. */
uint32_t *vk_tuning_value(struct vk_tuning *tuning, uint32_t row);
/* What the class of a device starts with: vendor as PCI has it. */
struct vk_tuning vk_tuning_of_class(uint32_t vendor_id, bool software);
/* Whether every value is one that its row allows: for what comes from a file. */
bool vk_tuning_valid(const struct vk_tuning *tuning);
