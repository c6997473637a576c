/* The Vulkan back end (engine/op/backend.h): what other rooms may know of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/op/backend.h"
#include "engine/vk/vk_tuning.h"

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
        memory_budget, transfer_queue, subgroup_arithmetic, eight_lanes;
};

/* Fills up to VK_MAX_DEVICES; *n is 0 if there are none. False only if the loader library is
 * missing or no instance can be made; err says so. Order is the loader's; the index is what
 * --device vulkan:N names. */
bool vk_list_devices(struct vk_device_info devices[VK_MAX_DEVICES], uint32_t *n, struct error *err);

struct vk_options {
    uint32_t device;          /* index of vk_list_devices */
    uint64_t memory_limit;    /* bytes the back end may take, 0 = what the device has (--vram) */
    const char *cache_folder; /* where compiled pipelines and measurements of the device are kept
                                 from one start to the next; NULL: nowhere */
    bool validation; /* Khronos validation layer with synchronization validation; create fails if
                        the layer is not installed */
    const char *arithmetic; /* of products with many vectors: f32, f16, int8 or matrix; NULL: what
                               the device is fastest with. Create fails if it cannot. */
    uint32_t tiers_off;     /* bits 1 << enum vk_tier (vk_caps.h) that count as absent */
    uint32_t tiers_forced;  /* for tests: such bits that count as there if the device has them at
                               all,  be it not accelerated: integer_dot; and
                              cooperative_matrix, which is emulated */
    const struct vk_matrix_shape *matrix; /* for tests: of emulated matrices; NULL: the device's
                                             own, or 16 x 16 x 16 */
    double segment_seconds; /* most that one submit of a program may take; 0: 0.1 on real devices,
                               no bound on software ones, which nobody resets */
    const struct vk_tuning *tuning; /* for tests: sizes of kernels; NULL: what suits the device */
    bool no_timestamps;             /* for tests: the device's clock counts as absent */
    bool force_staging; /* for tests: device memory counts as invisible to the host, as on a
                           discrete GPU, so that every transfer goes through the staging ring */
};

/* Fails, too, where the verdict in the cache folder is that the device computes wrongly. */
struct backend *vk_backend_create(const struct vk_options *options, struct error *err);

/* Messages of the validation layer since the back end was made (warnings and errors): 0 without
 * the option, and for a back end of another room. The first one is copied to `first` if not NULL.
 */
uint32_t vk_backend_validation_messages(struct backend *backend, char *first, uint32_t first_bytes);

/* Which arithmetic the device may use for products with many vectors, so that tests know what to
 * expect: int8 where weights are of blocks, f16 where they are not f32 or bf16. int8_vector: the
 * same as int8 for one vector, or few. */
void vk_backend_products(struct backend *backend, bool *float16, bool *int8, bool *int8_vector);

/* What was tried of a row of the table of sizes of kernels (vk_tuning.h). */
struct vk_tuned {
    uint32_t row, before, after;
    double speedup; /* of a product that tells of the row; 1: nothing was better, or none tells */
};

/* Tries other sizes of kernels for some seconds, keeps what is faster in the cache folder for later
 * starts, and tells of every row. False also if it cannot be kept, and for a back end of another
 * room. */
bool vk_backend_tune(struct backend *backend, struct vk_tuned tuned[VK_TUNING_COUNT],
                     struct error *err);

/* Compiles every shader of the table for a device without running any, and writes a line each with
 * what VK_KHR_pipeline_executable_properties tells (registers, spills, ...). For the portability
 * test on drivers without hardware. Returns the number of pipelines, or -1 and err. */
int vk_compile_all(uint32_t device, FILE *report, struct error *err);

/* ---- What is known about a device and its driver (vk_verdict.c, vk_driver_faults.c) ---- */

/* What `moxie selftest` found, kept in the cache folder for a device, its driver and our shaders.
 */
struct vk_verdict {
    uint32_t tiers_off; /* that computed wrongly: they are not used again */
    bool unusable;      /* even without any tier */
    uint32_t n_checks;
};
/* False: there is none yet (or no such device). */
bool vk_verdict_read(uint32_t device, const char *folder, struct vk_verdict *verdict);
/* False if it could not be kept. */
bool vk_verdict_write(uint32_t device, const char *folder, const struct vk_verdict *verdict);

/* The tiers a device has (its driver's known faults left out), and which those faults are: one
 * sentence each, with their number. False if there is no such device. */
#define VK_MAX_FAULTS 4
struct vk_tiers {
    uint32_t has, faulty;
    uint32_t n_faults;
    const char *faults[VK_MAX_FAULTS];
};
bool vk_tiers_of(uint32_t device, struct vk_tiers *tiers);
/* "fp16"; NULL beyond the last. */
const char *vk_tier_name(uint32_t tier);
