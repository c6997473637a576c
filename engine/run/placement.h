/* Where weights live: gives every weight and every expert slab of a model an address on a back end.
 *
 * In this version everything lives on one back end. The plan is made before anything is allocated,
 * so that a model that does not fit is refused with the two numbers rather than failing half-way.
 * Raw tensors are used in place where the back end imports host memory, in a few large pieces of
 * the mapped file, which is read ahead if it fits into memory; where it refuses, they are copied.
 * Compressed ones are decoded on their way.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/op/backend.h"
#include "engine/op/weight.h"
#include "format/error.h"
#include "format/model_file.h"

/* What is to be placed; the arrays are the caller's and the weights' tensors get their addresses.
 */
struct placement_request {
    struct weight **weights;
    uint32_t n_weights;
    struct expert_set **experts;
    uint32_t n_experts;
    uint64_t session_bytes; /* to be left free for the session that will follow */
    /* Called with bytes done and in all; may be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
};

struct placement;

/* The file must outlive the placement, and the placement the programs that use its addresses. */
struct placement *placement_create(struct backend *backend, const struct model_file *file,
                                   const struct placement_request *request, struct error *err);
void placement_destroy(struct placement **placement);
