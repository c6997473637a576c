/* The Vulkan back end of a build without Vulkan: there is no device, and the sentence says why. */
#include "engine/vk/vk.h"

static bool refuse(struct error *err)
{
    return error_set(err, "this build of Moxie has no Vulkan back end; use --device cpu, or build "
                          "it with the Vulkan headers and glslangValidator installed");
}

bool vk_list_devices(struct vk_device_info devices[VK_MAX_DEVICES], uint32_t *n, struct error *err)
{
    *n = 0;
    return refuse(err);
}

struct backend *vk_backend_create(const struct vk_options *options, struct error *err)
{
    refuse(err);
    return NULL;
}

uint32_t vk_backend_validation_messages(struct backend *backend, char *first, uint32_t first_bytes)
{
    return 0;
}

bool vk_backend_tune(struct backend *backend, struct vk_tuned tuned[VK_TUNING_COUNT],
                     struct error *err)
{
    return refuse(err);
}

void vk_backend_products(struct backend *backend, bool *float16, bool *int8, bool *int8_vector)
{
    *float16 = *int8 = *int8_vector = false;
}

bool vk_verdict_read(uint32_t device, const char *folder, struct vk_verdict *verdict)
{
    return false;
}

bool vk_verdict_write(uint32_t device, const char *folder, const struct vk_verdict *verdict)
{
    return false;
}

bool vk_tiers_of(uint32_t device, struct vk_tiers *tiers)
{
    return false;
}

const char *vk_tier_name(uint32_t tier)
{
    return NULL;
}

int vk_compile_all(uint32_t device, FILE *report, struct error *err)
{
    refuse(err);
    return -1;
}
