/* The CPU as a back end: buffers are host memory, a program is its list and scratch memory sized
 * once for the largest op, a run walks the ops.
 */
#include "engine/cpu/cpu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_internal.h"

struct cpu_backend {
    struct backend backend; /* first, so that the pointers convert */
    struct thread_pool *pool;
    struct cpu_level level;
    struct backend_counts counts;
    uint64_t used;
};

struct program {
    const struct op_list *list;
    uint8_t *scratch;
};

static struct cpu_backend *cpu_of(struct backend *backend)
{
    return (struct cpu_backend *)backend;
}

/* Imported memory needs what a weight row needs. */
#define IMPORT_ALIGN DTYPE_ROW_ALIGN
#define SCRATCH_ALIGN 64

static uint64_t memory_total(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What the kernel says can be taken without swapping; all of it where there is no such figure. */
static uint64_t memory_available(void)
{
    uint64_t kilobytes = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) {
        return memory_total();
    }
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "MemAvailable: %" SCNu64, &kilobytes) == 1) {
            break;
        }
    }
    fclose(file);
    return kilobytes > 0 ? kilobytes * 1024 : memory_total();
}

/* Pages come from the system one by one as they are touched, zeroed: a large cache that is never
 * filled costs nothing. */
static bool cpu_buffer_create(struct backend *backend, uint64_t bytes, enum buffer_use use,
                              struct buffer *buffer, struct error *err)
{
    uint64_t available = memory_available();
    *buffer = (struct buffer){0};
    if (bytes > available) {
        return error_set(err,
                         "a buffer of %" PRIu64 " MiB does not fit into memory (%" PRIu64
                         " MiB are available); use a smaller model or context",
                         bytes >> 20, available >> 20);
    }
    uint64_t mapped = bytes > 0 ? bytes : 1;
    void *memory = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return error_set(err, "cannot get a buffer of %" PRIu64 " MiB: %s", bytes >> 20,
                         strerror(errno));
    }
    *buffer = (struct buffer){(uintptr_t)memory, bytes, memory};
    cpu_of(backend)->used += bytes;
    return true;
}

/* An imported buffer has no memory of its own. */
static void cpu_buffer_destroy(struct backend *backend, struct buffer *buffer)
{
    if (buffer->internal) {
        munmap(buffer->internal, buffer->bytes > 0 ? buffer->bytes : 1);
        cpu_of(backend)->used -= buffer->bytes;
    }
    *buffer = (struct buffer){0};
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
        free(program->scratch);
        free(program);
    }
}

static struct program *cpu_program_create(struct backend *backend, const struct op_list *list,
                                          struct error *err)
{
    const struct cpu_level *level = &cpu_of(backend)->level;
    uint64_t scratch = SCRATCH_ALIGN;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        uint64_t bytes = cpu_ops[list->ops[i].kind].scratch_bytes(level, &list->ops[i]);
        scratch = bytes > scratch ? bytes : scratch;
    }
    scratch = (scratch + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    struct program *program = calloc(1, sizeof(*program));
    if (program) {
        program->list = list;
        program->scratch = aligned_alloc(SCRATCH_ALIGN, scratch);
    }
    if (!program || !program->scratch) {
        cpu_program_destroy(backend, program);
        error_set(err,
                  "not enough memory: the CPU needs %" PRIu64
                  " MiB of scratch for chunks of %" PRIu32 " tokens",
                  scratch >> 20, list->max_tokens);
        return NULL;
    }
    return program;
}

static bool cpu_run_program(struct backend *backend, struct program *program, struct error *err)
{
    struct cpu_backend *cpu = cpu_of(backend);
    struct cpu_run run = {cpu->pool, &cpu->level, program->scratch};
    for (uint32_t i = 0; i < program->list->n_ops; i++) {
        const struct op *op = &program->list->ops[i];
        cpu_ops[op->kind].run(&run, op);
    }
    cpu->counts.submits++;
    cpu->counts.dispatches += program->list->n_ops;
    return true;
}

static void cpu_counts(struct backend *backend, struct backend_counts *counts)
{
    *counts = cpu_of(backend)->counts;
}

static void cpu_memory(struct backend *backend, struct backend_memory *memory)
{
    *memory = (struct backend_memory){
        .total = memory_total(),
        .available = memory_available(),
        .used = cpu_of(backend)->used,
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
};

struct backend *cpu_backend_create(uint32_t n_threads, struct error *err)
{
    struct cpu_backend *cpu = calloc(1, sizeof(*cpu));
    if (!cpu) {
        error_set(err, "not enough memory for the CPU back end");
        return NULL;
    }
    cpu->backend.functions = &cpu_functions;
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
