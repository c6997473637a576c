/* A pool of threads for loops over independent items.
 *
 * Every thread begins with a stretch of its own, front to back; when that is done it takes from the
 * back of others' stretches. Workers spin briefly for the next loop, then sleep; they do not spin
 * where there are more threads than processors. Running a loop allocates nothing. One loop runs at
 * a time, started from one thread, which works along.
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
 * (grain >= 1, n / grain < 2^32), thread < thread_pool_size. Returns when all are done. pool may be
 * NULL: then the caller does everything. */
typedef void (*thread_fn)(void *context, uint64_t begin, uint64_t end, uint32_t thread);
void thread_pool_for(struct thread_pool *pool, uint64_t n, uint64_t grain, thread_fn fn,
                     void *context);

/* The same one item at a time, with a say in who does what: thread t begins with items [starts[t],
 * starts[t + 1]). starts: (thread_pool_size + 1), from 0 to n < 2^32, never falling. */
void thread_pool_share(struct thread_pool *pool, const uint64_t *starts, thread_fn fn,
                       void *context);
