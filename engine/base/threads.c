/* The pool: a loop is open or closed, and a worker joins it only while it is open.
 *
 * `state` is odd while a loop is open. A worker first counts itself into `joined`, then looks at
 * `state`; the caller first closes the loop, then waits until nobody is joined. Both are
 * sequentially consistent, so either the worker sees the loop closed and leaves it alone, or the
 * caller sees the worker and waits for it. A worker that the system has not scheduled never joins,
 * and nobody waits for it: others take its stretch.
 *
 * A stretch is two numbers in one word, so that its owner, who takes from the front, and others,
 * who take from the back, never take the same.
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
#include <time.h>
#include <unistd.h>

#include "engine/base/futex.h"

/* Longer than the gap between two loops, shorter than anybody pays for. */
#define SPIN_NANOSECONDS 50000
#define SPINS_PER_LOOK_AT_THE_CLOCK 32
#define CACHE_LINE 64

struct worker {
    struct thread_pool *pool;
    pthread_t thread;
    uint32_t index;
};

/* Grains [low half, high half) that nobody has taken. */
struct stretch {
    _Alignas(CACHE_LINE) _Atomic uint64_t grains;
};

struct thread_pool {
    uint32_t n_threads;
    uint64_t spin_nanoseconds; /* 0: sleep at once */
    struct worker *workers;    /* n_threads - 1 */
    uint32_t n_workers;        /* started */
    struct stretch *stretches; /* n_threads */

    /* The open loop. Written only while it is closed and nobody is joined. */
    uint64_t n, grain;
    thread_fn fn;
    void *context;

    _Alignas(CACHE_LINE) _Atomic uint32_t state;
    _Alignas(CACHE_LINE) _Atomic uint32_t joined;
    _Alignas(CACHE_LINE) _Atomic uint32_t sleepers;
    atomic_bool caller_sleeps, quit;
};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* ---- taking work ---- */

static uint64_t grains_of(uint32_t begin, uint32_t end)
{
    return (uint64_t)end << 32 | begin;
}

/* Takes one grain from the front or the back. */
static bool take_grain(struct stretch *stretch, bool front, uint32_t *grain)
{
    uint64_t seen = atomic_load_explicit(&stretch->grains, memory_order_relaxed);
    for (;;) {
        uint32_t begin = (uint32_t)seen, end = (uint32_t)(seen >> 32);
        if (begin >= end) {
            return false;
        }
        *grain = front ? begin : end - 1;
        uint64_t left = front ? grains_of(begin + 1, end) : grains_of(begin, end - 1);
        if (atomic_compare_exchange_weak(&stretch->grains, &seen, left)) {
            return true;
        }
    }
}

static void run_grain(const struct thread_pool *pool, uint32_t grain, uint32_t thread)
{
    uint64_t begin = grain * pool->grain;
    uint64_t left = pool->n - begin;
    pool->fn(pool->context, begin, begin + (left < pool->grain ? left : pool->grain), thread);
}

static void take_grains(struct thread_pool *pool, uint32_t thread)
{
    uint32_t grain;
    while (take_grain(&pool->stretches[thread], true, &grain)) {
        run_grain(pool, grain, thread);
    }
    for (uint32_t i = 1; i < pool->n_threads; i++) {
        struct stretch *other = &pool->stretches[(thread + i) % pool->n_threads];
        while (take_grain(other, false, &grain)) {
            run_grain(pool, grain, thread);
        }
    }
}

/* ---- waiting ---- */

/* Waits while *word is `seen`, spinning at first; what it is then. */
static uint32_t spin_while(const struct thread_pool *pool, _Atomic uint32_t *word, uint32_t seen)
{
    uint64_t begin = pool->spin_nanoseconds > 0 ? nanoseconds() : 0;
    do {
        for (uint32_t i = 0; i < SPINS_PER_LOOK_AT_THE_CLOCK; i++) {
            uint32_t value = atomic_load(word);
            if (value != seen) {
                return value;
            }
            pause_briefly();
        }
    } while (pool->spin_nanoseconds > 0 && nanoseconds() - begin < pool->spin_nanoseconds);
    return seen;
}

/* Returns when another loop than `seen` is open or the pool is to end. */
static void wait_for_loop(struct thread_pool *pool, uint32_t seen)
{
    while (!atomic_load(&pool->quit)) {
        uint32_t state = spin_while(pool, &pool->state, seen);
        if (state == seen) {
            atomic_fetch_add(&pool->sleepers, 1);
            while ((state = atomic_load(&pool->state)) == seen) {
                futex_wait(&pool->state, seen);
            }
            atomic_fetch_sub(&pool->sleepers, 1);
        }
        if (state & 1) {
            return;
        }
        seen = state;
    }
}

static void leave(struct thread_pool *pool)
{
    if (atomic_fetch_sub(&pool->joined, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
        futex_wake_all(&pool->joined);
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct thread_pool *pool = worker->pool;
    while (!atomic_load(&pool->quit)) {
        atomic_fetch_add(&pool->joined, 1);
        uint32_t state = atomic_load(&pool->state);
        if (state & 1) {
            take_grains(pool, worker->index);
        }
        leave(pool);
        wait_for_loop(pool, state);
    }
    return NULL;
}

static void open_loop(struct thread_pool *pool)
{
    atomic_fetch_add(&pool->state, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        futex_wake_all(&pool->state);
    }
}

/* Closes the loop and waits for those that work on it. */
static void close_loop(struct thread_pool *pool)
{
    atomic_fetch_add(&pool->state, 1);
    for (uint32_t joined; (joined = atomic_load(&pool->joined)) != 0;) {
        if (spin_while(pool, &pool->joined, joined) == joined) {
            atomic_store(&pool->caller_sleeps, true);
            while ((joined = atomic_load(&pool->joined)) != 0) {
                futex_wait(&pool->joined, joined);
            }
            atomic_store(&pool->caller_sleeps, false);
        }
    }
}

/* ---- the pool ---- */

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

static uint32_t count_processors(void)
{
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? (uint32_t)CPU_COUNT(&allowed) : 1;
}
#else
static uint32_t count_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

static uint32_t count_cores(void)
{
    return count_processors();
}
#endif

/* Fewer processors than threads: who spins keeps another from working. */
static uint64_t spin_nanoseconds(uint32_t n_threads)
{
    return n_threads <= count_processors() ? SPIN_NANOSECONDS : 0;
}

static struct thread_pool *pool_allocate(uint32_t n_threads)
{
    struct thread_pool *pool = aligned_alloc(CACHE_LINE, sizeof(*pool));
    struct worker *workers = calloc(n_threads, sizeof(*workers));
    struct stretch *stretches = aligned_alloc(CACHE_LINE, n_threads * sizeof(*stretches));
    if (!pool || !workers || !stretches) {
        free(pool);
        free(workers);
        free(stretches);
        return NULL;
    }
    memset(pool, 0, sizeof(*pool));
    memset(stretches, 0, n_threads * sizeof(*stretches));
    pool->n_threads = n_threads;
    pool->spin_nanoseconds = spin_nanoseconds(n_threads);
    pool->workers = workers;
    pool->stretches = stretches;
    return pool;
}

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
    struct thread_pool *pool = pool_allocate(n_threads);
    if (!pool) {
        error_set(err, "not enough memory for %" PRIu32 " threads", n_threads);
        return NULL;
    }
    for (uint32_t i = 0; i + 1 < n_threads; i++) {
        struct worker *worker = &pool->workers[i];
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
    atomic_fetch_add(&pool->state, 2); /* changed, and no loop open */
    futex_wake_all(&pool->state);
    for (uint32_t i = 0; i < pool->n_workers; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    free(pool->stretches);
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

/* The stretches have been set. */
static void run_loop(struct thread_pool *pool, uint64_t n, uint64_t grain, thread_fn fn,
                     void *context)
{
    assert(!(atomic_load(&pool->state) & 1));
    pool->n = n;
    pool->grain = grain;
    pool->fn = fn;
    pool->context = context;
    open_loop(pool);
    take_grains(pool, 0);
    close_loop(pool);
}

static void set_stretch(struct thread_pool *pool, uint32_t thread, uint64_t begin, uint64_t end)
{
    assert(begin <= end && end <= UINT32_MAX);
    atomic_store_explicit(&pool->stretches[thread].grains,
                          grains_of((uint32_t)begin, (uint32_t)end), memory_order_relaxed);
}

void thread_pool_for(struct thread_pool *pool, uint64_t n, uint64_t grain, thread_fn fn,
                     void *context)
{
    assert(grain >= 1);
    if (!pool || pool->n_threads == 1 || n <= grain) {
        run_alone(n, grain, fn, context);
        return;
    }
    uint64_t grains = n / grain + (n % grain != 0);
    assert(grains <= UINT32_MAX);
    for (uint32_t t = 0; t < pool->n_threads; t++) {
        set_stretch(pool, t, grains * t / pool->n_threads, grains * (t + 1) / pool->n_threads);
    }
    run_loop(pool, n, grain, fn, context);
}

void thread_pool_share(struct thread_pool *pool, const uint64_t *starts, thread_fn fn,
                       void *context)
{
    uint32_t n_threads = thread_pool_size(pool);
    uint64_t n = starts[n_threads];
    assert(starts[0] == 0);
    if (n_threads == 1 || n <= 1) {
        run_alone(n, 1, fn, context);
        return;
    }
    for (uint32_t t = 0; t < n_threads; t++) {
        set_stretch(pool, t, starts[t], starts[t + 1]);
    }
    run_loop(pool, n, 1, fn, context);
}
