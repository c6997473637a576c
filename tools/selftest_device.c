#include "tools/selftest.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu.h"
#include "engine/device.h"
#include "engine/vk/vk.h"

/* The rungs of the CPU's ladder, lowest first: without one the higher ones are off, too. */
static const struct {
    uint32_t feature;
    const char *name;
} levels[] = {{CPU_AVX2, "AVX2"},      {CPU_AVX_VNNI, "AVX-VNNI"},
              {CPU_AVX512, "AVX-512"}, {CPU_AVX512_VNNI, "AVX-512 VNNI"},
              {CPU_NEON, "NEON"},      {CPU_NEON_DOT, "NEON dot products"}};
#define N_LEVELS (sizeof(levels) / sizeof(levels[0]))

static void find_cpu(struct selftest_device *found)
{
    uint32_t features = cpu_features();
    snprintf(found->name, sizeof(found->name), "CPU, %s", cpu_features_text(features));
    for (uint32_t i = 0; i < N_LEVELS; i++) {
        found->has |= features & levels[i].feature ? 1u << i : 0u;
    }
}

static bool find_vulkan(struct selftest_device *found, struct error *err)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    struct vk_tiers tiers;
    uint32_t n = 0;
    if (!vk_list_devices(devices, &n, err)) {
        return false;
    }
    if (found->index >= n) {
        return error_set(err, "there is no Vulkan device %u: moxie devices lists them",
                         found->index);
    }
    const struct vk_device_info *info = &devices[found->index];
    if (!info->usable || !vk_tiers_of(found->index, &tiers)) {
        return error_set(err, "%s cannot be used: it lacks %s", info->name, info->missing);
    }
    memcpy(found->name, info->name, sizeof(found->name));
    memcpy(found->driver, info->driver, sizeof(found->driver));
    found->software = info->kind == VK_DEVICE_SOFTWARE;
    found->has = tiers.has;
    found->n_faults = tiers.n_faults;
    memcpy(found->faults, tiers.faults, sizeof(tiers.faults));
    return true;
}

bool selftest_device_find(const char *device, struct selftest_device *found, struct error *err)
{
    *found = (struct selftest_device){0};
    if (!device_find(device, &found->vulkan, &found->index, err)) {
        return false;
    }
    if (found->vulkan) {
        return find_vulkan(found, err);
    }
    find_cpu(found);
    return true;
}

static bool open_cpu(const struct selftest_device *from, uint32_t tiers_off,
                     struct check_device *device, struct error *err)
{
    uint32_t features = 0;
    for (uint32_t i = 0; i < N_LEVELS && !(tiers_off >> i & 1); i++) {
        features |= from->has >> i & 1 ? levels[i].feature : 0;
    }
    cpu_features_set_mask(features);
    device->int8_activations = features != 0;
    device->backend = cpu_backend_create(0, err);
    return device->backend != NULL;
}

bool selftest_device_open(void *context, uint32_t tiers_off, struct check_device *device,
                          struct error *err)
{
    const struct selftest_device *from = context;
    device->name = from->name;
    if (!from->vulkan) {
        return open_cpu(from, tiers_off, device, err);
    }
    struct vk_options options = {.device = from->index, .tiers_off = tiers_off};
    device->gpu = true;
    device->backend = vk_backend_create(&options, err);
    if (!device->backend) {
        return false;
    }
    vk_backend_products(device->backend, &device->float16_products, &device->int8_products,
                        &device->int8_activations);
    return true;
}

const char *selftest_tiers_text(const struct selftest_device *device, uint32_t tiers,
                                char text[256])
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < 32; i++) {
        const char *name = device->vulkan ? vk_tier_name(i) : i < N_LEVELS ? levels[i].name : NULL;
        if (name && tiers >> i & 1 && used < 255) {
            used += (size_t)snprintf(text + used, 256 - used, "%s%s", used ? ", " : "", name);
        }
    }
    return used ? text : strcpy(text, "none");
}
