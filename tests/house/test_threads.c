/* The thread pool: every index once, in ranges no longer than the grain; many small loops; pools
 * inside loops of pools; ends while its workers sleep or have just begun. All loops count with
 * plain memory, so that a thread sanitizer sees a missing hand-over.
 */
#include <criterion/criterion.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/threads.h"

#define MAX_ITEMS 5000

struct visits {
    uint32_t times[MAX_ITEMS];
    uint64_t grain;
    uint32_t n_threads;
    atomic_uint bad;
};

static void visit(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct visits *visits = context;
    if (begin >= end || end - begin > visits->grain || thread >= visits->n_threads ||
        end > MAX_ITEMS) {
        atomic_fetch_add(&visits->bad, 1);
        return;
    }
    for (uint64_t i = begin; i < end; i++) {
        visits->times[i]++;
    }
}

static void check_loop(struct thread_pool *pool, uint64_t n, uint64_t grain)
{
    static struct visits visits;
    memset(&visits, 0, sizeof(visits));
    visits.grain = grain;
    visits.n_threads = thread_pool_size(pool);
    thread_pool_for(pool, n, grain, visit, &visits);
    cr_assert_eq(atomic_load(&visits.bad), 0, "a range is wrong: n %lu, grain %lu", (long)n,
                 (long)grain);
    for (uint64_t i = 0; i < MAX_ITEMS; i++) {
        cr_assert_eq(visits.times[i], i < n, "item %lu of %lu visited %u times, grain %lu", (long)i,
                     (long)n, visits.times[i], (long)grain);
    }
}

/* Every thread's stretch as `starts` has it. */
static void check_share(struct thread_pool *pool, const uint64_t *starts, uint64_t n)
{
    static struct visits visits;
    memset(&visits, 0, sizeof(visits));
    visits.grain = 1;
    visits.n_threads = thread_pool_size(pool);
    thread_pool_share(pool, starts, visit, &visits);
    cr_assert_eq(atomic_load(&visits.bad), 0, "a range is wrong");
    for (uint64_t i = 0; i < MAX_ITEMS; i++) {
        cr_assert_eq(visits.times[i], i < n, "item %lu of %lu visited %u times", (long)i, (long)n,
                     visits.times[i]);
    }
}

static struct thread_pool *make_pool(uint32_t n_threads)
{
    struct error err;
    struct thread_pool *pool = thread_pool_create(n_threads, &err);
    cr_assert_not_null(pool, "%s", err.text);
    return pool;
}

Test(threads, every_item_once)
{
    static const uint64_t lengths[] = {0, 1, 2, 3, 7, 31, 32, 33, 1000, MAX_ITEMS};
    static const uint64_t grains[] = {1, 2, 7, 32, 4999, MAX_ITEMS, UINT64_MAX};
    static const uint32_t sizes[] = {1, 2, 3, 8};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct thread_pool *pool = make_pool(sizes[s]);
        cr_assert_eq(thread_pool_size(pool), sizes[s]);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            for (size_t k = 0; k < sizeof(grains) / sizeof(grains[0]); k++) {
                check_loop(pool, lengths[i], grains[k]);
            }
        }
        thread_pool_destroy(&pool);
        cr_assert_null(pool);
    }
}

Test(threads, stretches_of_any_size)
{
    static const uint64_t starts[][8] = {
        {0, 0, 0, 0, 0, 0, 0, 0},
        {0, 0, 0, 0, 0, 0, 0, 1},
        {0, 900, 900, 900, 900, 900, 900, 900},
        {0, 0, 0, 0, 0, 0, 0, 900},
        {0, 1, 2, 3, 500, 501, 501, 777},
        {0, 100, 200, 300, 400, 500, 600, 700},
    };
    struct thread_pool *pool = make_pool(7);
    for (size_t i = 0; i < 200; i++) {
        const uint64_t *s = starts[i % (sizeof(starts) / sizeof(starts[0]))];
        check_share(pool, s, s[7]);
    }
    thread_pool_destroy(&pool);
    check_share(NULL, (const uint64_t[]){0, 50}, 50);
}

Test(threads, no_pool_runs_alone)
{
    cr_assert_eq(thread_pool_size(NULL), 1);
    check_loop(NULL, 1000, 7);
    check_loop(NULL, 0, 1);
    struct thread_pool *none = NULL;
    thread_pool_destroy(&none);
}

Test(threads, one_per_core)
{
    struct thread_pool *pool = make_pool(0);
    long n_processors = sysconf(_SC_NPROCESSORS_ONLN);
    cr_assert_geq(thread_pool_size(pool), 1);
    cr_assert_leq(thread_pool_size(pool), (uint32_t)n_processors);
    thread_pool_destroy(&pool);
}

/* Each loop reads what the one before wrote on any thread. */
static void add_neighbour(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    uint64_t **buffers = context;
    for (uint64_t i = begin; i < end; i++) {
        buffers[1][i] = buffers[0][(i + 1) % 64] + 1;
    }
}

Test(threads, many_small_loops_hand_over)
{
    struct thread_pool *pool = make_pool(4);
    static uint64_t first[64], second[64];
    uint64_t *buffers[2] = {first, second};
    const uint64_t n_loops = 20000;
    for (uint64_t i = 0; i < n_loops; i++) {
        thread_pool_for(pool, 64, 1 + i % 9, add_neighbour, buffers);
        uint64_t *swap = buffers[0];
        buffers[0] = buffers[1];
        buffers[1] = swap;
    }
    for (int i = 0; i < 64; i++) {
        cr_assert_eq(buffers[0][i], n_loops);
    }
    thread_pool_destroy(&pool);
}

Test(threads, wakes_up_after_sleep)
{
    struct thread_pool *pool = make_pool(3);
    for (int i = 0; i < 20; i++) {
        usleep(2000); /* far longer than workers spin */
        check_loop(pool, 100, 1);
    }
    usleep(2000);
    thread_pool_destroy(&pool);
}

/* Both sides wait for each other, so the loop ends only if a worker joins it. */
static void meet(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    atomic_uint *arrived = context;
    atomic_fetch_add(arrived, 1);
    while (atomic_load(arrived) < 2) {
        usleep(10);
    }
}

Test(threads, workers_work, .timeout = 60)
{
    struct thread_pool *pool = make_pool(2);
    for (int i = 0; i < 50; i++) {
        atomic_uint arrived = 0;
        thread_pool_for(pool, 2, 1, meet, &arrived);
        cr_assert_eq(atomic_load(&arrived), 2);
        usleep(i % 2 ? 0 : 1000);
    }
    thread_pool_destroy(&pool);
}

/* A stretch whose owner is busy elsewhere is done by others: the first item of thread 1 waits until
 * all of its other items are done. */
static void wait_for_others(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    atomic_uint *done = context;
    while (begin == 0 && atomic_load(done) < 99) {
        usleep(10);
    }
    atomic_fetch_add(done, 1);
}

Test(threads, stretches_are_helped_with, .timeout = 60)
{
    struct thread_pool *pool = make_pool(2);
    for (int i = 0; i < 20; i++) {
        atomic_uint done = 0;
        thread_pool_share(pool, (const uint64_t[]){0, 0, 100}, wait_for_others, &done);
        cr_assert_eq(atomic_load(&done), 100);
    }
    thread_pool_destroy(&pool);
}

static void sum_inside(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    uint64_t *results = context;
    for (uint64_t i = begin; i < end; i++) {
        struct thread_pool *pool = thread_pool_create(3, NULL);
        static const uint64_t n = 64;
        uint64_t values[64] = {0}, more[64];
        uint64_t *buffers[2] = {values, more};
        thread_pool_for(pool, n, 5, add_neighbour, buffers);
        for (uint64_t k = 0; k < n; k++) {
            results[i] += more[k];
        }
        thread_pool_destroy(&pool);
    }
}

Test(threads, pools_inside_loops)
{
    struct thread_pool *pool = make_pool(3);
    uint64_t results[8] = {0};
    thread_pool_for(pool, 8, 1, sum_inside, results);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(results[i], 64);
    }
    thread_pool_destroy(&pool);
}

Test(threads, created_and_destroyed_at_once)
{
    for (uint32_t i = 0; i < 200; i++) {
        struct thread_pool *pool = make_pool(1 + i % 5);
        if (i % 3 == 0) {
            check_loop(pool, 10, 1);
        }
        thread_pool_destroy(&pool);
    }
}
