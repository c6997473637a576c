/* Measures what this processor can do at most with the threads of a pool (engine/op/backend.h). */
#pragma once

#include "engine/base/threads.h"
#include "engine/op/backend.h"

/* About two seconds on an idle machine. `backend` is the CPU's own, for buffers as weights get
 * them.
 */
bool cpu_peaks_measure(struct backend *backend, struct thread_pool *pool,
                       struct backend_peaks *peaks, struct error *err);
/* As backend_functions.peaks_again has it. */
void cpu_peaks_measure_again(struct thread_pool *pool, const struct buffer *buffer, uint64_t bytes,
                             struct backend_peaks *peaks);
