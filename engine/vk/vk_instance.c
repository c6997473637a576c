/* The Vulkan instance: the loader library, the validation layer and its messages, the list of
 * devices. */
#include "engine/vk/vk_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char validation_layer[] = "VK_LAYER_KHRONOS_validation";

static VkBool32 VKAPI_PTR count_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                        VkDebugUtilsMessageTypeFlagsEXT types,
                                        const VkDebugUtilsMessengerCallbackDataEXT *data,
                                        void *user)
{
    struct vk_messages *messages = user;
    /* Pipelines are compiled on several threads. */
    if (__atomic_fetch_add(&messages->n, 1, __ATOMIC_RELAXED) == 0) {
        snprintf(messages->first, sizeof(messages->first), "%s",
                 data->pMessage ? data->pMessage : "(no text)");
    }
    return VK_FALSE;
}

static bool has_layer(const struct vk_functions *vk, const char *name)
{
    uint32_t n = 0;
    if (vk->EnumerateInstanceLayerProperties(&n, NULL) != VK_SUCCESS || n == 0) {
        return false;
    }
    VkLayerProperties *layers = calloc(n, sizeof(*layers));
    bool found = false;
    if (layers && vk->EnumerateInstanceLayerProperties(&n, layers) >= 0) {
        for (uint32_t i = 0; i < n; i++) {
            found = found || strcmp(layers[i].layerName, name) == 0;
        }
    }
    free(layers);
    return found;
}

static bool instance_failed(VkResult result, struct error *err)
{
    return error_set(err,
                     "Vulkan cannot start (vkCreateInstance returned %d); check the installed "
                     "drivers with vulkaninfo, or use --device cpu",
                     (int)result);
}

static bool create_messenger(struct vk_instance *instance, struct error *err)
{
    VkDebugUtilsMessengerCreateInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = count_message,
        .pUserData = &instance->messages,
    };
    if (!instance->vk.CreateDebugUtilsMessengerEXT ||
        instance->vk.CreateDebugUtilsMessengerEXT(instance->handle, &info, NULL,
                                                  &instance->messenger) != VK_SUCCESS) {
        return error_set(err, "the Vulkan validation layer cannot report its messages here "
                              "(VK_EXT_debug_utils); run without validation");
    }
    return true;
}

static VkResult create_handle(struct vk_instance *instance, bool validation)
{
    const char *layers[] = {validation_layer};
    const char *extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "moxie",
        .pEngineName = "moxie",
        .apiVersion = VK_API_VERSION_1_2,
    };
    VkValidationFeatureEnableEXT enabled =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &enabled,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = validation ? 1 : 0,
        .ppEnabledExtensionNames = extensions,
    };
    return instance->vk.CreateInstance(&info, NULL, &instance->handle);
}

bool vk_instance_create(struct vk_instance *instance, bool validation, struct error *err)
{
    *instance = (struct vk_instance){0};
    if (!vk_loader_open(&instance->vk, err)) {
        return false;
    }
    bool ok = true;
    if (validation && !has_layer(&instance->vk, validation_layer)) {
        ok = error_set(err,
                       "the Vulkan validation layer %s is not installed; install it (Debian: "
                       "vulkan-validationlayers) or run without validation",
                       validation_layer);
    }
    if (ok) {
        VkResult result = create_handle(instance, validation);
        if (result == VK_ERROR_INCOMPATIBLE_DRIVER) { /* the loader's word for no driver at all */
            instance->handle = VK_NULL_HANDLE;
            return true;
        }
        if (result != VK_SUCCESS) {
            instance->handle = VK_NULL_HANDLE;
            ok = instance_failed(result, err);
        }
    }
    ok = ok && vk_loader_find_instance(&instance->vk, instance->handle, err) &&
         (!validation || create_messenger(instance, err));
    if (!ok) {
        vk_instance_destroy(instance);
    }
    return ok;
}

void vk_instance_destroy(struct vk_instance *instance)
{
    if (instance->messenger) {
        instance->vk.DestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
        instance->messenger = VK_NULL_HANDLE;
    }
    if (instance->handle && instance->vk.DestroyInstance) {
        instance->vk.DestroyInstance(instance->handle, NULL);
    }
    instance->handle = VK_NULL_HANDLE;
    vk_loader_close(&instance->vk);
}

bool vk_instance_devices(struct vk_instance *instance, VkPhysicalDevice devices[VK_MAX_DEVICES],
                         uint32_t *n, struct error *err)
{
    *n = 0;
    if (!instance->handle) {
        return true;
    }
    uint32_t count = VK_MAX_DEVICES;
    VkResult result = instance->vk.EnumeratePhysicalDevices(instance->handle, &count, devices);
    if (result == VK_ERROR_INITIALIZATION_FAILED) { /* drivers without a device of theirs */
        return true;
    }
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        return error_set(err,
                         "Vulkan cannot list its devices (vkEnumeratePhysicalDevices returned %d); "
                         "check the drivers with vulkaninfo, or use --device cpu",
                         (int)result);
    }
    *n = count;
    return true;
}

bool vk_list_devices(struct vk_device_info devices[VK_MAX_DEVICES], uint32_t *n, struct error *err)
{
    *n = 0;
    struct vk_instance instance;
    if (!vk_instance_create(&instance, false, err)) {
        return false;
    }
    VkPhysicalDevice handles[VK_MAX_DEVICES];
    bool ok = vk_instance_devices(&instance, handles, n, err);
    for (uint32_t i = 0; ok && i < *n; i++) {
        struct vk_physical physical;
        vk_physical_inspect(&instance.vk, instance.handle, handles[i], &physical);
        devices[i] = physical.info;
    }
    vk_instance_destroy(&instance);
    return ok;
}
