/* Carrying out a plan: from any source to a .moxie file.
 *
 * Threads share the rows of some 64 MiB of matrices at a time while one more thread writes those
 * before; in memory are three such batches (one, if a single matrix is larger), whatever the size
 * of the source. The bytes written do not depend on the number of threads, nor on time or place:
 * the same source and rules give the same file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/conversion_plan.h"
#include "format/error.h"
#include "format/model_writer.h"

/* What goes into the file beside the weights. */
struct conversion_options {
    enum compress compress;
    const char *name;      /* of the model; NULL: the source's */
    const char *converter; /* for the metadata: program and version */
};

/* Fills `target` (item->bytes long) with the item's matrix or slab: a bit-for-bit copy where source
 * and target type agree, else decoded and encoded. `pool` may be NULL. */
bool conversion_item_make(const struct conversion_plan *plan, const struct conversion_item *item,
                          struct thread_pool *pool, void *target, struct error *err);

/* The head of the file that conversion_run would write, as an open file in memory without weights:
 * its length is that of the file (compression would make it smaller). */
bool conversion_open_planned(const struct conversion_plan *plan,
                             const struct conversion_options *options, struct model_file *file,
                             struct error *err);

/* Writes the file at `path`. On failure, and when stopped, what stood there before is untouched and
 * no temporary file is left. *file_bytes may be NULL. */
bool conversion_run(const struct conversion_plan *plan, const char *path,
                    const struct conversion_options *options, const struct conversion_work *work,
                    uint64_t *file_bytes, struct error *err);
