/* The logical device: opened by index, with every tier it has switched on, and one queue. */
#include "engine/vk/vk_internal.h"

#include <inttypes.h>

#include "engine/vk/vk_cooperative_matrix.h"

bool vk_device_alive(const struct vk_device *device, struct error *err)
{
    if (device->lost) {
        return error_set(err,
                         "the device %s stopped answering (its driver reset it); start again, with "
                         "a shorter prompt or --device cpu if it happens again",
                         device->physical.info.name);
    }
    return true;
}

static const char *result_text(VkResult result)
{
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case VK_ERROR_INITIALIZATION_FAILED:
        return "initialisation failed";
    case VK_ERROR_MEMORY_MAP_FAILED:
        return "memory cannot be mapped";
    case VK_ERROR_TOO_MANY_OBJECTS:
        return "too many allocations";
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
        return "a feature it listed is not there";
    default:
        return "the driver failed";
    }
}

bool vk_device_check(struct vk_device *device, VkResult result, const char *doing,
                     struct error *err)
{
    if (result == VK_SUCCESS) {
        return true;
    }
    if (result == VK_ERROR_DEVICE_LOST) {
        device->lost = true;
        return vk_device_alive(device, err);
    }
    return error_set(err,
                     "the device %s cannot %s: %s (Vulkan result %d); close other programs that "
                     "use it, update its driver, or use --device cpu",
                     device->physical.info.name, doing, result_text(result), (int)result);
}

static bool choose(struct vk_device *device, uint32_t index, enum vk_purpose purpose,
                   struct error *err)
{
    VkPhysicalDevice handles[VK_MAX_DEVICES];
    uint32_t n;
    if (!vk_instance_devices(&device->instance, handles, &n, err)) {
        return false;
    }
    if (n == 0) {
        return error_set(err, "no Vulkan device was found; install the Vulkan driver of your GPU "
                              "or use --device cpu");
    }
    if (index >= n) {
        return error_set(err,
                         "there is no Vulkan device %" PRIu32 ", only 0 to %" PRIu32
                         "; `moxie devices` lists them",
                         index, n - 1);
    }
    vk_physical_inspect(&device->instance.vk, device->instance.handle, handles[index],
                        &device->physical);
    const struct vk_physical *physical = &device->physical;
    bool can_compile = physical->features12.bufferDeviceAddress;
    if (!(purpose == VK_TO_COMPILE ? can_compile : physical->info.usable)) {
        return error_set(err,
                         "the device %s (Vulkan %" PRIu32 ", index %" PRIu32
                         ") cannot run Moxie: it lacks %s; update its driver, or choose another "
                         "device or --device cpu",
                         physical->info.name, VK_API_VERSION_MINOR(physical->info.api_version),
                         index, physical->info.missing);
    }
    return true;
}

/* Switches on what shaders may use and the device has; nothing else, because features cost. */
static VkResult create_handle(struct vk_device *device, enum vk_purpose purpose)
{
    const struct vk_physical *physical = &device->physical;
    const VkPhysicalDeviceVulkan12Features *have = &physical->features12;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executables = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
        .shaderIntegerDotProduct = VK_TRUE};
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .bufferDeviceAddress = VK_TRUE,
        .timelineSemaphore = have->timelineSemaphore,
        .shaderFloat16 = have->shaderFloat16,
        .shaderInt8 = have->shaderInt8,
        .shaderSubgroupExtendedTypes = have->shaderSubgroupExtendedTypes,
        .storageBuffer8BitAccess = have->storageBuffer8BitAccess,
        .scalarBlockLayout = have->scalarBlockLayout,
        .vulkanMemoryModel = have->vulkanMemoryModel,
        .vulkanMemoryModelDeviceScope = have->vulkanMemoryModelDeviceScope,
    };
    VkPhysicalDeviceVulkan11Features features11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .pNext = &features12,
        .storageBuffer16BitAccess = physical->features11.storageBuffer16BitAccess};
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &features11,
        .features = {.shaderInt64 = physical->features.shaderInt64,
                     .shaderInt16 = physical->features.shaderInt16}};
    struct vk_cooperative_matrix_features matrix = {.sType = VK_COOPERATIVE_MATRIX_FEATURES_TYPE,
                                                    .cooperative_matrix = VK_TRUE};
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE};
    const char *extensions[6];
    uint32_t n_extensions = 0;
    if (physical->integer_dot_extension) {
        extensions[n_extensions++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
        dot.pNext = features.pNext;
        features.pNext = &dot;
    }
    if (physical->info.cooperative_matrix) {
        extensions[n_extensions++] = VK_COOPERATIVE_MATRIX_EXTENSION;
        matrix.pNext = features.pNext;
        features.pNext = &matrix;
    }
    if (physical->subgroup_size_extension) {
        extensions[n_extensions++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
        subgroup.pNext = features.pNext;
        features.pNext = &subgroup;
    }
    if (physical->info.host_import) {
        extensions[n_extensions++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    }
    if (physical->info.memory_budget) {
        extensions[n_extensions++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    }
    if (purpose == VK_TO_COMPILE && physical->executable_properties_extension) {
        extensions[n_extensions++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
        executables.pNext = features.pNext;
        features.pNext = &executables;
    }
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = physical->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = (const float[]){1}};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = n_extensions,
                               .ppEnabledExtensionNames = extensions};
    return device->instance.vk.CreateDevice(physical->handle, &info, NULL, &device->handle);
}

bool vk_device_open(struct vk_device *device, uint32_t index, bool validation,
                    enum vk_purpose purpose, struct error *err)
{
    *device = (struct vk_device){0};
    if (!vk_instance_create(&device->instance, validation, err)) {
        return false;
    }
    bool ok = choose(device, index, purpose, err);
    if (ok) {
        VkResult result = create_handle(device, purpose);
        if (result != VK_SUCCESS) {
            device->handle = VK_NULL_HANDLE;
        }
        ok = vk_device_check(device, result, "be opened", err) &&
             vk_loader_find_device(&device->instance.vk, device->handle, err);
    }
    if (!ok) {
        vk_device_close(device);
        return false;
    }
    device->instance.vk.GetDeviceQueue(device->handle, device->physical.queue_family, 0,
                                       &device->queue);
    return true;
}

bool vk_device_inspect(uint32_t index, struct vk_physical *physical)
{
    struct vk_device device = {0};
    if (!vk_instance_create(&device.instance, false, NULL)) {
        return false;
    }
    bool ok = choose(&device, index, VK_TO_RUN, NULL);
    *physical = device.physical;
    vk_device_close(&device);
    return ok;
}

void vk_device_close(struct vk_device *device)
{
    const struct vk_functions *vk = &device->instance.vk;
    if (device->handle && vk->DestroyDevice) {
        vk->DestroyDevice(device->handle, NULL);
    }
    device->handle = VK_NULL_HANDLE;
    vk_instance_destroy(&device->instance);
}
