/* The CPU as a back end: buffers are host memory, a program is its list and scratch memory sized
 * once for the largest step, a run walks the steps: the ops of a step are one phase (cpu_phase.h).
 */
#include "engine/cpu/cpu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_internal.h"
#include "engine/cpu/cpu_item.h"
#include "engine/cpu/cpu_memory.h"
#include "engine/cpu/cpu_peaks.h"
#include "engine/cpu/cpu_phase.h"
#include "engine/op/op_steps.h"

struct cpu_backend {
    struct backend backend; /* first, so that the pointers convert */
    struct thread_pool *pool;
    struct cpu_level level;
    struct backend_counts counts;
    struct cpu_memory memory;
};

struct program {
    const struct op_list *list;
    uint32_t *step_of_op; /* op_list_steps */
    uint8_t *scratch;     /* of all ops of a step */
    struct cpu_phase phase;
};

static struct cpu_backend *cpu_of(struct backend *backend)
{
    return (struct cpu_backend *)backend;
}

/* Imported memory needs what a weight row needs. */
#define IMPORT_ALIGN DTYPE_ROW_ALIGN
#define SCRATCH_ALIGN 64

static bool cpu_buffer_create(struct backend *backend, uint64_t bytes, enum buffer_use use,
                              struct buffer *buffer, struct error *err)
{
    return cpu_memory_create(&cpu_of(backend)->memory, bytes, use, buffer, err);
}

static void cpu_buffer_destroy(struct backend *backend, struct buffer *buffer)
{
    cpu_memory_destroy(&cpu_of(backend)->memory, buffer);
}

static bool cpu_buffer_import(struct backend *backend, const void *host, uint64_t bytes,
                              struct buffer *buffer, struct error *err)
{
    if ((uintptr_t)host % IMPORT_ALIGN != 0) {
        return error_set(err, "memory to be used in place must be aligned to %d bytes",
                         IMPORT_ALIGN);
    }
    *buffer = (struct buffer){(uintptr_t)host, bytes, NULL};
    return true;
}

static bool cpu_write(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                      const void *source, uint64_t bytes, struct error *err)
{
    assert(offset <= buffer->bytes && bytes <= buffer->bytes - offset);
    if (bytes > 0) {
        memcpy((uint8_t *)cpu_pointer(buffer->address) + offset, source, bytes);
    }
    return true;
}

static bool cpu_read(struct backend *backend, const struct buffer *buffer, uint64_t offset,
                     void *destination, uint64_t bytes, struct error *err)
{
    assert(offset <= buffer->bytes && bytes <= buffer->bytes - offset);
    if (bytes > 0) {
        memcpy(destination, (const uint8_t *)cpu_pointer(buffer->address) + offset, bytes);
    }
    return true;
}

static void cpu_program_destroy(struct backend *backend, struct program *program)
{
    if (program) {
        cpu_phase_free(&program->phase);
        free(program->step_of_op);
        free(program->scratch);
        free(program);
    }
}

static uint64_t scratch_of(const struct cpu_level *level, const struct op *op)
{
    uint64_t bytes = cpu_ops[op->kind].scratch_bytes(level, op);
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

/* What the largest steps of a list need. */
struct step_needs {
    uint64_t scratch, rows_scratch;
    uint32_t n_ops;
};

static struct step_needs needs_of(const struct cpu_level *level, const struct program *program)
{
    struct step_needs needs = {.scratch = SCRATCH_ALIGN};
    const struct op_list *list = program->list;
    for (uint32_t i = 0, first = 0; i < list->n_ops; i++) {
        uint64_t scratch = 0;
        first = program->step_of_op[i] == program->step_of_op[first] ? first : i;
        for (uint32_t k = first; k <= i; k++) {
            scratch += scratch_of(level, &list->ops[k]);
        }
        uint64_t rows = cpu_item_rows_scratch(level, &list->ops[i]);
        needs.scratch = scratch > needs.scratch ? scratch : needs.scratch;
        needs.rows_scratch = rows > needs.rows_scratch ? rows : needs.rows_scratch;
        needs.n_ops = i + 1 - first > needs.n_ops ? i + 1 - first : needs.n_ops;
    }
    return needs;
}

static bool program_allocate(struct program *program, const struct cpu_backend *cpu,
                             uint64_t *bytes)
{
    program->step_of_op = calloc(program->list->n_ops, sizeof(*program->step_of_op));
    if (!program->step_of_op) {
        return false;
    }
    op_list_steps(program->list, program->step_of_op);
    struct step_needs needs = needs_of(&cpu->level, program);
    *bytes = needs.scratch;
    program->scratch = aligned_alloc(SCRATCH_ALIGN, needs.scratch);
    return program->scratch && cpu_phase_init(&program->phase, thread_pool_size(cpu->pool),
                                              needs.n_ops, needs.rows_scratch);
}

static struct program *cpu_program_create(struct backend *backend, const struct op_list *list,
                                          struct error *err)
{
    uint64_t bytes = 0;
    struct program *program = calloc(1, sizeof(*program));
    if (program) {
        program->list = list;
    }
    if (!program || !program_allocate(program, cpu_of(backend), &bytes)) {
        cpu_program_destroy(backend, program);
        error_set(err,
                  "not enough memory: the CPU needs %" PRIu64
                  " MiB of scratch for chunks of %" PRIu32 " tokens",
                  bytes >> 20, list->max_tokens);
        return NULL;
    }
    return program;
}

/* Runs ops [first, end), which do not wait for one another. */
static void run_step(struct cpu_backend *cpu, struct program *program, uint32_t first, uint32_t end)
{
    struct cpu_run run = {cpu->pool, &cpu->level, &program->phase, program->scratch};
    for (uint32_t i = first; i < end; i++) {
        const struct op *op = &program->list->ops[i];
        cpu_ops[op->kind].run(&run, op);
        run.scratch += scratch_of(&cpu->level, op);
    }
    cpu_phase_run(&program->phase, cpu->pool, &cpu->level);
}

static bool cpu_run_program(struct backend *backend, struct program *program, struct error *err)
{
    struct cpu_backend *cpu = cpu_of(backend);
    for (uint32_t first = 0, end; first < program->list->n_ops; first = end) {
        end = first + 1;
        while (end < program->list->n_ops &&
               program->step_of_op[end] == program->step_of_op[first]) {
            end++;
        }
        run_step(cpu, program, first, end);
    }
    cpu->counts.submits++;
    cpu->counts.dispatches += program->list->n_ops;
    return true;
}

static double seconds_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Every op is a phase of its own: what ops of one step share, they do not share here. */
static bool cpu_profile(struct backend *backend, struct program *program, double *seconds,
                        struct error *err)
{
    double before = seconds_now();
    for (uint32_t i = 0; i < program->list->n_ops; i++) {
        run_step(cpu_of(backend), program, i, i + 1);
        double after = seconds_now();
        seconds[i] = after - before;
        before = after;
    }
    return true;
}

static bool cpu_peaks(struct backend *backend, struct backend_peaks *peaks, struct error *err)
{
    return cpu_peaks_measure(backend, cpu_of(backend)->pool, peaks, err);
}

static bool cpu_peaks_again(struct backend *backend, const struct buffer *buffer, uint64_t bytes,
                            struct backend_peaks *peaks, struct error *err)
{
    cpu_peaks_measure_again(cpu_of(backend)->pool, buffer, bytes, peaks);
    return true;
}

static void cpu_counts(struct backend *backend, struct backend_counts *counts)
{
    *counts = cpu_of(backend)->counts;
}

static void cpu_memory(struct backend *backend, struct backend_memory *memory)
{
    *memory = (struct backend_memory){
        .total = cpu_memory_total(),
        .available = cpu_memory_available(),
        .used = cpu_of(backend)->memory.used,
    };
}

static void cpu_destroy(struct backend *backend)
{
    if (backend) {
        thread_pool_destroy(&cpu_of(backend)->pool);
        free(backend);
    }
}

static const struct backend_functions cpu_functions = {
    .buffer_create = cpu_buffer_create,
    .buffer_destroy = cpu_buffer_destroy,
    .buffer_import = cpu_buffer_import,
    .write = cpu_write,
    .read = cpu_read,
    .program_create = cpu_program_create,
    .program_destroy = cpu_program_destroy,
    .run = cpu_run_program,
    .counts = cpu_counts,
    .memory = cpu_memory,
    .destroy = cpu_destroy,
    .profile = cpu_profile,
    .peaks = cpu_peaks,
    .peaks_again = cpu_peaks_again,
};

struct backend *cpu_backend_create(uint32_t n_threads, struct error *err)
{
    struct cpu_backend *cpu = calloc(1, sizeof(*cpu));
    if (!cpu) {
        error_set(err, "not enough memory for the CPU back end");
        return NULL;
    }
    cpu->backend.functions = &cpu_functions;
    cpu->backend.chunk = 512;
    cpu->level = cpu_level_choose(cpu_features());
    cpu->pool = thread_pool_create(n_threads, err);
    if (!cpu->pool) {
        free(cpu);
        return NULL;
    }
    uint32_t threads = thread_pool_size(cpu->pool);
    snprintf(cpu->backend.name, sizeof(cpu->backend.name), "CPU, %s, %" PRIu32 " thread%s",
             cpu->level.name, threads, threads == 1 ? "" : "s");
    return &cpu->backend;
}
