#include "engine/device.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/vk/vk.h"

bool device_is_auto(const char *device)
{
    return !device || strcmp(device, "auto") == 0;
}

/* The best usable device: discrete before integrated before virtual, and software last or not at
 * all. */
static bool best_device(bool software_too, uint32_t *best, struct error *err)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 0;
    if (!vk_list_devices(devices, &n, err)) {
        return false;
    }
    bool found = false;
    for (uint32_t i = 0; i < n; i++) {
        bool allowed = devices[i].usable && (software_too || devices[i].kind != VK_DEVICE_SOFTWARE);
        if (allowed && (!found || devices[i].kind < devices[*best].kind)) {
            *best = i;
            found = true;
        }
    }
    return found ||
           error_set(err, "no Vulkan device was found that meets the floor (Vulkan 1.2 with "
                          "buffer addresses and timeline semaphores): see moxie devices");
}

static struct backend *open_vulkan(const struct device_request *request, uint32_t index,
                                   struct error *err)
{
    struct vk_options options = {
        .device = index,
        .memory_limit = request->memory_limit,
        .cache_folder = request->cache_folder,
        .validation = request->validation,
        .arithmetic = request->arithmetic,
    };
    return vk_backend_create(&options, err);
}

bool device_find(const char *device, bool *vulkan, uint32_t *index, struct error *err)
{
    *vulkan = false;
    *index = 0;
    if (device_is_auto(device)) {
        *vulkan = best_device(false, index, NULL);
        return true;
    }
    if (strcmp(device, "cpu") == 0) {
        return true;
    }
    *vulkan = true;
    if (strcmp(device, "vulkan") == 0) {
        return best_device(true, index, err);
    }
    if (strncmp(device, "vulkan:", 7) == 0) {
        char *end;
        unsigned long number = strtoul(device + 7, &end, 10);
        *index = (uint32_t)number;
        if (device[7] >= '0' && device[7] <= '9' && !*end && number < VK_MAX_DEVICES) {
            return true;
        }
    }
    return error_set(err,
                     "there is no device \"%.64s\": use auto, cpu, vulkan or vulkan:N (moxie "
                     "devices lists them)",
                     device);
}

struct backend *device_open(const struct device_request *request, struct error *err)
{
    bool vulkan, is_auto = device_is_auto(request->device);
    uint32_t index;
    if (!device_find(request->device, &vulkan, &index, err)) {
        return NULL;
    }
    bool may_be_cpu = is_auto && !request->arithmetic;
    struct backend *gpu = vulkan ? open_vulkan(request, index, may_be_cpu ? NULL : err) : NULL;
    if (gpu || (vulkan && !may_be_cpu)) {
        return gpu;
    }
    if (request->arithmetic) {
        error_set(err,
                  "the arithmetic can be chosen on GPUs only: the CPU computes with floats, and "
                  "beside quantised weights with int8");
        return NULL;
    }
    return cpu_backend_create(request->threads, err);
}
