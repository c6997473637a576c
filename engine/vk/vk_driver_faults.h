/* Drivers that are known to compute wrongly with some tier: one table, keyed by vendor, device,
 * driver and version. What is listed is not used; a selftest finds what is not listed.
 */
#pragma once

#include <stdint.h>

/* A device as Vulkan names it; driver_id is a VkDriverId. */
struct vk_driver_key {
    uint32_t vendor_id, device_id, driver_id, driver_version;
};

struct vk_driver_fault {
    uint32_t vendor_id;                   /* 0: any */
    uint32_t first_device, last_device;   /* ids; 0, 0: any */
    uint32_t driver_id;                   /* 0: any */
    uint32_t first_version, last_version; /* as the driver counts; 0, 0: any */
    uint32_t tiers_off;                   /* bits 1 << enum vk_tier */
    const char *what;                     /* a sentence, with its source */
};

/* The first row from `index` on that fits, or NULL; *index becomes the one behind it. */
const struct vk_driver_fault *vk_driver_faults_next(const struct vk_driver_key *key,
                                                    uint32_t *index);
