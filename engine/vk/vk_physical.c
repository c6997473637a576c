/* What a physical device is, which memory and limits it has, and what it lacks for us. */
#include "engine/vk/vk_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk_cooperative_matrix.h"
#include "engine/vk/vk_matrix.h"

enum { VENDOR_INTEL = 0x8086 };

struct extensions {
    VkExtensionProperties *list;
    uint32_t n;
};

static struct extensions list_extensions(const struct vk_functions *vk, VkPhysicalDevice handle)
{
    struct extensions extensions = {0};
    uint32_t n = 0;
    if (vk->EnumerateDeviceExtensionProperties(handle, NULL, &n, NULL) < 0 || n == 0) {
        return extensions;
    }
    extensions.list = calloc(n, sizeof(*extensions.list));
    if (extensions.list &&
        vk->EnumerateDeviceExtensionProperties(handle, NULL, &n, extensions.list) >= 0) {
        extensions.n = n;
    }
    return extensions;
}

static bool has_extension(const struct extensions *extensions, const char *name)
{
    for (uint32_t i = 0; i < extensions->n; i++) {
        if (strcmp(extensions->list[i].extensionName, name) == 0) {
            return true;
        }
    }
    return false;
}

static enum vk_device_kind device_kind(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return VK_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return VK_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return VK_DEVICE_SOFTWARE;
    default:
        return VK_DEVICE_VIRTUAL;
    }
}

/* Compute without graphics where there is such a family: drivers give it fewer duties and, on some
 * systems, no watchdog of the desktop. */
static bool find_queue_family(const struct vk_functions *vk, struct vk_physical *physical)
{
    VkQueueFamilyProperties families[16];
    uint32_t n = 16;
    vk->GetPhysicalDeviceQueueFamilyProperties(physical->handle, &n, families);
    bool found = false, found_alone = false;
    for (uint32_t i = 0; i < n; i++) {
        VkQueueFlags flags = families[i].queueFlags;
        bool compute = flags & VK_QUEUE_COMPUTE_BIT, graphics = flags & VK_QUEUE_GRAPHICS_BIT;
        if (compute && (!found || (!graphics && !found_alone))) {
            physical->queue_family = i;
            physical->timestamp_bits = families[i].timestampValidBits;
            found = true;
            found_alone = !graphics;
        }
        if (!compute && !graphics && (flags & VK_QUEUE_TRANSFER_BIT)) {
            physical->info.transfer_queue = true;
        }
    }
    return found;
}

static void inspect_memory(const struct vk_functions *vk, struct vk_physical *physical)
{
    vk->GetPhysicalDeviceMemoryProperties(physical->handle, &physical->memory);
    bool all_local = true;
    for (uint32_t i = 0; i < physical->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &physical->memory.memoryHeaps[i];
        if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT)) {
            all_local = false;
        } else if (heap->size > physical->info.memory_bytes) {
            physical->info.memory_bytes = heap->size;
        }
    }
    physical->unified = all_local || physical->info.kind == VK_DEVICE_INTEGRATED ||
                        physical->info.kind == VK_DEVICE_SOFTWARE;
}

static void inspect_properties(const struct vk_functions *vk, struct vk_physical *physical,
                               const struct extensions *extensions)
{
    bool has_maintenance4 = has_extension(extensions, VK_KHR_MAINTENANCE_4_EXTENSION_NAME);
    VkPhysicalDeviceMaintenance4Properties maintenance4 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
    VkPhysicalDeviceShaderIntegerDotProductProperties dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES};
    VkPhysicalDeviceVulkan12Properties properties12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES};
    VkPhysicalDeviceVulkan11Properties properties11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, .pNext = &properties12};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &properties11};
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
    if (physical->info.host_import) {
        host.pNext = properties.pNext;
        properties.pNext = &host;
    }
    if (has_maintenance4) {
        maintenance4.pNext = properties.pNext;
        properties.pNext = &maintenance4;
    }
    if (physical->integer_dot_extension) {
        dot.pNext = properties.pNext;
        properties.pNext = &dot;
    }
    vk->GetPhysicalDeviceProperties2(physical->handle, &properties);

    struct vk_device_info *info = &physical->info;
    snprintf(info->driver, sizeof(info->driver), "%.120s%s%.120s", properties12.driverName,
             properties12.driverInfo[0] ? " " : "", properties12.driverInfo);
    info->subgroup_size = properties11.subgroupSize;
    physical->driver_id = (uint32_t)properties12.driverID;
    memcpy(physical->identity.device, properties11.deviceUUID, VK_UUID_SIZE);
    memcpy(physical->identity.driver, properties11.driverUUID, VK_UUID_SIZE);
    const VkSubgroupFeatureFlags operations =
        VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    info->subgroup_arithmetic =
        (properties11.subgroupSupportedOperations & operations) == operations &&
        (properties11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT);
    info->eight_lanes = info->kind == VK_DEVICE_SOFTWARE && info->subgroup_size == 8 &&
                        info->subgroup_arithmetic &&
                        (properties11.subgroupSupportedOperations & VK_SUBGROUP_FEATURE_BALLOT_BIT);
    info->integer_dot = dot.integerDotProduct4x8BitPackedSignedAccelerated;

    physical->import_align = host.minImportedHostPointerAlignment;
    physical->max_allocation = properties11.maxMemoryAllocationSize;
    if (has_maintenance4 && maintenance4.maxBufferSize < physical->max_allocation) {
        physical->max_allocation = maintenance4.maxBufferSize;
    }
}

static void inspect_features(const struct vk_functions *vk, struct vk_physical *physical)
{
    physical->features12 = (VkPhysicalDeviceVulkan12Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    physical->features11 = (VkPhysicalDeviceVulkan11Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .pNext = &physical->features12};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &physical->features11};
    vk->GetPhysicalDeviceFeatures2(physical->handle, &features);
    physical->features = features.features;

    struct vk_device_info *info = &physical->info;
    info->eight_lanes &= physical->features12.shaderSubgroupExtendedTypes; /* of 64 bits */
    info->float16 = physical->features12.shaderFloat16;
    info->storage8 = physical->features12.storageBuffer8BitAccess;
    info->storage16 = physical->features11.storageBuffer16BitAccess;
    info->int64 = physical->features.shaderInt64;
}

/* The matrices that we use of those that the device has. */
static bool find_matrices(const struct vk_functions *vk, VkInstance instance,
                          VkPhysicalDevice handle, struct vk_matrix_shape *shape)
{
    struct vk_cooperative_matrix_properties list[128];
    uint32_t n = sizeof(list) / sizeof(list[0]);
    vk_get_cooperative_matrix_properties get =
        (vk_get_cooperative_matrix_properties)(void *)vk->GetInstanceProcAddr(
            instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    memset(list, 0, sizeof(list));
    for (uint32_t i = 0; i < n; i++) {
        list[i].sType = VK_COOPERATIVE_MATRIX_PROPERTIES_TYPE;
    }
    return get && get(handle, &n, list) >= 0 && vk_matrix_choose(list, n, shape);
}

/* Only what lib/tile_cooperative_matrix.glsl can use; and whole subgroups can be asked for, which
 * matrices must have (Vulkan specification, VUID-RuntimeSpirv-OpTypeCooperativeMatrixKHR-10770). */
static void inspect_cooperative_matrix(const struct vk_functions *vk, VkInstance instance,
                                       struct vk_physical *physical)
{
    struct vk_cooperative_matrix_features matrix = {.sType = VK_COOPERATIVE_MATRIX_FEATURES_TYPE};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &matrix};
    struct vk_device_info *info = &physical->info;
    physical->matrix = (struct vk_matrix_shape){16, 16, 16}; /* where they are emulated */
    if (!info->cooperative_matrix) {
        return;
    }
    vk->GetPhysicalDeviceFeatures2(physical->handle, &features);
    info->cooperative_matrix = matrix.cooperative_matrix && info->float16 &&
                               physical->features12.vulkanMemoryModel &&
                               find_matrices(vk, instance, physical->handle, &physical->matrix);
}

/* Which subgroups matrices are asked of. Drivers of Intel have several sizes, the smallest of which
 * is the one that its matrix units take; others are left at what they say is usual. */
static void inspect_subgroups(const struct vk_functions *vk, struct vk_physical *physical)
{
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &control};
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes};
    physical->matrix_subgroup = physical->info.subgroup_size;
    if (!physical->subgroup_size_extension) {
        return;
    }
    vk->GetPhysicalDeviceFeatures2(physical->handle, &features);
    vk->GetPhysicalDeviceProperties2(physical->handle, &properties);
    physical->subgroup_size_extension =
        control.subgroupSizeControl && control.computeFullSubgroups &&
        (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT);
    if (physical->subgroup_size_extension && physical->info.vendor_id == VENDOR_INTEL) {
        physical->matrix_subgroup = sizes.minSubgroupSize;
    }
}

static void fill_caps(struct vk_physical *physical, const VkPhysicalDeviceLimits *limits)
{
    const struct vk_device_info *info = &physical->info;
    physical->caps = (struct vk_caps){
        .max_groups = {limits->maxComputeWorkGroupCount[0], limits->maxComputeWorkGroupCount[1],
                       limits->maxComputeWorkGroupCount[2]},
        .max_invocations = limits->maxComputeWorkGroupInvocations,
        .max_group_size_x = limits->maxComputeWorkGroupSize[0],
        .shared_bytes = limits->maxComputeSharedMemorySize,
        .subgroup_size = info->subgroup_size,
        .vendor_id = info->vendor_id,
        .matrix = physical->matrix,
        .matrix_subgroup = physical->matrix_subgroup,
#define X(tier, name) .tier = info->tier,
        VK_TIERS(X)
#undef X
            .tuning = vk_tuning_of_class(info->vendor_id, info->kind == VK_DEVICE_SOFTWARE),
    };
}

/* Adds a name to the list of what is missing. */
static void miss(struct vk_device_info *info, bool present, const char *name)
{
    if (!present) {
        size_t length = strlen(info->missing);
        snprintf(info->missing + length, sizeof(info->missing) - length, "%s%s", length ? ", " : "",
                 name);
    }
}

void vk_physical_inspect(const struct vk_functions *vk, VkInstance instance,
                         VkPhysicalDevice handle, struct vk_physical *physical)
{
    *physical = (struct vk_physical){.handle = handle};
    VkPhysicalDeviceProperties properties;
    vk->GetPhysicalDeviceProperties(handle, &properties);
    struct vk_device_info *info = &physical->info;
    snprintf(info->name, sizeof(info->name), "%s", properties.deviceName);
    snprintf(info->driver, sizeof(info->driver), "version 0x%x", properties.driverVersion);
    info->vendor_id = properties.vendorID;
    info->device_id = properties.deviceID;
    info->api_version = properties.apiVersion;
    info->kind = device_kind(properties.deviceType);
    physical->identity = (struct vk_identity){.vendor_id = properties.vendorID,
                                              .device_id = properties.deviceID,
                                              .driver_version = properties.driverVersion,
                                              .api_version = properties.apiVersion};
    memcpy(physical->identity.pipeline_cache, properties.pipelineCacheUUID, VK_UUID_SIZE);
    inspect_memory(vk, physical);
    miss(info, info->memory_bytes > 0, "memory"); /* drivers that only compile */
    miss(info, find_queue_family(vk, physical), "a queue for compute");
    if (properties.apiVersion < VK_API_VERSION_1_2) { /* the questions below would be invalid */
        miss(info, false, "Vulkan 1.2");
        return;
    }
    struct extensions extensions = list_extensions(vk, handle);
    physical->integer_dot_extension =
        has_extension(&extensions, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    physical->executable_properties_extension =
        has_extension(&extensions, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
    physical->subgroup_size_extension =
        has_extension(&extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    info->cooperative_matrix =
        has_extension(&extensions, VK_COOPERATIVE_MATRIX_EXTENSION) &&
        properties.limits.maxComputeSharedMemorySize >= VK_MATRIX_SHARED_BYTES;
    info->host_import = has_extension(&extensions, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
    info->memory_budget = has_extension(&extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    inspect_properties(vk, physical, &extensions);
    inspect_features(vk, physical);
    inspect_subgroups(vk, physical);
    inspect_cooperative_matrix(vk, instance, physical);
    free(extensions.list);
    physical->timestamp_seconds = 1e-9 * (double)properties.limits.timestampPeriod;
    fill_caps(physical, &properties.limits);
    miss(info, physical->features12.bufferDeviceAddress, "bufferDeviceAddress");
    miss(info, physical->features12.timelineSemaphore, "timelineSemaphore");
    info->usable = !info->missing[0];
}
