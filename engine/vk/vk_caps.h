/* What a device can do, as far as it changes how ops are planned: limits and tiers.
 *
 * The floor (Vulkan 1.2, bufferDeviceAddress, timelineSemaphore) is not repeated here: a device
 * below it is never used. The smallest values Vulkan allows are written beside the limits; a plan
 * that stays within them runs on every device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vk_caps {
    uint32_t max_groups[3];    /* of one dispatch; at least 65535 each */
    uint32_t max_invocations;  /* of one work-group; at least 128 */
    uint32_t max_group_size_x; /* of these along x; at least 128 */
    uint32_t shared_bytes;     /* of one work-group; at least 16384 */
    uint32_t subgroup_size;    /* the default one; 1..128 */
    uint32_t vendor_id;        /* PCI: 0x1002 AMD, 0x10de NVIDIA, 0x8086 Intel */
    /* Tiers above the floor. A tier the device has may be masked off. */
    bool float16;             /* 16-bit float arithmetic */
    bool storage8, storage16; /* 8 and 16-bit members in buffers */
    bool int64;
    bool integer_dot;         /* 4 x 8-bit dot product, accelerated by the device */
    bool subgroup_arithmetic; /* in compute shaders */
};
