/* The host's memory used in place (VK_EXT_external_memory_host), and whether that is a good idea.
 *
 * Where device and host share their memory, a mapped file can be read by shaders where it lies: a
 * model starts at once and is in memory once, not twice. But some drivers see such memory through
 * other caches than their own, and some refuse pages of a file; so it is measured, and a refusal is
 * no failure: the weights are copied then.
 */
#include "engine/vk/vk_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cache_file.h"
#include "engine/vk/vk_kept.h"
#include "engine/vk/vk_probe.h"

#define HANDLE_TYPE VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT
#define USAGE \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | \
     VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT)

bool vk_import_possible(const struct vk_backend *backend)
{
    const struct vk_physical *physical = &backend->device.physical;
    const struct vk_functions *vk = &backend->device.instance.vk;
    /* Whole pages belong to a mapping; of anything larger, something else may lie there. */
    long page = sysconf(_SC_PAGESIZE);
    if (!physical->info.host_import || !vk->GetMemoryHostPointerPropertiesEXT ||
        physical->import_align == 0 || page <= 0 || (uint64_t)page % physical->import_align != 0) {
        return false;
    }
    VkPhysicalDeviceExternalBufferInfo info = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
        .usage = USAGE,
        .handleType = HANDLE_TYPE};
    VkExternalBufferProperties properties = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
    vk->GetPhysicalDeviceExternalBufferProperties(physical->handle, &info, &properties);
    return properties.externalMemoryProperties.externalMemoryFeatures &
           VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT;
}

static bool create_handle(struct vk_device *device, struct vk_slab *slab, struct error *err)
{
    VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = HANDLE_TYPE};
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .pNext = &external,
                               .size = slab->bytes,
                               .usage = USAGE,
                               .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
    VkResult result = device->instance.vk.CreateBuffer(device->handle, &info, NULL, &slab->handle);
    if (result != VK_SUCCESS) {
        slab->handle = VK_NULL_HANDLE;
    }
    return vk_device_check(device, result, "create a buffer of the host's memory", err);
}

/* The first type that is allowed for this memory and this buffer. */
static bool choose_type(struct vk_device *device, const struct vk_slab *slab, void *pages,
                        uint32_t *type, struct error *err)
{
    const struct vk_functions *vk = &device->instance.vk;
    VkMemoryRequirements needs;
    vk->GetBufferMemoryRequirements(device->handle, slab->handle, &needs);
    VkMemoryHostPointerPropertiesEXT pointer = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    VkResult result =
        vk->GetMemoryHostPointerPropertiesEXT(device->handle, HANDLE_TYPE, pages, &pointer);
    if (!vk_device_check(device, result, "look at the host's memory", err)) {
        return false;
    }
    uint32_t types = needs.memoryTypeBits & pointer.memoryTypeBits;
    if (types == 0 || needs.size > slab->bytes) {
        return error_set(err, "the device %s cannot use this memory of the host in place",
                         device->physical.info.name);
    }
    while (!(types >> *type & 1)) {
        ++*type;
    }
    return true;
}

static bool import_pages(struct vk_device *device, struct vk_slab *slab, void *pages,
                         struct error *err)
{
    const struct vk_functions *vk = &device->instance.vk;
    uint32_t type = 0;
    if (!create_handle(device, slab, err) || !choose_type(device, slab, pages, &type, err)) {
        return false;
    }
    VkImportMemoryHostPointerInfoEXT host = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = HANDLE_TYPE,
        .pHostPointer = pages};
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .pNext = &host,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .pNext = &flags,
                                 .allocationSize = slab->bytes,
                                 .memoryTypeIndex = type};
    VkResult result = vk->AllocateMemory(device->handle, &info, NULL, &slab->memory);
    if (result != VK_SUCCESS) {
        slab->memory = VK_NULL_HANDLE;
    }
    if (!vk_device_check(device, result, "use the host's memory in place", err) ||
        !vk_device_check(device,
                         vk->BindBufferMemory(device->handle, slab->handle, slab->memory, 0),
                         "use the host's memory in place", err)) {
        return false;
    }
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = slab->handle};
    slab->address = vk->GetBufferDeviceAddress(device->handle, &address);
    return true;
}

bool vk_import(struct vk_backend *backend, const void *host, uint64_t bytes, struct buffer *buffer,
               struct error *err)
{
    struct vk_device *device = &backend->device;
    uint64_t align = device->physical.import_align, before = (uintptr_t)host % align;
    *buffer = (struct buffer){0};
    if (bytes == 0 || bytes > device->physical.max_allocation - 2 * align) {
        return error_set(err, "the device %s cannot use so much of the host's memory in one piece",
                         device->physical.info.name);
    }
    struct vk_slab *slab = calloc(1, sizeof(*slab));
    if (!slab) {
        return error_set(err, "not enough memory for the list of device allocations");
    }
    void *pages = (void *)((uintptr_t)host - before);
    *slab = (struct vk_slab){.use = BUFFER_WEIGHTS,
                             .imported = true,
                             .bytes = (before + bytes + align - 1) / align * align,
                             .mapped = pages};
    if (!import_pages(device, slab, pages, err)) {
        vk_memory_release(backend, slab);
        free(slab);
        return false;
    }
    *buffer = (struct buffer){.address = slab->address + before, .bytes = bytes, .internal = slab};
    return true;
}

/* ---- whether it pays ---- */

#define SAMPLE_BYTES (UINT64_C(16) << 20)
/* Of the rate of the device's own memory: what is lost is won by starting sooner. */
#define GOOD_ENOUGH 0.9

/* Reads both in turns and compares the best; false if it cannot be told. */
static bool compare(struct vk_backend *backend, const void *host, bool *pays)
{
    struct vk_probe probe;
    struct buffer imported = {0}, own = {0};
    double best[2] = {0};
    if (!vk_probe_init(backend, &probe, NULL)) {
        return false;
    }
    bool ok = vk_import(backend, host, SAMPLE_BYTES, &imported, NULL) &&
              vk_memory_create_buffer(backend, SAMPLE_BYTES, BUFFER_WEIGHTS, &own, NULL) &&
              vk_probe_fill(&probe, &own, 0x12345678, NULL);
    for (int i = 0; ok && i < 4; i++) {
        double rate = 0;
        const struct buffer *buffer = i % 2 ? &imported : &own;
        ok = vk_probe_read(&probe, buffer->address, SAMPLE_BYTES, &rate, NULL);
        best[i % 2] = rate > best[i % 2] ? rate : best[i % 2];
    }
    vk_probe_free(&probe);
    vk_memory_destroy_buffer(backend, &imported);
    vk_memory_destroy_buffer(backend, &own);
    *pays = best[1] >= best[0] * GOOD_ENOUGH;
    return ok;
}

static bool measure(struct vk_backend *backend)
{
    bool pays = false;
    void *host =
        mmap(NULL, SAMPLE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host != MAP_FAILED) {
        memset(host, 0x5A, SAMPLE_BYTES);
        if (!compare(backend, host, &pays)) {
            pays = false;
        }
        munmap(host, SAMPLE_BYTES);
    }
    return pays;
}

bool vk_import_pays(struct vk_backend *backend)
{
    if (backend->import == IMPORT_UNKNOWN) {
        const struct vk_physical *physical = &backend->device.physical;
        struct cache_file file = {.folder = backend->cache_folder,
                                  .name = "import",
                                  .key = &physical->identity,
                                  .key_bytes = sizeof(physical->identity)};
        bool pays = false;
        if (physical->unified && !backend->memory.force_staging && vk_import_possible(backend)) {
            uint64_t bytes = 0;
            void *kept = cache_file_read(&file, &bytes);
            if (!kept || !vk_kept_import(kept, bytes, &pays)) {
                pays = measure(backend);
                cache_file_write(&file, &(uint8_t){pays}, 1);
            }
            free(kept);
        }
        backend->import = pays ? IMPORT_PAYS : IMPORT_DOES_NOT;
    }
    return backend->import == IMPORT_PAYS;
}
