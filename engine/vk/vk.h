/* The Vulkan back end (engine/op/backend.h): what other rooms may know of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/op/backend.h"

enum vk_device_kind {
    VK_DEVICE_DISCRETE,
    VK_DEVICE_INTEGRATED,
    VK_DEVICE_VIRTUAL,
    VK_DEVICE_SOFTWARE
};

#define VK_MAX_DEVICES 16

struct vk_device_info {
    char name[256];
    char driver[256]; /* driver name and version */
    uint32_t vendor_id, device_id;
    uint32_t api_version; /* as Vulkan packs it */
    enum vk_device_kind kind;
    uint64_t memory_bytes; /* largest device-local heap */
    uint32_t subgroup_size;
    bool usable;       /* meets the floor: Vulkan 1.2, bufferDeviceAddress, timelineSemaphore */
    char missing[128]; /* what is missing, if not */
    /* Tiers above the floor. */
    bool float16, storage8, storage16, int64, integer_dot, cooperative_matrix, host_import,
        memory_budget, transfer_queue, subgroup_arithmetic;
};

/* Fills up to VK_MAX_DEVICES; *n is 0 if there are none. False only if the loader library is
 * missing or no instance can be made; err says so. Order is the loader's; the index is what
 * --device vulkan:N names. */
bool vk_list_devices(struct vk_device_info devices[VK_MAX_DEVICES], uint32_t *n, struct error *err);

struct vk_options {
    uint32_t device;       /* index of vk_list_devices */
    uint64_t memory_limit; /* bytes the back end may take, 0 = what the device has (--vram) */
    bool validation;    /* Khronos validation layer with synchronization validation; create fails if
                           the layer is not installed */
    bool force_staging; /* for tests: device memory counts as invisible to the host, as on a
                           discrete GPU, so that every transfer goes through the staging ring */
};

struct backend *vk_backend_create(const struct vk_options *options, struct error *err);

/* Messages of the validation layer since the back end was made (warnings and errors): 0 without
 * the option, and for a back end of another room. The first one is copied to `first` if not NULL.
 */
uint32_t vk_backend_validation_messages(struct backend *backend, char *first, uint32_t first_bytes);

/* Compiles every shader of the table for a device without running any, and writes a line each with
 * what VK_KHR_pipeline_executable_properties tells (registers, spills, ...). For the portability
 * test on drivers without hardware. Returns the number of pipelines, or -1 and err. */
int vk_compile_all(uint32_t device, FILE *report, struct error *err);
