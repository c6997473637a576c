/* What a device can do, as far as it changes how ops are planned: limits and tiers.
 *
 * The floor (Vulkan 1.2, bufferDeviceAddress, timelineSemaphore) is not repeated here: a device
 * below it is never used. The smallest values Vulkan allows are written beside the limits; a plan
 * that stays within them runs on every device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/vk/vk_tuning.h"

/* Tiers above the floor. X(field of vk_caps and vk_device_info, "name for people") */
#define VK_TIERS(X) \
    X(float16, "fp16")           /* 16-bit float arithmetic */ \
    X(storage8, "8-bit storage") /* 8 and 16-bit members in buffers */ \
    X(storage16, "16-bit storage") \
    X(int64, "int64") \
    X(integer_dot, "integer dot") /* 4 x 8-bit dot product, accelerated by the device */ \
    X(cooperative_matrix, "cooperative matrix")   /* VK_KHR_cooperative_matrix */ \
    X(subgroup_arithmetic, "subgroup arithmetic") /* and shuffles, in compute shaders */ \
    X(eight_lanes, "eight lanes") /* a CPU that plays a GPU: subgroups of 8, and shuffles */

enum vk_tier {
#define X(tier, name) VK_TIER_##tier,
    VK_TIERS(X)
#undef X
        VK_N_TIERS
};
#define VK_ALL_TIERS ((1u << VK_N_TIERS) - 1)

/* Of cooperative matrices: result[m][n] = a[m][k] b[k][n] + c[m][n]. */
struct vk_matrix_shape {
    uint32_t m, n, k;
};

/* Invocations that stand for a subgroup where matrices are emulated (lib/matrix_emulated.glsl). */
#define VK_EMULATED_SUBGROUP 32

struct vk_caps {
    uint32_t max_groups[3];    /* of one dispatch; at least 65535 each */
    uint32_t max_invocations;  /* of one work-group; at least 128 */
    uint32_t max_group_size_x; /* of these along x; at least 128 */
    uint32_t shared_bytes;     /* of one work-group; at least 16384 */
    uint32_t subgroup_size;    /* the default one; 1..128 */
    uint32_t vendor_id;        /* PCI: 0x1002 AMD, 0x10de NVIDIA, 0x8086 Intel */
    /* A tier the device has may be masked off (vk_options.tiers_off, a known fault of its driver, a
     * failed selftest). */
#define X(tier, name) bool tier;
    VK_TIERS(X)
#undef X
    struct vk_matrix_shape matrix; /* that cooperative_matrix is there for, or is emulated */
    uint32_t matrix_subgroup;      /* invocations that have a matrix together, a size to ask for */
    /* For tests: cooperative matrices are emulated, where there are kernels that do. */
    bool emulated_matrices;
    struct vk_tuning tuning; /* sizes of kernels that suit the device */
};

static inline bool vk_caps_has(const struct vk_caps *caps, enum vk_tier tier)
{
    const bool has[VK_N_TIERS] = {
#define X(tier, name) caps->tier,
        VK_TIERS(X)
#undef X
    };
    return has[tier];
}
