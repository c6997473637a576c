/* Programs: op lists recorded once and replayed per token.
 *
 * For each op bind, push, dispatch; and one memory barrier between two dependent steps
 * (op_list_steps), and behind the packs that a step begins with (vk_pack.h). Nothing in it changes
 * from run to run: what does is in the step buffer. The list is recorded in as many command buffers
 * as vk_segments says, each submitted by itself, and anew when the runs have shown that others
 * would be better: on a device that is fast enough a token is one submit.
 */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "engine/op/op_steps.h"
#include "engine/vk/vk_pack.h"
#include "engine/vk/vk_segments.h"

/* The list as it is submitted. A second one exists where runs are started before the last one is
 * finished, since a command buffer may not be submitted again while it is executed. */
struct take {
    uint32_t version;          /* of the program's segments; 0: nothing is recorded */
    uint32_t n;                /* segments recorded */
    bool timed;                /* by the stopwatch */
    bool under_way;            /* started and not finished */
    VkCommandBuffer *commands; /* (n_ops), of which n_commands are made */
    uint32_t n_commands;
    uint64_t *values;              /* (n_ops) of the timeline, one a segment */
    struct vk_stopwatch stopwatch; /* of the segments */
    uint64_t dispatches, barriers; /* of one run */
    double started;
};

struct program {
    const struct op_list *list;
    struct vk_plan *plans; /* (n_ops) */
    VkPipeline *pipelines; /* (n_ops) */
    struct vk_packs packs;
    VkPipeline pack_pipelines[VK_PACK_FORMATS];
    struct buffer scratch; /* of the packs */
    struct vk_segments segments;
    uint32_t version; /* grows when the segments become others */
    double *seconds;  /* (n_ops) that the segments of a run took */
    struct take takes[BACKEND_STARTED];
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

/* What is being recorded, and how much so far. */
struct recording {
    struct vk_backend *backend;
    VkCommandBuffer commands;
    VkPipeline bound;
    uint32_t next_pack;
    uint64_t dispatches, barriers;
};

static void record_dispatch(struct recording *recording, VkPipeline pipeline, const void *args,
                            uint32_t bytes, const uint32_t groups[3])
{
    const struct vk_backend *backend = recording->backend;
    const struct vk_functions *vk = &backend->device.instance.vk;
    if (pipeline != recording->bound) {
        recording->bound = pipeline;
        vk->CmdBindPipeline(recording->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    }
    vk->CmdPushConstants(recording->commands, backend->pipelines.layout,
                         VK_SHADER_STAGE_COMPUTE_BIT, 0, bytes, args);
    vk->CmdDispatch(recording->commands, groups[0], groups[1], groups[2]);
    recording->dispatches++;
}

/* The packs that the step of op `index`, its first, begins with. */
static void record_packs(struct recording *recording, const struct program *program, uint32_t index)
{
    const struct vk_packs *packs = &program->packs;
    uint32_t first = recording->next_pack;
    while (first < packs->n && packs->packs[first].op < index) {
        first++;
    }
    uint32_t i = first;
    for (; i < packs->n && packs->packs[i].op == index; i++) {
        const struct vk_pack *pack = &packs->packs[i];
        record_dispatch(recording, program->pack_pipelines[pack->format], &pack->args,
                        sizeof(pack->args), pack->groups);
    }
    recording->next_pack = i;
    if (i > first) {
        vk_record_barrier(recording->backend, recording->commands);
        recording->barriers++;
    }
}

static void record_op(struct recording *recording, const struct program *program, uint32_t index)
{
    const struct op *op = &program->list->ops[index];
    uint8_t args[OP_MAX_ARGS_BYTES];
    vk_packs_args(&program->packs, op, index, args);
    record_packs(recording, program, index);
    record_dispatch(recording, program->pipelines[index], args, op_args_bytes(op->kind),
                    program->plans[index].groups);
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
static bool prepare_segments(struct vk_backend *backend, const struct program *program,
                             struct take *take, struct error *err)
{
    uint32_t n = program->segments.n, n_ops = program->list->n_ops;
    if (!take->commands) {
        take->commands = calloc(n_ops, sizeof(*take->commands));
        take->values = calloc(n_ops, sizeof(*take->values));
        if (!take->commands || !take->values) {
            free(take->commands);
            free(take->values);
            take->commands = NULL;
            take->values = NULL;
            return error_set(err, "not enough memory for a program of %u ops", n_ops);
        }
    }
    if (n > take->n_commands) {
        if (!allocate_commands(backend, take->commands + take->n_commands, n - take->n_commands,
                               err)) {
            return false;
        }
        take->n_commands = n;
    }
    if (take->timed && n > take->stopwatch.n) {
        vk_stopwatch_destroy(backend, &take->stopwatch);
        return vk_stopwatch_create(backend, &take->stopwatch, n, err);
    }
    return true;
}

static bool record_segment(struct vk_backend *backend, const struct program *program,
                           struct take *take, uint32_t segment, struct error *err)
{
    const struct vk_segments *segments = &program->segments;
    VkCommandBuffer commands = take->commands[segment];
    struct recording recording = {.backend = backend, .commands = commands};
    uint32_t first = segment ? segments->ends[segment - 1] : 0;
    if (!vk_commands_begin(backend, commands, false, err)) {
        return false;
    }
    if (take->timed) {
        vk_stopwatch_start(backend, &take->stopwatch, commands, segment);
    }
    for (uint32_t i = first; i < segments->ends[segment]; i++) {
        if (segments->may_cut[i] && i > first) {
            vk_record_barrier(backend, commands);
            recording.barriers++;
        }
        record_op(&recording, program, i);
    }
    take->dispatches += recording.dispatches;
    if (take->timed) {
        vk_stopwatch_stop(backend, &take->stopwatch, commands, segment);
    }
    take->barriers += recording.barriers + 1; /* the one that ends it */
    return vk_commands_end(backend, commands, err);
}

static bool record(struct vk_backend *backend, const struct program *program, struct take *take,
                   bool timed, struct error *err)
{
    take->dispatches = take->barriers = 0;
    take->version = 0;
    take->n = program->segments.n;
    take->timed = timed;
    bool ok = prepare_segments(backend, program, take, err);
    for (uint32_t i = 0; ok && i < take->n; i++) {
        ok = record_segment(backend, program, take, i, err);
    }
    take->version = ok ? program->version : 0;
    return ok;
}

static void plan_ops(const struct op_list *list, const struct vk_caps *caps, struct vk_plan *plans)
{
    for (uint32_t i = 0; i < list->n_ops; i++) {
        struct vk_plan *plan = &plans[i];
        vk_plan_op(&list->ops[i], caps, plan);
        for (uint32_t d = 0; d < 3; d++) {
            assert(plan->groups[d] > 0 && plan->groups[d] <= caps->max_groups[d]);
        }
    }
}

/* Packs, their memory and their pipelines. *fits: there was memory. */
static bool make_packs(struct vk_backend *backend, struct program *program, bool *fits,
                       struct error *err)
{
    struct vk_packs *packs = &program->packs;
    struct vk_plan plans[VK_PACK_FORMATS];
    *fits = true;
    if (!vk_packs_init(packs, program->list, program->plans, program->segments.may_cut, err)) {
        return false;
    }
    if (packs->n == 0) {
        return true;
    }
    *fits =
        vk_memory_create_buffer(backend, packs->bytes, BUFFER_ACTIVATIONS, &program->scratch, NULL);
    if (!*fits) {
        vk_packs_free(packs);
        return true;
    }
    vk_packs_bind(packs, program->scratch.address);
    for (uint32_t i = VK_PACK_NONE + 1; i < VK_PACK_FORMATS; i++) {
        vk_plan_pack((enum vk_pack_format)i, &backend->device.physical.caps, &plans[i]);
    }
    return vk_pipelines_get(&backend->device, &backend->pipelines, plans + VK_PACK_NONE + 1,
                            VK_PACK_FORMATS - 1, program->pack_pipelines + VK_PACK_NONE + 1, err);
}

/* Without memory for packed vectors, products read them as they are. */
static bool make_pipelines(struct vk_backend *backend, struct program *program, struct error *err)
{
    struct vk_caps caps = backend->device.physical.caps;
    bool fits = false;
    while (!fits) {
        plan_ops(program->list, &caps, program->plans);
        if (!make_packs(backend, program, &fits, err)) {
            return false;
        }
        caps.tuning.matmul_arithmetic = caps.tuning.matvec_arithmetic = 1;
    }
    return vk_pipelines_get(&backend->device, &backend->pipelines, program->plans,
                            program->list->n_ops, program->pipelines, err);
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
                                    .version = 1,
                                    .seconds = calloc(list->n_ops, sizeof(*program->seconds))};
    }
    if (!program || !program->plans || !program->pipelines || !program->seconds) {
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
    if (!ok || !make_pipelines(backend, program, err) ||
        !record(backend, program, &program->takes[0], program->segments.n > 1, err)) {
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
    for (uint32_t i = 0; i < BACKEND_STARTED; i++) {
        struct take *take = &program->takes[i];
        if (take->n_commands) {
            device->instance.vk.FreeCommandBuffers(device->handle, backend->commands.pool,
                                                   take->n_commands, take->commands);
        }
        vk_stopwatch_destroy(backend, &take->stopwatch);
        free(take->commands);
        free(take->values);
    }
    vk_segments_free(&program->segments);
    vk_packs_free(&program->packs);
    vk_memory_destroy_buffer(backend, &program->scratch);
    free(program->plans);
    free(program->pipelines);
    free(program->seconds);
    free(program);
}

/* ---- running ---- */

/* What each segment took: by the device's clock; else by the host's, between the ends of one and of
 * the next. */
static bool read_seconds(struct vk_backend *backend, const struct take *take, double *seconds,
                         struct error *err)
{
    double started = take->started;
    bool by_device = take->timed && take->stopwatch.pool;
    for (uint32_t i = 0; i < take->n && !by_device; i++) {
        if (!vk_commands_wait(backend, take->values[i], err)) {
            return false;
        }
        double now = vk_clock();
        seconds[i] = now - started;
        started = now;
    }
    if (by_device && !vk_commands_wait(backend, take->values[take->n - 1], err)) {
        return false;
    }
    double elapsed = vk_clock() - started;
    for (uint32_t i = 0; i < take->n && by_device; i++) {
        if (!vk_stopwatch_read(backend, &take->stopwatch, i, &seconds[i], err)) {
            return false;
        }
        /* No clock of a broken driver makes it longer than it was. */
        seconds[i] = fmin(seconds[i], elapsed);
    }
    return true;
}

/* Records what is not recorded yet, and submits. */
static bool submit(struct vk_backend *backend, const struct program *program, struct take *take,
                   bool timed, struct error *err)
{
    bool recorded = take->version == program->version && (take->timed || !timed);
    if (!recorded && !record(backend, program, take, timed, err)) {
        return false;
    }
    take->started = vk_clock();
    for (uint32_t i = 0; i < take->n; i++) {
        if (!vk_commands_submit(backend, take->commands[i], &take->values[i], err)) {
            return false;
        }
    }
    backend->counts.dispatches += take->dispatches;
    backend->counts.barriers += take->barriers;
    return true;
}

/* Runs of segments that are others by now teach nothing. */
static void learn(struct program *program, const struct take *take)
{
    if (take->version == program->version &&
        vk_segments_learn(&program->segments, program->seconds)) {
        program->version++;
    }
}

bool vk_program_run(struct vk_backend *backend, struct program *program, struct error *err)
{
    struct take *take = &program->takes[0];
    assert(!take->under_way);
    if (!submit(backend, program, take, program->segments.n > 1, err) ||
        !read_seconds(backend, take, program->seconds, err)) {
        return false;
    }
    learn(program, take);
    return true;
}

/* After a failure nothing is under way. */
static bool abandon(struct vk_backend *backend, struct program *program)
{
    vk_commands_settle(backend);
    for (uint32_t i = 0; i < BACKEND_STARTED; i++) {
        program->takes[i].under_way = false;
    }
    return false;
}

/* The host may look at the end of a started run at any time: only the device's clock tells how long
 * it took. */
bool vk_program_start(struct vk_backend *backend, struct program *program, uint64_t *ticket,
                      struct error *err)
{
    uint32_t i = 0;
    while (program->takes[i].under_way) {
        i++;
        assert(i < BACKEND_STARTED);
    }
    program->takes[i].under_way = submit(backend, program, &program->takes[i], true, err);
    *ticket = i;
    return program->takes[i].under_way || abandon(backend, program);
}

bool vk_program_finish(struct vk_backend *backend, struct program *program, uint64_t ticket,
                       struct error *err)
{
    assert(ticket < BACKEND_STARTED && program->takes[ticket].under_way);
    struct take *take = &program->takes[ticket];
    take->under_way = false;
    if (!vk_commands_wait(backend, take->values[take->n - 1], err)) {
        return abandon(backend, program);
    }
    if (take->stopwatch.pool) {
        if (!read_seconds(backend, take, program->seconds, err)) {
            return abandon(backend, program);
        }
        learn(program, take);
    }
    return true;
}

/* ---- profile ---- */

/* Runs ops [first, end) one after the other, each timed. */
static bool profile_ops(struct vk_backend *backend, const struct program *program,
                        VkCommandBuffer commands, const struct vk_stopwatch *stopwatch,
                        const uint32_t range[2], double *seconds, struct error *err)
{
    struct recording recording = {.backend = backend, .commands = commands};
    uint64_t value;
    if (!vk_commands_begin(backend, commands, true, err)) {
        return false;
    }
    for (uint32_t i = range[0]; i < range[1]; i++) {
        vk_stopwatch_start(backend, stopwatch, commands, i);
        record_op(&recording, program, i);
        vk_record_barrier(backend, commands);
        vk_stopwatch_stop(backend, stopwatch, commands, i);
    }
    backend->counts.dispatches += recording.dispatches;
    backend->counts.barriers += recording.barriers + range[1] - range[0] + 1;
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
