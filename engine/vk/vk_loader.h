/* Vulkan's functions, found at run time.
 *
 * Nothing links to libvulkan: the loader library is opened when a device is asked for, so that one
 * binary runs on machines with and without Vulkan. Each lists below names every function we use
 * once; the table, and the code that fills it, are made from them.
 */
#pragma once

#include <stdbool.h>

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan.h>

#include "format/error.h"

/* Found before there is an instance. */
#define VK_GLOBAL_FUNCTIONS(X) \
    X(CreateInstance) \
    X(EnumerateInstanceVersion) \
    X(EnumerateInstanceLayerProperties) \
    X(EnumerateInstanceExtensionProperties)

#define VK_INSTANCE_FUNCTIONS(X) \
    X(DestroyInstance) \
    X(EnumeratePhysicalDevices) \
    X(EnumerateDeviceExtensionProperties) \
    X(GetPhysicalDeviceProperties) \
    X(GetPhysicalDeviceProperties2) \
    X(GetPhysicalDeviceFeatures2) \
    X(GetPhysicalDeviceMemoryProperties) \
    X(GetPhysicalDeviceMemoryProperties2) \
    X(GetPhysicalDeviceQueueFamilyProperties) \
    X(GetPhysicalDeviceExternalBufferProperties) \
    X(CreateDevice) \
    X(GetDeviceProcAddr)

#define VK_DEVICE_FUNCTIONS(X) \
    X(DestroyDevice) \
    X(DeviceWaitIdle) \
    X(GetDeviceQueue) \
    X(AllocateMemory) \
    X(FreeMemory) \
    X(MapMemory) \
    X(CreateBuffer) \
    X(DestroyBuffer) \
    X(GetBufferMemoryRequirements) \
    X(BindBufferMemory) \
    X(GetBufferDeviceAddress) \
    X(CreateShaderModule) \
    X(DestroyShaderModule) \
    X(CreatePipelineLayout) \
    X(DestroyPipelineLayout) \
    X(CreatePipelineCache) \
    X(DestroyPipelineCache) \
    X(GetPipelineCacheData) \
    X(CreateComputePipelines) \
    X(DestroyPipeline) \
    X(CreateCommandPool) \
    X(DestroyCommandPool) \
    X(AllocateCommandBuffers) \
    X(FreeCommandBuffers) \
    X(BeginCommandBuffer) \
    X(EndCommandBuffer) \
    X(CmdBindPipeline) \
    X(CmdPushConstants) \
    X(CmdDispatch) \
    X(CmdPipelineBarrier) \
    X(CmdCopyBuffer) \
    X(CmdFillBuffer) \
    X(CreateQueryPool) \
    X(DestroyQueryPool) \
    X(CmdResetQueryPool) \
    X(CmdWriteTimestamp) \
    X(GetQueryPoolResults) \
    X(QueueSubmit) \
    X(CreateSemaphore) \
    X(DestroySemaphore) \
    X(WaitSemaphores)

/* Of extensions: NULL where the extension is not switched on. */
#define VK_OPTIONAL_INSTANCE_FUNCTIONS(X) \
    X(CreateDebugUtilsMessengerEXT) \
    X(DestroyDebugUtilsMessengerEXT)

#define VK_OPTIONAL_DEVICE_FUNCTIONS(X) \
    X(GetPipelineExecutablePropertiesKHR) \
    X(GetPipelineExecutableStatisticsKHR) \
    X(GetMemoryHostPointerPropertiesEXT)

struct vk_functions {
    void *library;
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define X(name) PFN_vk##name name;
    VK_GLOBAL_FUNCTIONS(X)
    VK_INSTANCE_FUNCTIONS(X)
    VK_OPTIONAL_INSTANCE_FUNCTIONS(X)
    VK_DEVICE_FUNCTIONS(X)
    VK_OPTIONAL_DEVICE_FUNCTIONS(X)
#undef X
};

/* Opens the loader library and finds the global functions. On failure nothing is left open. */
bool vk_loader_open(struct vk_functions *vk, struct error *err);
void vk_loader_close(struct vk_functions *vk);

bool vk_loader_find_instance(struct vk_functions *vk, VkInstance instance, struct error *err);
bool vk_loader_find_device(struct vk_functions *vk, VkDevice device, struct error *err);

/* For tests of what a machine can do wrong: another library name (NULL: the usual ones), and a
 * function (or NULL) that may replace entries of the table after each of the three steps above. */
void vk_loader_set_hooks(const char *library, void (*replace)(struct vk_functions *vk));
