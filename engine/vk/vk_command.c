/* Command buffers: recording, submitting, waiting, and the device's own clock. */
#include "engine/vk/vk_internal.h"

#include <time.h>

double vk_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

bool vk_commands_init(struct vk_backend *backend, struct error *err)
{
    struct vk_device *device = &backend->device;
    const struct vk_functions *vk = &device->instance.vk;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = device->physical.queue_family};
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                       .pNext = &type};
    struct vk_commands *commands = &backend->commands;
    VkResult result = vk->CreateCommandPool(device->handle, &pool, NULL, &commands->pool);
    if (!vk_device_check(device, result, "make a command pool", err)) {
        commands->pool = VK_NULL_HANDLE;
        return false;
    }
    result = vk->CreateSemaphore(device->handle, &semaphore, NULL, &commands->timeline);
    if (!vk_device_check(device, result, "make a semaphore", err)) {
        commands->timeline = VK_NULL_HANDLE;
        return false;
    }
    return true;
}

void vk_commands_free(struct vk_backend *backend)
{
    const struct vk_functions *vk = &backend->device.instance.vk;
    vk->DestroySemaphore(backend->device.handle, backend->commands.timeline, NULL);
    vk->DestroyCommandPool(backend->device.handle, backend->commands.pool, NULL);
    backend->commands = (struct vk_commands){0};
}

bool vk_commands_begin(struct vk_backend *backend, VkCommandBuffer commands, bool once,
                       struct error *err)
{
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags =
                                         once ? VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT : 0};
    return vk_device_check(&backend->device,
                           backend->device.instance.vk.BeginCommandBuffer(commands, &info),
                           "record commands", err);
}

bool vk_commands_end(struct vk_backend *backend, VkCommandBuffer commands, struct error *err)
{
    const struct vk_functions *vk = &backend->device.instance.vk;
    const VkPipelineStageFlags device_stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                         VK_ACCESS_HOST_READ_BIT};
    vk->CmdPipelineBarrier(commands, device_stages, device_stages | VK_PIPELINE_STAGE_HOST_BIT, 0,
                           1, &barrier, 0, NULL, 0, NULL);
    return vk_device_check(&backend->device, vk->EndCommandBuffer(commands), "record commands",
                           err);
}

bool vk_commands_submit(struct vk_backend *backend, VkCommandBuffer commands, uint64_t *value,
                        struct error *err)
{
    struct vk_device *device = &backend->device;
    uint64_t signalled = backend->commands.submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {.sType =
                                                  VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &signalled};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &backend->commands.timeline};
    if (!vk_device_check(device,
                         device->instance.vk.QueueSubmit(device->queue, 1, &info, VK_NULL_HANDLE),
                         "run commands", err)) {
        return false;
    }
    backend->commands.submitted = signalled;
    backend->counts.submits++;
    *value = signalled;
    return true;
}

bool vk_commands_wait(struct vk_backend *backend, uint64_t value, struct error *err)
{
    struct vk_device *device = &backend->device;
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &backend->commands.timeline,
                                .pValues = &value};
    return vk_device_alive(device, err) &&
           (value == 0 ||
            vk_device_check(device,
                            device->instance.vk.WaitSemaphores(device->handle, &info, UINT64_MAX),
                            "finish its work", err));
}

void vk_commands_settle(struct vk_backend *backend)
{
    if (backend->commands.submitted > 0) {
        backend->device.instance.vk.DeviceWaitIdle(backend->device.handle);
    }
}

/* ---- what the device has done, timed ---- */

bool vk_stopwatch_create(struct vk_backend *backend, struct vk_stopwatch *stopwatch, uint32_t n,
                         struct error *err)
{
    struct vk_device *device = &backend->device;
    *stopwatch = (struct vk_stopwatch){.n = n};
    if (device->physical.timestamp_bits == 0 || backend->no_timestamps) {
        return true;
    }
    VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                  .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                  .queryCount = 2 * n};
    VkResult result =
        device->instance.vk.CreateQueryPool(device->handle, &info, NULL, &stopwatch->pool);
    if (result != VK_SUCCESS) {
        stopwatch->pool = VK_NULL_HANDLE;
    }
    return vk_device_check(device, result, "make queries of its clock", err);
}

void vk_stopwatch_destroy(struct vk_backend *backend, struct vk_stopwatch *stopwatch)
{
    backend->device.instance.vk.DestroyQueryPool(backend->device.handle, stopwatch->pool, NULL);
    *stopwatch = (struct vk_stopwatch){0};
}

void vk_stopwatch_start_at(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                           VkCommandBuffer commands, uint32_t index, VkPipelineStageFlagBits stage)
{
    const struct vk_functions *vk = &backend->device.instance.vk;
    if (stopwatch->pool) {
        vk->CmdResetQueryPool(commands, stopwatch->pool, 2 * index, 2);
        /* When all before it has passed the stage, rather than when the command is read. */
        vk->CmdWriteTimestamp(commands, stage, stopwatch->pool, 2 * index);
    }
}

void vk_stopwatch_stop_at(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                          VkCommandBuffer commands, uint32_t index, VkPipelineStageFlagBits stage)
{
    if (stopwatch->pool) {
        backend->device.instance.vk.CmdWriteTimestamp(commands, stage, stopwatch->pool,
                                                      2 * index + 1);
    }
}

void vk_stopwatch_start(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                        VkCommandBuffer commands, uint32_t index)
{
    vk_stopwatch_start_at(backend, stopwatch, commands, index,
                          VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
}

void vk_stopwatch_stop(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                       VkCommandBuffer commands, uint32_t index)
{
    vk_stopwatch_stop_at(backend, stopwatch, commands, index, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT);
}

bool vk_stopwatch_read(struct vk_backend *backend, const struct vk_stopwatch *stopwatch,
                       uint32_t index, double *seconds, struct error *err)
{
    struct vk_device *device = &backend->device;
    uint64_t ticks[2] = {0};
    VkResult result = device->instance.vk.GetQueryPoolResults(
        device->handle, stopwatch->pool, 2 * index, 2, sizeof(ticks), ticks, sizeof(ticks[0]),
        VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    uint32_t bits = device->physical.timestamp_bits;
    uint64_t mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    *seconds = (double)((ticks[1] - ticks[0]) & mask) * device->physical.timestamp_seconds;
    return vk_device_check(device, result, "tell the time", err);
}
