/* Opens libvulkan and fills the function table. */
#include "engine/vk/vk_loader.h"

#include <dlfcn.h>
#include <stddef.h>

static const char *hooked_library;
static void (*hooked_replace)(struct vk_functions *vk);

void vk_loader_set_hooks(const char *library, void (*replace)(struct vk_functions *vk))
{
    hooked_library = library;
    hooked_replace = replace;
}

static void replace_hooked(struct vk_functions *vk)
{
    if (hooked_replace) {
        hooked_replace(vk);
    }
}

static void *open_library(void)
{
    if (hooked_library) {
        return dlopen(hooked_library, RTLD_NOW | RTLD_LOCAL);
    }
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    return library ? library : dlopen("libvulkan.so", RTLD_NOW | RTLD_LOCAL);
}

static bool missing_function(struct error *err, const char *name)
{
    return error_set(err,
                     "the Vulkan library lacks the function vk%s; update the Vulkan loader and the "
                     "driver, or use --device cpu",
                     name);
}

bool vk_loader_open(struct vk_functions *vk, struct error *err)
{
    *vk = (struct vk_functions){.library = open_library()};
    if (!vk->library) {
        return error_set(err,
                         "the Vulkan loader library (libvulkan.so.1) is not installed; install "
                         "it (Debian: libvulkan1) or use --device cpu");
    }
    vk->GetInstanceProcAddr =
        (PFN_vkGetInstanceProcAddr)dlsym(vk->library, "vkGetInstanceProcAddr");
    if (!vk->GetInstanceProcAddr) {
        vk_loader_close(vk);
        return missing_function(err, "GetInstanceProcAddr");
    }
#define X(name) \
    vk->name = (PFN_vk##name)vk->GetInstanceProcAddr(NULL, "vk" #name); \
    if (!vk->name) { \
        vk_loader_close(vk); \
        return missing_function(err, #name); \
    }
    VK_GLOBAL_FUNCTIONS(X)
#undef X
    replace_hooked(vk);
    return true;
}

void vk_loader_close(struct vk_functions *vk)
{
    if (vk->library) {
        dlclose(vk->library);
    }
    *vk = (struct vk_functions){0};
}

bool vk_loader_find_instance(struct vk_functions *vk, VkInstance instance, struct error *err)
{
#define X(name) vk->name = (PFN_vk##name)vk->GetInstanceProcAddr(instance, "vk" #name);
    VK_INSTANCE_FUNCTIONS(X)
    VK_OPTIONAL_INSTANCE_FUNCTIONS(X)
#undef X
#define X(name) \
    if (!vk->name) { \
        return missing_function(err, #name); \
    }
    VK_INSTANCE_FUNCTIONS(X)
#undef X
    replace_hooked(vk);
    return true;
}

bool vk_loader_find_device(struct vk_functions *vk, VkDevice device, struct error *err)
{
#define X(name) vk->name = (PFN_vk##name)vk->GetDeviceProcAddr(device, "vk" #name);
    VK_DEVICE_FUNCTIONS(X)
    VK_OPTIONAL_DEVICE_FUNCTIONS(X)
#undef X
#define X(name) \
    if (!vk->name) { \
        return missing_function(err, #name); \
    }
    VK_DEVICE_FUNCTIONS(X)
#undef X
    replace_hooked(vk);
    return true;
}
