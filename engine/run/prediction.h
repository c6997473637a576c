/* How long a list of ops should take on a device: a model of limits, with nothing fitted to models.
 *
 *     list = sum of ops + steps * latency of a step + latency of a submit
 *     op   = max(bytes / read bandwidth, operations / rate of its products, or its own time alone)
 *
 * Bytes and operations are op_cost's. The read bandwidth is the measured one for the size of what
 * is read over and over (the weights of the whole model decide whether they come from a cache or
 * from memory; activations are small). The rate of products is measured here, by type, columns and
 * number of vectors: matrices of our own, as many as the model is large, are multiplied one after
 * another, so that what the arithmetic of a type adds to reading it is in. Attention is measured as
 * the list's own op over few positions, and small ops, which latency and not bytes decide, alone.
 * What the model leaves out: that neighbouring steps warm each other's caches, and that threads end
 * a step unevenly.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/op/backend.h"
#include "engine/op/op.h"
#include "engine/op/op_cost.h"
#include "format/error.h"

struct prediction;

/* For a model of so many bytes of weights; takes some memory (at most 256 MiB and a bit). What is
 * needed is measured when it is needed first, some milliseconds each. The back end must outlive it.
 */
struct prediction *prediction_create(struct backend *backend, uint64_t resident_bytes,
                                     struct error *err);
/* NULL is fine. Sets *prediction to NULL. */
void prediction_destroy(struct prediction **prediction);

/* Of one run of a bound list for n tokens, the first at `position`. loads: how the experts of every
 * router of the list (op_loads_at) share the tokens; NULL: evenly. Runs ops of the list that only
 * write activations, which are lost. */
bool prediction_of_list(struct prediction *prediction, const struct op_list *list, uint32_t n,
                        uint32_t position, const struct op_loads *loads,
                        const struct backend_peaks *peaks, double *seconds, struct error *err);
