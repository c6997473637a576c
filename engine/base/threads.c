/* The pool: a loop is open or closed, and a worker joins it only while it is open.
 *
 * `state` is odd while a loop is open. A worker first counts itself into `joined`, then looks at
 * `state`; the caller first closes the loop, then waits until nobody is joined. All four are
 * sequentially consistent, so either the worker sees the loop closed and leaves it alone, or the
 * caller sees the worker and waits for it. A worker that the system has not scheduled never joins,
 * and nobody waits for it. Ranges are handed out by one counter.
 */
#include "engine/base/threads.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* About 50 us: longer than the gap between two ops, shorter than anybody pays for. */
#define SPINS_BEFORE_SLEEP 2000
#define SPINS_BEFORE_YIELD 200
#define CACHE_LINE 64

struct worker {
    struct thread_pool *pool;
    pthread_t thread;
    uint32_t index;
};

struct thread_pool {
    uint32_t n_threads;
    struct worker *workers; /* n_threads - 1 */
    uint32_t n_workers;     /* started */

    /* The open loop. Written only while it is closed and nobody is joined. */
    uint64_t n, grain;
    thread_fn fn;
    void *context;

    _Alignas(CACHE_LINE) atomic_uint_fast64_t next;
    _Alignas(CACHE_LINE) atomic_uint_fast64_t state;
    _Alignas(CACHE_LINE) atomic_uint joined;
    _Alignas(CACHE_LINE) atomic_uint sleepers;
    atomic_bool quit;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_ranges(struct thread_pool *pool, uint32_t thread)
{
    for (;;) {
        uint64_t begin = atomic_fetch_add(&pool->next, pool->grain);
        if (begin >= pool->n) {
            return;
        }
        uint64_t left = pool->n - begin;
        pool->fn(pool->context, begin, begin + (left < pool->grain ? left : pool->grain), thread);
    }
}

/* Returns when the state is no longer `seen` or the pool is to end. */
static void wait_for_change(struct thread_pool *pool, uint64_t seen)
{
    for (uint32_t i = 0; i < SPINS_BEFORE_SLEEP; i++) {
        if (atomic_load(&pool->state) != seen || atomic_load(&pool->quit)) {
            return;
        }
        pause_briefly();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->state) == seen && !atomic_load(&pool->quit)) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct thread_pool *pool = worker->pool;
    while (!atomic_load(&pool->quit)) {
        atomic_fetch_add(&pool->joined, 1);
        uint64_t state = atomic_load(&pool->state);
        if (state & 1) {
            take_ranges(pool, worker->index);
        }
        atomic_fetch_sub(&pool->joined, 1);
        wait_for_change(pool, state);
    }
    return NULL;
}

static void wake_sleepers(struct thread_pool *pool)
{
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

#ifdef __linux__
/* First number in the list of hardware threads that share a core with `cpu`; `cpu` if unknown. */
static int first_sibling(int cpu)
{
    char path[128];
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
             cpu);
    int first = cpu;
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%d", &first) != 1) {
            first = cpu;
        }
        fclose(file);
    }
    return first;
}

/* Cores, not hardware threads: two threads of one core share the units that a dot product fills. */
static uint32_t count_cores(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        return 1;
    }
    uint32_t n = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) {
            int first = first_sibling(cpu);
            bool counted = first >= 0 && first < cpu && CPU_ISSET(first, &allowed);
            n += !counted;
        }
    }
    return n > 0 ? n : 1;
}
#else
static uint32_t count_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}
#endif

struct thread_pool *thread_pool_create(uint32_t n_threads, struct error *err)
{
    if (n_threads == 0) {
        n_threads = count_cores();
    }
    if (n_threads > THREAD_POOL_MAX_THREADS) {
        error_set(err, "%" PRIu32 " threads are too many: at most %d", n_threads,
                  THREAD_POOL_MAX_THREADS);
        return NULL;
    }
    struct thread_pool *pool = aligned_alloc(CACHE_LINE, sizeof(*pool));
    struct worker *workers = calloc(n_threads, sizeof(*workers));
    if (!pool || !workers) {
        free(pool);
        free(workers);
        error_set(err, "not enough memory for %" PRIu32 " threads", n_threads);
        return NULL;
    }
    memset(pool, 0, sizeof(*pool));
    pool->n_threads = n_threads;
    pool->workers = workers;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (uint32_t i = 0; i + 1 < n_threads; i++) {
        struct worker *worker = &workers[i];
        *worker = (struct worker){.pool = pool, .index = i + 1};
        int code = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (code != 0) {
            error_set(err, "cannot start thread %" PRIu32 " of %" PRIu32 ": %s; use fewer threads",
                      i + 2, n_threads, strerror(code));
            thread_pool_destroy(&pool);
            return NULL;
        }
        pool->n_workers++;
    }
    return pool;
}

void thread_pool_destroy(struct thread_pool **pool_pointer)
{
    struct thread_pool *pool = *pool_pointer;
    *pool_pointer = NULL;
    if (!pool) {
        return;
    }
    atomic_store(&pool->quit, true);
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->n_workers; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->workers);
    free(pool);
}

uint32_t thread_pool_size(const struct thread_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

static void run_alone(uint64_t n, uint64_t grain, thread_fn fn, void *context)
{
    for (uint64_t begin = 0; begin < n;) {
        uint64_t end = n - begin < grain ? n : begin + grain;
        fn(context, begin, end, 0);
        begin = end;
    }
}

void thread_pool_for(struct thread_pool *pool, uint64_t n, uint64_t grain, thread_fn fn,
                     void *context)
{
    assert(grain >= 1);
    /* The counter runs past n by at most one grain a thread; it must not wrap. */
    if (grain > n) {
        grain = n;
    }
    if (!pool || pool->n_threads == 1 || n == grain) {
        if (n > 0) {
            run_alone(n, grain, fn, context);
        }
        return;
    }
    assert(n <= UINT64_MAX / 4 / pool->n_threads && !(atomic_load(&pool->state) & 1));
    pool->n = n;
    pool->grain = grain;
    pool->fn = fn;
    pool->context = context;
    atomic_store(&pool->next, 0);
    atomic_fetch_add(&pool->state, 1);
    wake_sleepers(pool);
    take_ranges(pool, 0);
    atomic_fetch_add(&pool->state, 1);
    for (uint32_t spins = 0; atomic_load(&pool->joined) != 0; spins++) {
        if (spins < SPINS_BEFORE_YIELD) {
            pause_briefly();
        } else {
            sched_yield();
        }
    }
}
