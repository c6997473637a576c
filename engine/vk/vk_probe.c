#include "engine/vk/vk_probe.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "shaders/vk_peak_table.h"

#define X(name) {#name, spirv_##name, sizeof(spirv_##name), 0},
/* enum vk_probe_kernel follows the list of shaders/meson.build. */
const struct vk_shader vk_probe_shaders[PROBE_KERNELS] = {VK_PEAK_SHADERS(X)};
#undef X

bool vk_probe_has(const struct vk_caps *caps, enum vk_probe_kernel kernel)
{
    return kernel == PROBE_F16 ? caps->float16 : kernel == PROBE_INT8 ? caps->integer_dot : true;
}

#define GROUP 64
/* Enough invocations for the largest devices; more in a row than any cache line. */
#define GROUPS 4096
#define LONG_ENOUGH 0.01
#define MOST_REPEATS (UINT32_C(1) << 20)
#define TRIES 3

bool vk_probe_init(struct vk_backend *backend, struct vk_probe *probe, struct error *err)
{
    struct vk_device *device = &backend->device;
    *probe = (struct vk_probe){.backend = backend};
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = backend->commands.pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = 1};
    VkResult result =
        device->instance.vk.AllocateCommandBuffers(device->handle, &info, &probe->commands);
    if (result != VK_SUCCESS) {
        probe->commands = VK_NULL_HANDLE;
    }
    if (!vk_device_check(device, result, "make a command buffer", err) ||
        !vk_stopwatch_create(backend, &probe->stopwatch, 1, err) ||
        !vk_memory_create_buffer(backend, 256, BUFFER_ACTIVATIONS, &probe->sink, err)) {
        vk_probe_free(probe);
        return false;
    }
    return true;
}

void vk_probe_free(struct vk_probe *probe)
{
    struct vk_backend *backend = probe->backend;
    const struct vk_functions *vk = &backend->device.instance.vk;
    vk_commands_settle(backend);
    for (uint32_t i = 0; i < PROBE_KERNELS; i++) {
        vk->DestroyPipeline(backend->device.handle, probe->pipelines[i], NULL);
    }
    if (probe->commands) {
        vk->FreeCommandBuffers(backend->device.handle, backend->commands.pool, 1, &probe->commands);
    }
    vk_stopwatch_destroy(backend, &probe->stopwatch);
    vk_memory_destroy_buffer(backend, &probe->sink);
    *probe = (struct vk_probe){0};
}

/* Ends, submits and waits for what was recorded between vk_stopwatch_start and _stop. Without a
 * clock of the device's: the host's. */
static bool finish(struct vk_probe *probe, double *seconds, struct error *err)
{
    struct vk_backend *backend = probe->backend;
    uint64_t value;
    if (!vk_commands_end(backend, probe->commands, err)) {
        return false;
    }
    double started = vk_clock();
    if (!vk_commands_submit(backend, probe->commands, &value, err) ||
        !vk_commands_wait(backend, value, err)) {
        return false;
    }
    double elapsed = vk_clock() - started;
    *seconds = elapsed;
    if (probe->stopwatch.pool && !vk_stopwatch_read(backend, &probe->stopwatch, 0, seconds, err)) {
        return false;
    }
    /* Some clocks are coarse or wrong; a time of 0 would be an infinite rate. */
    *seconds = *seconds > 0 && *seconds < elapsed ? *seconds : elapsed;
    return true;
}

static bool compile(struct vk_probe *probe, enum vk_probe_kernel kernel, struct error *err)
{
    struct vk_backend *backend = probe->backend;
    struct vk_plan plan = {0};
    return probe->pipelines[kernel] ||
           vk_pipeline_compile(&backend->device, &backend->pipelines, &vk_probe_shaders[kernel],
                               &plan, 0, &probe->pipelines[kernel], err);
}

bool vk_probe_dispatch(struct vk_probe *probe, enum vk_probe_kernel kernel,
                       const struct peak_args *args, uint32_t groups, uint32_t count,
                       bool dependent, double *seconds, struct error *err)
{
    struct vk_backend *backend = probe->backend;
    const struct vk_functions *vk = &backend->device.instance.vk;
    struct peak_args pushed = *args;
    pushed.y = probe->sink.address;
    if (!compile(probe, kernel, err) || !vk_commands_begin(backend, probe->commands, true, err)) {
        return false;
    }
    vk->CmdBindPipeline(probe->commands, VK_PIPELINE_BIND_POINT_COMPUTE, probe->pipelines[kernel]);
    vk->CmdPushConstants(probe->commands, backend->pipelines.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         sizeof(pushed), &pushed);
    vk_stopwatch_start(backend, &probe->stopwatch, probe->commands, 0);
    for (uint32_t i = 0; i < count; i++) {
        vk->CmdDispatch(probe->commands, groups, 1, 1);
        if (dependent) {
            vk_record_barrier(backend, probe->commands);
        }
    }
    vk_stopwatch_stop(backend, &probe->stopwatch, probe->commands, 0);
    backend->counts.dispatches += count;
    backend->counts.barriers += (dependent ? count : 0) + 1;
    return finish(probe, seconds, err);
}

bool vk_probe_ops(struct vk_probe *probe, VkPipeline pipeline, const struct vk_plan *plan,
                  const struct op *ops, uint32_t n, double *seconds, struct error *err)
{
    struct vk_backend *backend = probe->backend;
    const struct vk_functions *vk = &backend->device.instance.vk;
    if (!vk_commands_begin(backend, probe->commands, true, err)) {
        return false;
    }
    vk->CmdBindPipeline(probe->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vk_stopwatch_start(backend, &probe->stopwatch, probe->commands, 0);
    for (uint32_t i = 0; i < n; i++) {
        vk->CmdPushConstants(probe->commands, backend->pipelines.layout,
                             VK_SHADER_STAGE_COMPUTE_BIT, 0, op_args_bytes(ops[i].kind),
                             ops[i].args.bytes);
        vk->CmdDispatch(probe->commands, plan->groups[0], plan->groups[1], plan->groups[2]);
        vk_record_barrier(backend, probe->commands);
    }
    vk_stopwatch_stop(backend, &probe->stopwatch, probe->commands, 0);
    backend->counts.dispatches += n;
    backend->counts.barriers += n + 1;
    return finish(probe, seconds, err);
}

/* Seconds of one repeat: the shortest of a few runs that take long enough. */
static bool time_repeat(struct vk_probe *probe, enum vk_probe_kernel kernel, struct peak_args *args,
                        uint32_t least, double *seconds, struct error *err)
{
    uint32_t tries = 0;
    *seconds = (double)INFINITY;
    for (args->repeats = least; tries < TRIES;) {
        double took;
        if (!vk_probe_dispatch(probe, kernel, args, GROUPS, 1, false, &took, err)) {
            return false;
        }
        *seconds = fmin(*seconds, took / args->repeats);
        if (took < LONG_ENOUGH && args->repeats < MOST_REPEATS) {
            double wanted = 1.2 * LONG_ENOUGH / took;
            args->repeats *= wanted > 8 ? 8 : wanted > 2 ? (uint32_t)wanted : 2;
        } else {
            tries++;
        }
    }
    return true;
}

bool vk_probe_read(struct vk_probe *probe, uint64_t address, uint64_t bytes, double *rate,
                   struct error *err)
{
    assert(bytes >= 4096 && (bytes & (bytes - 1)) == 0 && bytes / 16 <= UINT32_MAX);
    const double repeat_bytes = (double)GROUPS * GROUP * PEAK_READS * 16;
    struct peak_args args = {.x = address, .mask = (uint32_t)(bytes / 16 - 1)};
    double once = ceil((double)bytes / repeat_bytes), seconds;
    if (!time_repeat(probe, PROBE_READ, &args, (uint32_t)once, &seconds, err)) {
        return false;
    }
    *rate = repeat_bytes / seconds;
    return true;
}

bool vk_probe_compute(struct vk_probe *probe, enum vk_probe_kernel kernel, double *rate,
                      struct error *err)
{
    struct peak_args args = {0};
    double seconds;
    if (!time_repeat(probe, kernel, &args, 1, &seconds, err)) {
        return false;
    }
    *rate = 2.0 * GROUPS * GROUP * PEAK_MULTIPLY_ADDS / seconds;
    return true;
}

/* Where a buffer's bytes are in its VkBuffer. */
static uint64_t start_of(const struct buffer *buffer)
{
    const struct vk_slab *slab = buffer->internal;
    return slab->start + (buffer->address - slab->address);
}

bool vk_probe_copy(struct vk_probe *probe, const struct buffer *from, const struct buffer *to,
                   uint64_t bytes, double *rate, struct error *err)
{
    struct vk_backend *backend = probe->backend;
    const struct vk_slab *source = from->internal, *target = to->internal;
    VkBufferCopy copy = {.srcOffset = start_of(from), .dstOffset = start_of(to), .size = bytes};
    double best = (double)INFINITY;
    for (int i = 0; i < TRIES; i++) {
        double seconds;
        if (!vk_commands_begin(backend, probe->commands, true, err)) {
            return false;
        }
        vk_stopwatch_start_at(backend, &probe->stopwatch, probe->commands, 0,
                              VK_PIPELINE_STAGE_TRANSFER_BIT);
        backend->device.instance.vk.CmdCopyBuffer(probe->commands, source->handle, target->handle,
                                                  1, &copy);
        vk_stopwatch_stop_at(backend, &probe->stopwatch, probe->commands, 0,
                             VK_PIPELINE_STAGE_TRANSFER_BIT);
        backend->counts.barriers++;
        if (!finish(probe, &seconds, err)) {
            return false;
        }
        best = fmin(best, seconds);
    }
    *rate = (double)bytes / best;
    return true;
}

bool vk_probe_fill(struct vk_probe *probe, const struct buffer *buffer, uint32_t word,
                   struct error *err)
{
    struct vk_backend *backend = probe->backend;
    const struct vk_slab *slab = buffer->internal;
    double seconds;
    if (!vk_commands_begin(backend, probe->commands, true, err)) {
        return false;
    }
    vk_stopwatch_start_at(backend, &probe->stopwatch, probe->commands, 0,
                          VK_PIPELINE_STAGE_TRANSFER_BIT);
    backend->device.instance.vk.CmdFillBuffer(probe->commands, slab->handle, start_of(buffer),
                                              buffer->bytes & ~UINT64_C(3), word);
    vk_stopwatch_stop_at(backend, &probe->stopwatch, probe->commands, 0,
                         VK_PIPELINE_STAGE_TRANSFER_BIT);
    backend->counts.barriers++;
    return finish(probe, &seconds, err);
}

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool vk_probe_submit(struct vk_probe *probe, double *seconds, struct error *err)
{
    struct vk_backend *backend = probe->backend;
    enum { RUNS = 33 };
    double times[RUNS];
    backend->counts.barriers += RUNS;
    if (!vk_commands_begin(backend, probe->commands, false, err) ||
        !vk_commands_end(backend, probe->commands, err)) {
        return false;
    }
    for (uint32_t i = 0; i < RUNS; i++) {
        uint64_t value;
        double started = vk_clock();
        if (!vk_commands_submit(backend, probe->commands, &value, err) ||
            !vk_commands_wait(backend, value, err)) {
            return false;
        }
        times[i] = vk_clock() - started;
    }
    qsort(times, RUNS, sizeof(times[0]), compare_seconds);
    *seconds = times[RUNS / 2];
    return true;
}
