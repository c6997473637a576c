/* The devices of this machine, for people and for --device. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/cpu_features.h"
#include "engine/moxie_internal.h"
#include "engine/vk/vk.h"

static void describe_cpu(struct moxie_device *device)
{
    *device = (struct moxie_device){
        .id = "cpu",
        .name = "CPU",
        .kind = MOXIE_DEVICE_CPU,
        .usable = true,
        .memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
    };
    snprintf(device->note, sizeof(device->note), "%ld cores, SIMD: %s",
             sysconf(_SC_NPROCESSORS_ONLN), cpu_features_text(cpu_features()));
}

static void describe_tiers(const struct vk_device_info *from, struct moxie_device *to)
{
    const struct {
        bool has;
        const char *name;
    } tiers[] = {
        {from->float16, "fp16"},
        {from->storage16, "16-bit storage"},
        {from->storage8, "8-bit storage"},
        {from->int64, "int64"},
        {from->integer_dot, "integer dot"},
        {from->cooperative_matrix, "cooperative matrix"},
        {from->subgroup_arithmetic, "subgroup arithmetic"},
        {from->eight_lanes, "eight lanes"},
        {from->host_import, "host memory import"},
        {from->memory_budget, "memory budget"},
        {from->transfer_queue, "transfer queue"},
    };
    size_t used = (size_t)snprintf(to->note, sizeof(to->note), "can do:");
    for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]) && used < sizeof(to->note); i++) {
        if (tiers[i].has) {
            used += (size_t)snprintf(to->note + used, sizeof(to->note) - used, "%s %s",
                                     to->note[used - 1] == ':' ? "" : ",", tiers[i].name);
        }
    }
}

static void describe_vulkan(const struct vk_device_info *from, uint32_t index,
                            struct moxie_device *to)
{
    static const enum moxie_device_kind kinds[] = {
        [VK_DEVICE_DISCRETE] = MOXIE_DEVICE_DISCRETE,
        [VK_DEVICE_INTEGRATED] = MOXIE_DEVICE_INTEGRATED,
        [VK_DEVICE_VIRTUAL] = MOXIE_DEVICE_VIRTUAL,
        [VK_DEVICE_SOFTWARE] = MOXIE_DEVICE_SOFTWARE,
    };
    *to = (struct moxie_device){
        .kind = kinds[from->kind],
        .usable = from->usable,
        .memory_bytes = from->memory_bytes,
        .api_version = from->api_version,
        .subgroup_size = from->subgroup_size,
    };
    assert(index < VK_MAX_DEVICES); /* so that it fits */
    snprintf(to->id, sizeof(to->id), "vulkan:%u", index);
    memcpy(to->name, from->name, sizeof(to->name));
    memcpy(to->driver, from->driver, sizeof(to->driver));
    if (from->usable) {
        describe_tiers(from, to);
    } else {
        snprintf(to->note, sizeof(to->note), "%s", from->missing);
    }
}

uint32_t moxie_devices(struct moxie_device *devices, uint32_t capacity,
                       struct moxie_error *vulkan_error)
{
    struct vk_device_info found[VK_MAX_DEVICES];
    struct error err = {0};
    uint32_t n = 0;
    if (!vk_list_devices(found, &n, &err)) {
        n = 0;
    } else if (n == 0) {
        error_set(&err, "no device was found: install the Vulkan driver of your GPU");
    }
    moxie_error_export(vulkan_error, &err);
    if (capacity > 0) {
        describe_cpu(&devices[0]);
    }
    for (uint32_t i = 0; i < n && i + 1 < capacity; i++) {
        describe_vulkan(&found[i], i, &devices[i + 1]);
    }
    return n + 1;
}
