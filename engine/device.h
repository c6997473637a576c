/* Names of devices ("auto", "cpu", "vulkan:1") to back ends: the one place above the back ends that
 * knows which there are. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/op/backend.h"
#include "format/error.h"

struct device_request {
    const char *device; /* NULL = "auto" */
    uint32_t threads;
    uint64_t memory_limit;
    const char *cache_folder; /* may be NULL */
    bool validation;
    const char *arithmetic; /* of GPUs (vk_options); NULL: theirs to choose */
};

/* Whether the request leaves the choice to us, so that the CPU may be used instead if the GPU
 * cannot take the model. */
bool device_is_auto(const char *device);

/* Whether the name means a Vulkan device here, and the index of which (vk_list_devices). False if
 * it names none; "auto" always names one. */
bool device_find(const char *device, bool *vulkan, uint32_t *index, struct error *err);

struct backend *device_open(const struct device_request *request, struct error *err);
