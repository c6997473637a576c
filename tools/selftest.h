/* The checks of all ops on a device of the user, in parts:
 *
 *     selftest          moxie selftest: options, the report
 *     selftest_device   a device as the checks want it: which tiers it has, opening it without some
 *     selftest_start    the short form that other subcommands run at the first start on a GPU
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "checks/check_tiers.h"
#include "format/error.h"

struct selftest_device {
    bool vulkan;
    uint32_t index; /* of the Vulkan device */
    bool software;
    char name[256], driver[256];
    uint32_t has; /* tiers: Vulkan's (engine/vk/vk_caps.h), or levels of the CPU's SIMD */
    uint32_t n_faults;
    const char *faults[8]; /* of the driver, known before: their tiers are not in `has` */
};

bool selftest_device_find(const char *device, struct selftest_device *found, struct error *err);
/* For check_tiers_request; context is a struct selftest_device. */
bool selftest_device_open(void *context, uint32_t tiers_off, struct check_device *device,
                          struct error *err);
/* "fp16, integer dot", or "none"; returns text. */
const char *selftest_tiers_text(const struct selftest_device *device, uint32_t tiers,
                                char text[256]);

/* Before a model is opened: on a real GPU that was never checked with this driver, a short selftest
 * whose verdict is kept. What it finds is told in one sentence on stderr. Software drivers, and
 * folders that are NULL, are left alone. */
void selftest_start(const char *tool, const char *device, const char *cache_folder);
