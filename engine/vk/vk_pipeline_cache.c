/* What drivers make of our shaders, kept from one start to the next.
 *
 * Vulkan lets a program keep the data of a pipeline cache and hand them back later. They are the
 * driver's own format and drivers trust them, so nothing is handed over that we did not write: the
 * file carries a checksum (engine/base/cache_file.h) and is tied to the device, the version of its
 * driver and our shaders; and Vulkan's own header must name this driver and device (Vulkan 1.2
 * specification, "Pipeline Cache Header").
 */
#include "engine/vk/vk_internal.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "engine/base/cache_file.h"

struct key {
    struct vk_identity identity;
    uint64_t shaders;
};
_Static_assert(sizeof(struct key) == sizeof(struct vk_identity) + 8, "no padding in a key");

uint64_t vk_shaders_hash(void)
{
    uint64_t hash = vk_archive_hash();
    for (uint32_t i = 0; i < vk_n_shaders; i++) {
        hash = XXH3_64bits_withSeed(vk_shaders[i].words, vk_shaders[i].n_bytes, hash);
    }
    return hash;
}

static struct cache_file file_of(const char *folder, const struct vk_identity *identity,
                                 struct key *key)
{
    *key = (struct key){.identity = *identity, .shaders = folder ? vk_shaders_hash() : 0};
    return (struct cache_file){
        .folder = folder, .name = "pipelines", .key = key, .key_bytes = sizeof(*key)};
}

bool vk_pipeline_cache_fits(const struct vk_identity *identity, const void *data, uint64_t bytes)
{
    VkPipelineCacheHeaderVersionOne header;
    if (bytes < sizeof(header)) {
        return false;
    }
    memcpy(&header, data, sizeof(header));
    return header.headerSize >= sizeof(header) && header.headerSize <= bytes &&
           header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
           header.vendorID == identity->vendor_id && header.deviceID == identity->device_id &&
           memcmp(header.pipelineCacheUUID, identity->pipeline_cache, VK_UUID_SIZE) == 0;
}

VkResult vk_pipeline_cache_create(struct vk_device *device, const char *folder,
                                  VkPipelineCache *cache)
{
    const struct vk_functions *vk = &device->instance.vk;
    const struct vk_identity *identity = &device->physical.identity;
    struct key key;
    struct cache_file file = file_of(folder, identity, &key);
    uint64_t bytes = 0;
    void *kept = cache_file_read(&file, &bytes);
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    if (kept && vk_pipeline_cache_fits(identity, kept, bytes)) {
        info.pInitialData = kept;
        info.initialDataSize = bytes;
    }
    VkResult result = vk->CreatePipelineCache(device->handle, &info, NULL, cache);
    if (result != VK_SUCCESS && info.initialDataSize > 0) { /* it may yet do without them */
        info.initialDataSize = 0;
        info.pInitialData = NULL;
        result = vk->CreatePipelineCache(device->handle, &info, NULL, cache);
    }
    if (result != VK_SUCCESS) {
        *cache = VK_NULL_HANDLE;
    }
    free(kept);
    return result;
}

void vk_pipeline_cache_keep(struct vk_device *device, const char *folder, VkPipelineCache cache)
{
    const struct vk_functions *vk = &device->instance.vk;
    size_t bytes = 0;
    if (!folder || vk->GetPipelineCacheData(device->handle, cache, &bytes, NULL) != VK_SUCCESS ||
        bytes == 0 || bytes > CACHE_FILE_MAX_BYTES) {
        return;
    }
    void *data = malloc(bytes);
    if (data && vk->GetPipelineCacheData(device->handle, cache, &bytes, data) == VK_SUCCESS &&
        vk_pipeline_cache_fits(&device->physical.identity, data, bytes)) {
        struct key key;
        struct cache_file file = file_of(folder, &device->physical.identity, &key);
        cache_file_write(&file, data, bytes);
    }
    free(data);
}
