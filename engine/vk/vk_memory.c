/* Device memory: few large allocations ("slabs"), many buffers cut from them.
 *
 * Devices allow few allocations (4096 is usual) and models have thousands of weights, so buffers
 * are ranges of slabs, found first-fit. A slab holds buffers of one use, because the use decides
 * the memory type. A new slab is an eighth of what its use already has, between SLAB_SMALLEST and
 * SLAB_LARGEST, or the buffer that asked for it if that is larger: small models take little more
 * than they need, large ones need few allocations. A slab without buffers goes back to the device.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_SMALLEST (UINT64_C(1) << 20)
#define SLAB_LARGEST (UINT64_C(64) << 20)

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static uint64_t align_up(uint64_t value)
{
    return (value + VK_ADDRESS_ALIGN - 1) & ~(uint64_t)(VK_ADDRESS_ALIGN - 1);
}

/* ---- heaps and memory types ---- */

static uint32_t device_heap(const struct vk_physical *physical)
{
    uint32_t best = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < physical->memory.memoryHeapCount; i++) {
        const VkMemoryHeap *heap = &physical->memory.memoryHeaps[i];
        if ((heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap->size > bytes) {
            best = i;
            bytes = heap->size;
        }
    }
    return best;
}

/* What the driver says is left, or without VK_EXT_memory_budget the heap less what we took. */
static uint64_t heap_available(const struct vk_backend *backend, uint32_t heap)
{
    const struct vk_physical *physical = &backend->device.physical;
    uint64_t total = physical->memory.memoryHeaps[heap].size, taken = 0;
    if (physical->info.memory_budget) {
        VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
        VkPhysicalDeviceMemoryProperties2 properties = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
        backend->device.instance.vk.GetPhysicalDeviceMemoryProperties2(physical->handle,
                                                                       &properties);
        total = budget.heapBudget[heap];
        taken = budget.heapUsage[heap];
    } else {
        for (uint32_t i = 0; i < backend->memory.n_slabs; i++) {
            const struct vk_slab *slab = backend->memory.slabs[i];
            taken += slab->heap == heap ? slab->allocated : 0;
        }
    }
    return taken < total ? total - taken : 0;
}

uint64_t vk_memory_available(const struct vk_backend *backend)
{
    uint64_t available = heap_available(backend, device_heap(&backend->device.physical));
    const struct vk_memory *memory = &backend->memory;
    if (memory->limit) {
        uint64_t left = memory->limit > memory->used ? memory->limit - memory->used : 0;
        return left < available ? left : available;
    }
    return available;
}

#define HOST_FLAGS (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define USABLE_FLAGS \
    (HOST_FLAGS | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT)

/* How well a memory type suits a use; negative: not at all. */
static int type_score(const struct vk_physical *physical, const VkMemoryType *type,
                      enum buffer_use use)
{
    VkMemoryPropertyFlags flags = type->propertyFlags;
    bool local = flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    bool host = (flags & HOST_FLAGS) == HOST_FLAGS;
    bool cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    if (flags & ~(VkMemoryPropertyFlags)USABLE_FLAGS) {
        return -1; /* protected, lazily allocated and vendors' types need features we leave off */
    }
    switch (use) {
    case BUFFER_WEIGHTS:
    case BUFFER_ACTIVATIONS: {
        bool large = type->heapIndex == device_heap(physical);
        bool visible_as_wanted = physical->unified == host;
        return local ? 8 + 4 * large + 2 * visible_as_wanted + (physical->unified && cached) : 0;
    }
    case BUFFER_STEP: /* small and read by every op: best where the device need not fetch it */
        return host ? 2 + 2 * local - cached : -1;
    case BUFFER_RESULT:
        return host ? 4 * cached + !local : -1;
    }
    return -1;
}

/* ---- one allocation ---- */

static bool too_little(const struct vk_backend *backend, uint64_t bytes, uint64_t available,
                       struct error *err)
{
    return error_set(err,
                     "the device %s has too little memory: %.1f MiB more are needed and %.1f MiB "
                     "are free; use a smaller model or context, close other programs, or use "
                     "--device cpu",
                     backend->device.physical.info.name, mebibytes(bytes), mebibytes(available));
}

/* Tries the types that suit, best first; a type whose heap is full gives way to the next. */
static bool allocate_best(struct vk_backend *backend, const VkMemoryRequirements *needs,
                          enum buffer_use use, struct vk_slab *slab, uint32_t *type,
                          struct error *err)
{
    struct vk_device *device = &backend->device;
    const VkPhysicalDeviceMemoryProperties *memory = &device->physical.memory;
    uint32_t left = needs->memoryTypeBits;
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    uint64_t first_available = UINT64_MAX;
    for (;;) {
        int best_score = -1;
        for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
            int score = type_score(&device->physical, &memory->memoryTypes[i], use);
            if ((left >> i & 1) && score > best_score) {
                best_score = score;
                *type = i;
            }
        }
        if (best_score < 0) {
            break;
        }
        left &= ~(UINT32_C(1) << *type);
        slab->heap = memory->memoryTypes[*type].heapIndex;
        uint64_t available = heap_available(backend, slab->heap);
        first_available = first_available == UINT64_MAX ? available : first_available;
        if (needs->size > available) {
            continue;
        }
        VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                           .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
        VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .pNext = &flags,
                                     .allocationSize = needs->size,
                                     .memoryTypeIndex = *type};
        result = device->instance.vk.AllocateMemory(device->handle, &info, NULL, &slab->memory);
        if (result == VK_SUCCESS) {
            slab->allocated = needs->size;
            return true;
        }
        slab->memory = VK_NULL_HANDLE;
        if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY && result != VK_ERROR_OUT_OF_HOST_MEMORY) {
            break;
        }
    }
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY) {
        return too_little(backend, needs->size, first_available == UINT64_MAX ? 0 : first_available,
                          err);
    }
    return vk_device_check(device, result, "allocate memory", err);
}

static bool map_slab(struct vk_backend *backend, struct vk_slab *slab, struct error *err)
{
    struct vk_device *device = &backend->device;
    void *mapped = NULL;
    VkResult result =
        device->instance.vk.MapMemory(device->handle, slab->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
    slab->mapped = result == VK_SUCCESS ? (uint8_t *)mapped + slab->start : NULL;
    return vk_device_check(device, result, "map memory", err);
}

static bool create_handle(struct vk_backend *backend, uint64_t bytes, struct vk_slab *slab,
                          struct error *err)
{
    struct vk_device *device = &backend->device;
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
    VkResult result = device->instance.vk.CreateBuffer(device->handle, &info, NULL, &slab->handle);
    if (result != VK_SUCCESS) {
        slab->handle = VK_NULL_HANDLE;
    }
    return vk_device_check(device, result, "create a buffer", err);
}

bool vk_memory_allocate(struct vk_backend *backend, uint64_t bytes, enum buffer_use use, bool map,
                        struct vk_slab *slab, struct error *err)
{
    struct vk_device *device = &backend->device;
    const struct vk_functions *vk = &device->instance.vk;
    *slab = (struct vk_slab){.use = use, .bytes = bytes};
    /* Drivers promise less alignment than we do: room to move the first address up. */
    if (!create_handle(backend, bytes + VK_ADDRESS_ALIGN, slab, err)) {
        return false;
    }
    VkMemoryRequirements needs;
    vk->GetBufferMemoryRequirements(device->handle, slab->handle, &needs);
    uint32_t type = 0;
    bool ok =
        allocate_best(backend, &needs, use, slab, &type, err) &&
        vk_device_check(device, vk->BindBufferMemory(device->handle, slab->handle, slab->memory, 0),
                        "use its memory", err);
    if (ok) {
        VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                          .buffer = slab->handle};
        uint64_t address = vk->GetBufferDeviceAddress(device->handle, &info);
        slab->address = align_up(address);
        slab->start = slab->address - address;
        VkMemoryPropertyFlags flags = device->physical.memory.memoryTypes[type].propertyFlags;
        ok = !map || (flags & HOST_FLAGS) != HOST_FLAGS || map_slab(backend, slab, err);
    }
    if (!ok) {
        vk_memory_release(backend, slab);
    }
    return ok;
}

void vk_memory_release(struct vk_backend *backend, struct vk_slab *slab)
{
    const struct vk_functions *vk = &backend->device.instance.vk;
    vk->DestroyBuffer(backend->device.handle, slab->handle, NULL);
    vk->FreeMemory(backend->device.handle, slab->memory, NULL);
    free(slab->free);
    *slab = (struct vk_slab){0};
}

/* ---- ranges of a slab ---- */

static bool slab_take(struct vk_slab *slab, uint64_t bytes, uint64_t *offset)
{
    for (uint32_t i = 0; i < slab->n_free; i++) {
        struct vk_range *range = &slab->free[i];
        if (range->bytes >= bytes) {
            *offset = range->offset;
            range->offset += bytes;
            range->bytes -= bytes;
            if (range->bytes == 0) {
                slab->n_free--;
                memmove(range, range + 1, (slab->n_free - i) * sizeof(*range));
            }
            return true;
        }
    }
    return false;
}

/* n buffers leave at most n + 1 gaps. Room for these is made when a buffer is cut, so that giving
 * one back cannot fail. */
static bool slab_reserve(struct vk_slab *slab, struct error *err)
{
    if (slab->n_buffers + 2 > slab->free_capacity) {
        uint32_t capacity = slab->free_capacity ? slab->free_capacity * 2 : 16;
        struct vk_range *ranges = realloc(slab->free, capacity * sizeof(*ranges));
        if (!ranges) {
            return error_set(err, "not enough memory for the list of device buffers");
        }
        slab->free = ranges;
        slab->free_capacity = capacity;
    }
    return true;
}

static void slab_give(struct vk_slab *slab, uint64_t offset, uint64_t bytes)
{
    uint32_t i = 0;
    while (i < slab->n_free && slab->free[i].offset < offset) {
        i++;
    }
    bool joins_previous = i > 0 && slab->free[i - 1].offset + slab->free[i - 1].bytes == offset;
    bool joins_next = i < slab->n_free && offset + bytes == slab->free[i].offset;
    if (joins_previous) {
        slab->free[i - 1].bytes += bytes;
        if (joins_next) {
            slab->free[i - 1].bytes += slab->free[i].bytes;
            slab->n_free--;
            memmove(&slab->free[i], &slab->free[i + 1], (slab->n_free - i) * sizeof(slab->free[0]));
        }
    } else if (joins_next) {
        slab->free[i].offset = offset;
        slab->free[i].bytes += bytes;
    } else {
        assert(slab->n_free < slab->free_capacity);
        memmove(&slab->free[i + 1], &slab->free[i], (slab->n_free - i) * sizeof(slab->free[0]));
        slab->free[i] = (struct vk_range){offset, bytes};
        slab->n_free++;
    }
}

/* ---- buffers ---- */

static bool refuse_limits(const struct vk_backend *backend, uint64_t bytes, struct error *err)
{
    const struct vk_physical *physical = &backend->device.physical;
    const struct vk_memory *memory = &backend->memory;
    if (bytes > physical->max_allocation - VK_ADDRESS_ALIGN) {
        return !error_set(err,
                          "the device %s cannot hold %.1f MiB in one piece, its largest is %.1f "
                          "MiB; use a smaller type or context, or --device cpu",
                          physical->info.name, mebibytes(bytes),
                          mebibytes(physical->max_allocation));
    }
    if (memory->limit && align_up(bytes) > memory->limit - memory->used) {
        return !error_set(err,
                          "the memory limit (--vram) is too small: %.1f MiB more are needed on %s "
                          "and %.1f MiB of %.1f MiB are taken; raise it or use a smaller model or "
                          "context",
                          mebibytes(bytes), physical->info.name, mebibytes(memory->used),
                          mebibytes(memory->limit));
    }
    return false;
}

/* Bytes of the next slab of this use, at least `bytes`. */
static uint64_t next_slab_bytes(const struct vk_backend *backend, uint64_t bytes,
                                enum buffer_use use)
{
    const struct vk_memory *memory = &backend->memory;
    uint64_t had = 0;
    for (uint32_t i = 0; i < memory->n_slabs; i++) {
        had += memory->slabs[i]->use == use ? memory->slabs[i]->bytes : 0;
    }
    uint64_t wanted = align_up(had / 8);
    wanted = wanted < SLAB_SMALLEST ? SLAB_SMALLEST : wanted;
    wanted = wanted > SLAB_LARGEST ? SLAB_LARGEST : wanted;
    if (memory->limit && wanted > memory->limit - memory->used) {
        wanted = 0;
    }
    return wanted > bytes ? wanted : bytes;
}

static struct vk_slab *add_slab(struct vk_backend *backend, uint64_t bytes, enum buffer_use use,
                                struct error *err)
{
    struct vk_memory *memory = &backend->memory;
    if (memory->n_slabs == memory->capacity) {
        uint32_t capacity = memory->capacity ? memory->capacity * 2 : 16;
        struct vk_slab **slabs = realloc(memory->slabs, capacity * sizeof(struct vk_slab *));
        if (!slabs) {
            error_set(err, "not enough memory for the list of device allocations");
            return NULL;
        }
        memory->slabs = slabs;
        memory->capacity = capacity;
    }
    struct vk_slab *slab = malloc(sizeof(*slab));
    if (!slab) {
        error_set(err, "not enough memory for the list of device allocations");
        return NULL;
    }
    bool map = use == BUFFER_STEP || use == BUFFER_RESULT ||
               (backend->device.physical.unified && !memory->force_staging);
    uint64_t wanted = next_slab_bytes(backend, bytes, use);
    if (!(wanted > bytes && vk_memory_allocate(backend, wanted, use, map, slab, NULL)) &&
        !vk_memory_allocate(backend, bytes, use, map, slab, err)) {
        free(slab);
        return NULL;
    }
    if (!slab_reserve(slab, err)) {
        vk_memory_release(backend, slab);
        free(slab);
        return NULL;
    }
    slab->free[0] = (struct vk_range){0, slab->bytes};
    slab->n_free = 1;
    memory->slabs[memory->n_slabs++] = slab;
    return slab;
}

bool vk_memory_create_buffer(struct vk_backend *backend, uint64_t bytes, enum buffer_use use,
                             struct buffer *buffer, struct error *err)
{
    assert(bytes > 0);
    struct vk_memory *memory = &backend->memory;
    *buffer = (struct buffer){0};
    if (refuse_limits(backend, bytes, err)) {
        return false;
    }
    uint64_t rounded = align_up(bytes), offset;
    struct vk_slab *slab = NULL;
    for (uint32_t i = 0; i < memory->n_slabs && !slab; i++) {
        if (memory->slabs[i]->use == use) {
            if (!slab_reserve(memory->slabs[i], err)) {
                return false;
            }
            slab = slab_take(memory->slabs[i], rounded, &offset) ? memory->slabs[i] : NULL;
        }
    }
    if (!slab) {
        slab = add_slab(backend, rounded, use, err);
        if (!slab) {
            return false;
        }
        bool taken = slab_take(slab, rounded, &offset);
        assert(taken);
        (void)taken;
    }
    slab->n_buffers++;
    memory->used += rounded;
    *buffer = (struct buffer){.address = slab->address + offset, .bytes = bytes, .internal = slab};
    return true;
}

void vk_memory_destroy_buffer(struct vk_backend *backend, struct buffer *buffer)
{
    struct vk_slab *slab = buffer->internal;
    if (!slab) {
        return;
    }
    struct vk_memory *memory = &backend->memory;
    if (slab->imported) {
        vk_commands_settle(backend);
        vk_memory_release(backend, slab);
        free(slab);
        *buffer = (struct buffer){0};
        return;
    }
    slab_give(slab, buffer->address - slab->address, align_up(buffer->bytes));
    memory->used -= align_up(buffer->bytes);
    *buffer = (struct buffer){0};
    if (--slab->n_buffers > 0) {
        return;
    }
    vk_commands_settle(backend); /* a write through the ring may still be under way */
    vk_memory_release(backend, slab);
    uint32_t i = 0;
    while (memory->slabs[i] != slab) {
        i++;
    }
    memory->slabs[i] = memory->slabs[--memory->n_slabs];
    free(slab);
}

void vk_memory_free(struct vk_backend *backend)
{
    struct vk_memory *memory = &backend->memory;
    for (uint32_t i = 0; i < memory->n_slabs; i++) {
        vk_memory_release(backend, memory->slabs[i]);
        free(memory->slabs[i]);
    }
    free(memory->slabs);
    *memory = (struct vk_memory){0};
}
