/* How long a list of ops should take on a device: a sum over ops of what each takes at least.
 *
 *     list = sum of ops + steps * latency of a step + latency of a submit
 *     op   = fixed seconds + operations * seconds of an operation, but no less than
 *            bytes / read bandwidth where these seconds were not measured with weights from memory
 *
 * Bytes and operations are op_cost's; the read bandwidth is the measured one for the size of what
 * is read over and over: the weights of the whole model decide whether they come from a cache or
 * from memory. What an operation takes is measured here on the back end's own kernels, by kind,
 * type, shape and number of tokens, never on the model: with weights of ours, as many as the model
 * has, one matrix after another, so that what the arithmetic of a type adds to reading it is in.
 * Experts are measured with 1, 2, 4 ... tokens each, and an evaluation's are taken from between
 * these by how its experts share its tokens. Attention has a fixed part and a part for what it
 * sees, from two short contexts, with caches of ours; other ops are measured alone.
 *
 * What a machine can do changes within seconds while others use it. So everything is measured again
 * and again, a few milliseconds each in turns, alternating with what a prediction is compared with,
 * and it is averages that count, interruptions included: those of the other side are, too.
 *
 * What is left out: that neighbouring steps warm or cool each other's caches and code, and that
 * threads end a step unevenly.
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
 * needed is measured when it is needed first, some milliseconds each. The back end, and what the
 * ops of predicted lists point to, must outlive it. */
struct prediction *prediction_create(struct backend *backend, uint64_t resident_bytes,
                                     struct error *err);
/* NULL is fine. Sets *prediction to NULL. */
void prediction_destroy(struct prediction **prediction);

/* Measures again, in turns, for about so many seconds (at least one turn), what the last
 * predictions were made of: the device (backend_functions.peaks_again, into peaks) and the ops.
 * Predictions from now on are about the average; fresh: of what is measured from now on only. */
bool prediction_again(struct prediction *prediction, struct backend_peaks *peaks, bool fresh,
                      double seconds, struct error *err);

/* Of one run of a bound list for n tokens, the first at `position`. loads: how the experts of every
 * router of the list (op_loads_at) share the tokens; NULL: evenly. op_seconds: (list->n_ops) what
 * each op adds, or NULL. Runs ops of the list that only write activations, which are lost. */
bool prediction_of_list(struct prediction *prediction, const struct op_list *list, uint32_t n,
                        uint32_t position, const struct op_loads *loads,
                        const struct backend_peaks *peaks, double *seconds, double *op_seconds,
                        struct error *err);
