/* Host to buffer and back.
 *
 * Memory the host sees is copied to directly. All other goes through a ring of segments: the host
 * fills one while the device copies another. A write returns when the last byte has left the
 * caller's memory; the copy of the last segments may still run, and whatever is submitted later
 * comes after it (see vk_internal.h). Weights come before programs: the ring goes when a program is
 * made, so that it takes no memory while tokens flow, and comes back if it is needed again.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <string.h>

static bool make_ring(struct vk_backend *backend, struct error *err)
{
    struct vk_transfer *transfer = &backend->transfer;
    if (transfer->staging.handle) {
        return true;
    }
    struct vk_device *device = &backend->device;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = backend->commands.pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = VK_STAGING_SEGMENTS};
    if (!vk_memory_allocate(backend, VK_STAGING_SEGMENTS * VK_STAGING_SEGMENT_BYTES, BUFFER_RESULT,
                            true, &transfer->staging, err)) {
        return false;
    }
    VkResult result =
        device->instance.vk.AllocateCommandBuffers(device->handle, &info, transfer->commands);
    if (!vk_device_check(device, result, "make command buffers", err)) {
        vk_memory_release(backend, &transfer->staging);
        return false;
    }
    memset(transfer->values, 0, sizeof(transfer->values));
    transfer->next = 0;
    return true;
}

/* The next segment of the ring, waited for until it is free. */
static bool next_segment(struct vk_backend *backend, uint32_t *segment, struct error *err)
{
    struct vk_transfer *transfer = &backend->transfer;
    *segment = transfer->next;
    transfer->next = (transfer->next + 1) % VK_STAGING_SEGMENTS;
    return vk_commands_wait(backend, transfer->values[*segment], err);
}

static bool submit_copy(struct vk_backend *backend, uint32_t segment, VkBuffer from, VkBuffer to,
                        const VkBufferCopy *copy, struct error *err)
{
    VkCommandBuffer commands = backend->transfer.commands[segment];
    if (!vk_commands_begin(backend, commands, true, err)) {
        return false;
    }
    backend->device.instance.vk.CmdCopyBuffer(commands, from, to, 1, copy);
    backend->counts.barriers++;
    return vk_commands_end(backend, commands, err) &&
           vk_commands_submit(backend, commands, &backend->transfer.values[segment], err);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool vk_transfer_write(struct vk_backend *backend, const struct buffer *buffer, uint64_t offset,
                       const void *source, uint64_t bytes, struct error *err)
{
    assert(offset <= buffer->bytes && bytes <= buffer->bytes - offset);
    const struct vk_slab *slab = buffer->internal;
    uint64_t at = buffer->address - slab->address + offset;
    if (slab->mapped) {
        memcpy(slab->mapped + at, source, bytes);
        return true;
    }
    if (!make_ring(backend, err)) {
        return false;
    }
    const struct vk_slab *staging = &backend->transfer.staging;
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part = least(bytes - done, VK_STAGING_SEGMENT_BYTES);
        uint32_t segment;
        if (!next_segment(backend, &segment, err)) {
            return false;
        }
        uint64_t start = segment * VK_STAGING_SEGMENT_BYTES;
        memcpy(staging->mapped + start, (const uint8_t *)source + done, part);
        VkBufferCopy copy = {.srcOffset = staging->start + start,
                             .dstOffset = slab->start + at + done,
                             .size = part};
        if (!submit_copy(backend, segment, staging->handle, slab->handle, &copy, err)) {
            return false;
        }
        done += part;
    }
    return true;
}

bool vk_transfer_read(struct vk_backend *backend, const struct buffer *buffer, uint64_t offset,
                      void *destination, uint64_t bytes, struct error *err)
{
    assert(offset <= buffer->bytes && bytes <= buffer->bytes - offset);
    const struct vk_slab *slab = buffer->internal;
    uint64_t at = buffer->address - slab->address + offset;
    if (slab->mapped) {
        memcpy(destination, slab->mapped + at, bytes);
        return true;
    }
    if (!make_ring(backend, err)) {
        return false;
    }
    const struct vk_slab *staging = &backend->transfer.staging;
    for (uint64_t done = 0; done < bytes;) {
        uint64_t part = least(bytes - done, VK_STAGING_SEGMENT_BYTES);
        uint32_t segment;
        if (!next_segment(backend, &segment, err)) {
            return false;
        }
        uint64_t start = segment * VK_STAGING_SEGMENT_BYTES;
        VkBufferCopy copy = {.srcOffset = slab->start + at + done,
                             .dstOffset = staging->start + start,
                             .size = part};
        if (!submit_copy(backend, segment, slab->handle, staging->handle, &copy, err) ||
            !vk_commands_wait(backend, backend->transfer.values[segment], err)) {
            return false;
        }
        memcpy((uint8_t *)destination + done, staging->mapped + start, part);
        done += part;
    }
    return true;
}

void vk_transfer_free(struct vk_backend *backend)
{
    struct vk_transfer *transfer = &backend->transfer;
    struct vk_device *device = &backend->device;
    if (transfer->staging.handle) {
        vk_commands_settle(backend);
        device->instance.vk.FreeCommandBuffers(device->handle, backend->commands.pool,
                                               VK_STAGING_SEGMENTS, transfer->commands);
        vk_memory_release(backend, &transfer->staging);
    }
}
