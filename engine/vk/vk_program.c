/* Programs: op lists recorded once and replayed per token.
 *
 * For each op bind, push, dispatch; and one memory barrier between two dependent steps
 * (op_list_steps). Nothing in it changes from run to run: what does is in the step buffer.
 * The list is recorded in as many command buffers as vk_segments says, each submitted by itself,
 * and anew when the runs have shown that others would be better: on a device that is fast enough a
 * token is one submit.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "engine/op/op_steps.h"
#include "engine/vk/vk_segments.h"

struct program {
    const struct op_list *list;
    struct vk_plan *plans; /* (n_ops) */
    VkPipeline *pipelines; /* (n_ops) */
    struct vk_segments segments;
    bool stale;                /* the segments are others than what is recorded */
    VkCommandBuffer *commands; /* (n_ops), of which n_commands are made */
    uint32_t n_commands;
    uint64_t *values;              /* (n_ops) of the timeline, one a segment */
    double *seconds;               /* (n_ops) that the segments of a run took */
    struct vk_stopwatch stopwatch; /* of the segments, if there are several */
    uint64_t dispatches, barriers; /* of one run */
};

/* Marks the ops that begin a step. False: no memory. */
static bool find_steps(const struct op_list *list, bool *begins, struct error *err)
{
    uint32_t *steps = calloc(list->n_ops, sizeof(*steps));
    if (!steps) {
        return error_set(err, "not enough memory for a program of %u ops", list->n_ops);
    }
    op_list_steps(list, steps);
    for (uint32_t i = 1; i < list->n_ops; i++) {
        begins[i] = steps[i] != steps[i - 1];
    }
    free(steps);
    return true;
}

void vk_record_barrier(struct vk_backend *backend, VkCommandBuffer commands)
{
    VkMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                               .dstAccessMask =
                                   VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
    backend->device.instance.vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                                   VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1,
                                                   &barrier, 0, NULL, 0, NULL);
}

static void record_op(struct vk_backend *backend, const struct program *program, uint32_t index,
                      VkPipeline *bound, VkCommandBuffer commands)
{
    const struct vk_functions *vk = &backend->device.instance.vk;
    const struct op *op = &program->list->ops[index];
    const struct vk_plan *plan = &program->plans[index];
    if (program->pipelines[index] != *bound) {
        *bound = program->pipelines[index];
        vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, *bound);
    }
    vk->CmdPushConstants(commands, backend->pipelines.layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         op_args_bytes(op->kind), op->args.bytes);
    vk->CmdDispatch(commands, plan->groups[0], plan->groups[1], plan->groups[2]);
}

static bool allocate_commands(struct vk_backend *backend, VkCommandBuffer *commands, uint32_t n,
                              struct error *err)
{
    struct vk_device *device = &backend->device;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = backend->commands.pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = n};
    return vk_device_check(
        device, device->instance.vk.AllocateCommandBuffers(device->handle, &info, commands),
        "make a command buffer", err);
}

/* Command buffers and queries for the segments there are now. */
static bool prepare_segments(struct vk_backend *backend, struct program *program, struct error *err)
{
    uint32_t n = program->segments.n;
    if (n > program->n_commands) {
        if (!allocate_commands(backend, program->commands + program->n_commands,
                               n - program->n_commands, err)) {
            return false;
        }
        program->n_commands = n;
    }
    if (n > 1 && n > program->stopwatch.n) {
        vk_stopwatch_destroy(backend, &program->stopwatch);
        return vk_stopwatch_create(backend, &program->stopwatch, n, err);
    }
    return true;
}

static bool record_segment(struct vk_backend *backend, struct program *program, uint32_t segment,
                           struct error *err)
{
    const struct vk_segments *segments = &program->segments;
    VkCommandBuffer commands = program->commands[segment];
    VkPipeline bound = VK_NULL_HANDLE;
    uint32_t first = segment ? segments->ends[segment - 1] : 0;
    bool timed = segments->n > 1;
    if (!vk_commands_begin(backend, commands, false, err)) {
        return false;
    }
    if (timed) {
        vk_stopwatch_start(backend, &program->stopwatch, commands, segment);
    }
    for (uint32_t i = first; i < segments->ends[segment]; i++) {
        if (segments->may_cut[i] && i > first) {
            vk_record_barrier(backend, commands);
            program->barriers++;
        }
        record_op(backend, program, i, &bound, commands);
        program->dispatches++;
    }
    if (timed) {
        vk_stopwatch_stop(backend, &program->stopwatch, commands, segment);
    }
    program->barriers++; /* the one that ends it */
    return vk_commands_end(backend, commands, err);
}

static bool record(struct vk_backend *backend, struct program *program, struct error *err)
{
    program->dispatches = program->barriers = 0;
    program->stale = true;
    bool ok = prepare_segments(backend, program, err);
    for (uint32_t i = 0; ok && i < program->segments.n; i++) {
        ok = record_segment(backend, program, i, err);
    }
    program->stale = !ok;
    return ok;
}

static bool plan_ops(struct vk_backend *backend, struct program *program, struct error *err)
{
    const struct op_list *list = program->list;
    const struct vk_caps *caps = &backend->device.physical.caps;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        struct vk_plan *plan = &program->plans[i];
        vk_plan_op(&list->ops[i], caps, plan);
        for (uint32_t d = 0; d < 3; d++) {
            assert(plan->groups[d] > 0 && plan->groups[d] <= caps->max_groups[d]);
        }
    }
    return vk_pipelines_get(&backend->device, &backend->pipelines, program->plans, list->n_ops,
                            program->pipelines, err);
}

struct program *vk_program_create(struct vk_backend *backend, const struct op_list *list,
                                  struct error *err)
{
    assert(list->n_ops > 0);
    struct program *program = calloc(1, sizeof(*program));
    if (program) {
        *program = (struct program){.list = list,
                                    .plans = calloc(list->n_ops, sizeof(*program->plans)),
                                    .pipelines = calloc(list->n_ops, sizeof(VkPipeline)),
                                    .commands = calloc(list->n_ops, sizeof(VkCommandBuffer)),
                                    .values = calloc(list->n_ops, sizeof(*program->values)),
                                    .seconds = calloc(list->n_ops, sizeof(*program->seconds))};
    }
    if (!program || !program->plans || !program->pipelines || !program->commands ||
        !program->values || !program->seconds) {
        error_set(err, "not enough memory for a program of %u ops", list->n_ops);
        vk_program_destroy(backend, program);
        return NULL;
    }
    bool ok = vk_segments_init(&program->segments, list->n_ops, backend->segment_seconds,
                               list->max_tokens > 1, err) &&
              find_steps(list, program->segments.may_cut, err);
    if (ok) {
        vk_segments_cut(&program->segments);
    }
    vk_transfer_free(backend); /* loading has ended */
    if (!ok || !plan_ops(backend, program, err) || !record(backend, program, err)) {
        vk_program_destroy(backend, program);
        return NULL;
    }
    return program;
}

void vk_program_destroy(struct vk_backend *backend, struct program *program)
{
    if (!program) {
        return;
    }
    struct vk_device *device = &backend->device;
    vk_commands_settle(backend);
    if (program->n_commands) {
        device->instance.vk.FreeCommandBuffers(device->handle, backend->commands.pool,
                                               program->n_commands, program->commands);
    }
    vk_stopwatch_destroy(backend, &program->stopwatch);
    vk_segments_free(&program->segments);
    free(program->plans);
    free(program->pipelines);
    free(program->commands);
    free(program->values);
    free(program->seconds);
    free(program);
}

/* ---- running ---- */

/* What each segment took: by the device's clock; else by the host's, between the ends of one and of
 * the next. */
static bool read_seconds(struct vk_backend *backend, struct program *program, double started,
                         struct error *err)
{
    uint32_t n = program->segments.n;
    bool by_device = n > 1 && program->stopwatch.pool;
    for (uint32_t i = 0; i < n && !by_device; i++) {
        if (!vk_commands_wait(backend, program->values[i], err)) {
            return false;
        }
        double now = vk_clock();
        program->seconds[i] = now - started;
        started = now;
    }
    if (by_device && !vk_commands_wait(backend, program->values[n - 1], err)) {
        return false;
    }
    double elapsed = vk_clock() - started;
    for (uint32_t i = 0; i < n && by_device; i++) {
        if (!vk_stopwatch_read(backend, &program->stopwatch, i, &program->seconds[i], err)) {
            return false;
        }
        /* No clock of a broken driver makes it longer than it was. */
        program->seconds[i] = fmin(program->seconds[i], elapsed);
    }
    return true;
}

bool vk_program_run(struct vk_backend *backend, struct program *program, struct error *err)
{
    if (program->stale && !record(backend, program, err)) {
        return false;
    }
    double started = vk_clock();
    for (uint32_t i = 0; i < program->segments.n; i++) {
        if (!vk_commands_submit(backend, program->commands[i], &program->values[i], err)) {
            return false;
        }
    }
    backend->counts.dispatches += program->dispatches;
    backend->counts.barriers += program->barriers;
    if (!read_seconds(backend, program, started, err)) {
        return false;
    }
    program->stale = vk_segments_learn(&program->segments, program->seconds);
    return true;
}

/* ---- profile ---- */

/* Runs ops [first, end) one after the other, each timed. */
static bool profile_ops(struct vk_backend *backend, const struct program *program,
                        VkCommandBuffer commands, const struct vk_stopwatch *stopwatch,
                        const uint32_t range[2], double *seconds, struct error *err)
{
    VkPipeline bound = VK_NULL_HANDLE;
    uint64_t value;
    if (!vk_commands_begin(backend, commands, true, err)) {
        return false;
    }
    for (uint32_t i = range[0]; i < range[1]; i++) {
        vk_stopwatch_start(backend, stopwatch, commands, i);
        record_op(backend, program, i, &bound, commands);
        vk_record_barrier(backend, commands);
        vk_stopwatch_stop(backend, stopwatch, commands, i);
    }
    backend->counts.dispatches += range[1] - range[0];
    backend->counts.barriers += range[1] - range[0] + 1;
    if (!vk_commands_end(backend, commands, err)) {
        return false;
    }
    double started = vk_clock();
    if (!vk_commands_submit(backend, commands, &value, err) ||
        !vk_commands_wait(backend, value, err)) {
        return false;
    }
    if (!stopwatch->pool) {
        assert(range[1] - range[0] == 1);
        seconds[range[0]] = vk_clock() - started;
        return true;
    }
    bool ok = true;
    for (uint32_t i = range[0]; ok && i < range[1]; i++) {
        ok = vk_stopwatch_read(backend, stopwatch, i, &seconds[i], err);
    }
    return ok;
}

bool vk_program_profile(struct vk_backend *backend, struct program *program, double *seconds,
                        struct error *err)
{
    struct vk_device *device = &backend->device;
    uint32_t n_ops = program->list->n_ops, first = 0;
    struct vk_stopwatch stopwatch;
    VkCommandBuffer commands;
    if (!vk_stopwatch_create(backend, &stopwatch, n_ops, err)) {
        return false;
    }
    bool ok = allocate_commands(backend, &commands, 1, err);
    bool made = ok;
    for (uint32_t s = 0; ok && first < n_ops; s++) {
        /* Without a clock of the device's, an op at a time by the host's. */
        uint32_t end = stopwatch.pool ? program->segments.ends[s] : first + 1;
        ok = profile_ops(backend, program, commands, &stopwatch, (uint32_t[2]){first, end}, seconds,
                         err);
        first = end;
    }
    if (made) {
        vk_commands_settle(backend);
        device->instance.vk.FreeCommandBuffers(device->handle, backend->commands.pool, 1,
                                               &commands);
    }
    vk_stopwatch_destroy(backend, &stopwatch);
    return ok;
}
