#include "engine/cpu/cpu_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Address space; pages are taken as they are touched. */
#define REGION_BYTES (UINT64_C(1) << 30)
#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)
#define BUFFER_ALIGN UINT64_C(4096) /* the interface asks for 256 */

/* What buffer.internal is: a mapping, and how many buffers lie in it. */
struct cpu_region {
    uint8_t *memory;
    uint64_t bytes, taken;
    uint64_t n_buffers;
};

uint64_t cpu_memory_total(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t cpu_memory_available(void)
{
    uint64_t kilobytes = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) {
        return cpu_memory_total();
    }
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "MemAvailable: %" SCNu64, &kilobytes) == 1) {
            break;
        }
    }
    fclose(file);
    return kilobytes > 0 ? kilobytes * 1024 : cpu_memory_total();
}

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
    return (bytes + to - 1) / to * to;
}

/* Pages come from the system one by one as they are touched, zeroed: a large cache that is never
 * filled costs nothing. */
static struct cpu_region *region_create(uint64_t bytes, bool huge_pages)
{
    struct cpu_region *region = calloc(1, sizeof(*region));
    if (!region) {
        return NULL;
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        int code = errno;
        free(region);
        errno = code;
        return NULL;
    }
    *region = (struct cpu_region){.memory = memory, .bytes = bytes};
#ifdef MADV_HUGEPAGE
    if (huge_pages) {
        madvise(memory, bytes, MADV_HUGEPAGE); /* a hint */
        region->taken = -(uintptr_t)memory % HUGE_PAGE_BYTES;
    }
#endif
    return region;
}

static void region_destroy(struct cpu_region *region)
{
    munmap(region->memory, region->bytes);
    free(region);
}

/* The region that has room for `bytes` (a multiple of BUFFER_ALIGN). */
static struct cpu_region *region_for(struct cpu_memory *memory, uint64_t bytes, enum buffer_use use)
{
    if (use != BUFFER_WEIGHTS) {
        return region_create(bytes, false);
    }
    struct cpu_region *region = memory->region;
    if (region && bytes <= region->bytes - region->taken) {
        return region;
    }
    uint64_t wanted = round_up(bytes + HUGE_PAGE_BYTES, HUGE_PAGE_BYTES);
    region = region_create(wanted > REGION_BYTES ? wanted : REGION_BYTES, true);
    memory->region = region ? region : memory->region;
    return region;
}

bool cpu_memory_create(struct cpu_memory *memory, uint64_t bytes, enum buffer_use use,
                       struct buffer *buffer, struct error *err)
{
    uint64_t available = cpu_memory_available();
    *buffer = (struct buffer){0};
    if (bytes > available) {
        return error_set(err,
                         "a buffer of %" PRIu64 " MiB does not fit into memory (%" PRIu64
                         " MiB are available); use a smaller model or context",
                         bytes >> 20, available >> 20);
    }
    uint64_t mapped = round_up(bytes > 0 ? bytes : 1, BUFFER_ALIGN);
    struct cpu_region *region = region_for(memory, mapped, use);
    if (!region) {
        return error_set(err, "cannot get a buffer of %" PRIu64 " MiB: %s", bytes >> 20,
                         strerror(errno));
    }
    *buffer = (struct buffer){(uintptr_t)region->memory + region->taken, bytes, region};
    region->taken += mapped;
    region->n_buffers++;
    memory->used += bytes;
    return true;
}

void cpu_memory_destroy(struct cpu_memory *memory, struct buffer *buffer)
{
    struct cpu_region *region = buffer->internal;
    if (region) {
        memory->used -= buffer->bytes;
        region->n_buffers--;
        if (region->n_buffers == 0) {
            memory->region = memory->region == region ? NULL : memory->region;
            region_destroy(region);
        }
    }
    *buffer = (struct buffer){0};
}
