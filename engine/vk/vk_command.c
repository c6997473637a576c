/* Command buffers: submits, and programs that are recorded once and replayed per token.
 *
 * A program is one command buffer: for each op bind, push, dispatch; and one memory barrier before
 * an op that depends on any op since the last barrier. Nothing in it changes from run to run: what
 * does is in the step buffer.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <stdlib.h>

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

/* ---- programs ---- */

struct program {
    VkCommandBuffer commands;
    uint64_t dispatches, barriers;
};

/* Whether an op must wait for one of [first, index). */
static bool needs_barrier(const struct op_list *list, uint32_t first, uint32_t index)
{
    for (uint32_t i = first; i < index; i++) {
        if (op_depends(&list->ops[index], &list->ops[i])) {
            return true;
        }
    }
    return false;
}

static void record_barrier(const struct vk_functions *vk, VkCommandBuffer commands)
{
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask =
                                   VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    vk->CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                           VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static bool record(struct vk_backend *backend, struct program *program, const struct op_list *list,
                   struct error *err)
{
    struct vk_device *device = &backend->device;
    const struct vk_functions *vk = &device->instance.vk;
    const struct vk_caps *caps = &device->physical.caps;
    VkPipeline bound = VK_NULL_HANDLE;
    uint32_t since = 0; /* the last barrier */
    for (uint32_t i = 0; i < list->n_ops; i++) {
        const struct op *op = &list->ops[i];
        struct vk_plan plan = {0};
        vk_plan_op(op, caps, &plan);
        for (uint32_t d = 0; d < 3; d++) {
            assert(plan.groups[d] > 0 && plan.groups[d] <= caps->max_groups[d]);
        }
        VkPipeline pipeline = vk_pipelines_get(device, &backend->pipelines, &plan, err);
        if (!pipeline) {
            return false;
        }
        if (needs_barrier(list, since, i)) {
            record_barrier(vk, program->commands);
            program->barriers++;
            since = i;
        }
        if (pipeline != bound) {
            vk->CmdBindPipeline(program->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
            bound = pipeline;
        }
        vk->CmdPushConstants(program->commands, backend->pipelines.layout,
                             VK_SHADER_STAGE_COMPUTE_BIT, 0, op_args_bytes(op->kind),
                             op->args.bytes);
        vk->CmdDispatch(program->commands, plan.groups[0], plan.groups[1], plan.groups[2]);
        program->dispatches++;
    }
    return true;
}

struct program *vk_program_create(struct vk_backend *backend, const struct op_list *list,
                                  struct error *err)
{
    struct vk_device *device = &backend->device;
    struct program *program = calloc(1, sizeof(*program));
    if (!program) {
        error_set(err, "not enough memory for a program of %u ops", list->n_ops);
        return NULL;
    }
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = backend->commands.pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkResult result =
        device->instance.vk.AllocateCommandBuffers(device->handle, &info, &program->commands);
    if (!vk_device_check(device, result, "make a command buffer", err)) {
        free(program);
        return NULL;
    }
    if (!vk_commands_begin(backend, program->commands, false, err) ||
        !record(backend, program, list, err) || !vk_commands_end(backend, program->commands, err)) {
        vk_program_destroy(backend, program);
        return NULL;
    }
    program->barriers++; /* the one that ends it */
    return program;
}

void vk_program_destroy(struct vk_backend *backend, struct program *program)
{
    if (program) {
        struct vk_device *device = &backend->device;
        vk_commands_settle(backend);
        device->instance.vk.FreeCommandBuffers(device->handle, backend->commands.pool, 1,
                                               &program->commands);
        free(program);
    }
}

bool vk_program_run(struct vk_backend *backend, struct program *program, struct error *err)
{
    uint64_t value;
    if (!vk_commands_submit(backend, program->commands, &value, err)) {
        return false;
    }
    backend->counts.dispatches += program->dispatches;
    backend->counts.barriers += program->barriers;
    return vk_commands_wait(backend, value, err);
}
