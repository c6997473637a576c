/* Buffers of the CPU: anonymous memory.
 *
 * Weights come out of large regions, because decoding reads all of them once a token: in small
 * pages that costs up to a third of the bandwidth (their table entries fit no cache, and processors
 * do not read ahead across the end of a page), and a single expert's slab does not fill a large
 * one. A region is given back with its last buffer. Every other buffer has a mapping of its own.
 */
#pragma once

#include <stdint.h>

#include "engine/op/backend.h"

struct cpu_memory {
    struct cpu_region *region; /* from which weights are taken; NULL: none yet */
    uint64_t used;             /* bytes of all buffers */
};

bool cpu_memory_create(struct cpu_memory *memory, uint64_t bytes, enum buffer_use use,
                       struct buffer *buffer, struct error *err);
/* An imported buffer (internal is NULL) has no memory of its own. */
void cpu_memory_destroy(struct cpu_memory *memory, struct buffer *buffer);

uint64_t cpu_memory_total(void);
/* What the kernel says can be taken without swapping; all of it where there is no such figure. */
uint64_t cpu_memory_available(void);
