/* A pool of threads for loops over independent items.
 *
 * Workers spin briefly for the next loop, then sleep. Running a loop allocates nothing. One loop
 * runs at a time, started from one thread, which works along.
 */
#pragma once

#include <stdint.h>

#include "format/error.h"

struct thread_pool;

/* Far more than any machine has cores for; a larger wish is a mistake. */
#define THREAD_POOL_MAX_THREADS 1024

/* n_threads counts the calling thread; 0 means one per core this process may use. */
struct thread_pool *thread_pool_create(uint32_t n_threads, struct error *err);
void thread_pool_destroy(struct thread_pool **pool);
uint32_t thread_pool_size(const struct thread_pool *pool);

/* Calls fn(context, begin, end, thread) on ranges that cover [0, n) once, each at most `grain` long
 * (grain >= 1), thread < thread_pool_size. Returns when all are done. pool may be NULL: then the
 * caller does everything. */
typedef void (*thread_fn)(void *context, uint64_t begin, uint64_t end, uint32_t thread);
void thread_pool_for(struct thread_pool *pool, uint64_t n, uint64_t grain, thread_fn fn,
                     void *context);
