#include "engine/cpu/cpu_peaks.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/cpu_features.h"
#include "engine/cpu/cpu_internal.h"
#include "engine/cpu/cpu_peak.h"

/* The smallest buffer, for all threads together, and how the next ones grow. The largest is far
 * above the caches of any processor, unless memory is short. */
#define SMALLEST_READ (UINT64_C(256) << 10)
#define LARGEST_READ (UINT64_C(1) << 30)
#define READ_GROWTH 4
/* What one measurement reads, and how often it is repeated. Of peaks the fastest counts, because
 * everything else that runs on a machine only makes it slower. What is measured again is read once,
 * interruptions included, because that is what work meets; of steps the middle one counts, because
 * what interrupts is far longer than they are and is not due to them. */
#define READ_BYTES_AT_LEAST (UINT64_C(512) << 20)
#define READ_BYTES_AGAIN (UINT64_C(64) << 20)
#define REPETITIONS 5
#define PHASES_AGAIN 100
enum statistic { FASTEST = 0, MIDDLE = REPETITIONS / 2 };
#define ROUNDS (UINT64_C(1) << 18)
#define PHASES 2000
/* Turns of a short wait that stand for the work of a phase: some microseconds. */
#define WORK_TURNS 4000

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* What one thread does, once per call of `work`; the pool gives every thread one call as long as
 * calls take much longer than starting does. */
struct loop {
    struct cpu_peak peak;
    const uint8_t *memory;
    uint64_t part, rounds;
    double (*multiply)(uint64_t rounds);
    atomic_uint_fast64_t sink;
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_once(struct thread_pool *pool, thread_fn fn, struct loop *loop)
{
    double start = now();
    thread_pool_for(pool, thread_pool_size(pool), 1, fn, loop);
    return now() - start;
}

static double time_loop(struct thread_pool *pool, thread_fn fn, struct loop *loop)
{
    double fastest = INFINITY;
    for (uint32_t i = 0; i < REPETITIONS; i++) {
        fastest = fmin(fastest, time_once(pool, fn, loop));
    }
    return fastest;
}

/* ---- reading ---- */

static void read_part(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct loop *loop = context;
    uint64_t sum = 0;
    for (uint64_t i = begin; i < end; i++) {
        for (uint64_t round = 0; round < loop->rounds; round++) {
            sum += loop->peak.read(loop->memory + i * loop->part, loop->part);
        }
    }
    atomic_fetch_add(&loop->sink, sum);
}

static bool measure_reading(struct backend *backend, struct thread_pool *pool, struct loop *loop,
                            struct backend_peaks *peaks, struct error *err)
{
    uint64_t threads = thread_pool_size(pool);
    struct backend_memory memory;
    struct buffer buffer;
    backend->functions->memory(backend, &memory);
    uint64_t largest = LARGEST_READ;
    while (largest > memory.available / 4 && largest > SMALLEST_READ) {
        largest /= READ_GROWTH;
    }
    if (!backend->functions->buffer_create(backend, largest, BUFFER_WEIGHTS, &buffer, err)) {
        return false;
    }
    memset(cpu_pointer(buffer.address), 1, largest); /* fresh pages would all be one */
    loop->memory = cpu_pointer(buffer.address);
    for (uint64_t bytes = SMALLEST_READ; bytes <= largest && peaks->n_read < BACKEND_READ_SIZES;
         bytes *= READ_GROWTH) {
        loop->part = bytes / threads / CPU_PEAK_READ_BYTES * CPU_PEAK_READ_BYTES;
        if (loop->part == 0) {
            continue;
        }
        uint64_t used = loop->part * threads;
        loop->rounds = (READ_BYTES_AT_LEAST + used - 1) / used;
        double seconds = time_loop(pool, read_part, loop);
        peaks->read[peaks->n_read].bytes = bytes;
        peaks->read[peaks->n_read++].bytes_per_second =
            (double)used * (double)loop->rounds / seconds;
    }
    backend->functions->buffer_destroy(backend, &buffer);
    return true;
}

/* ---- phases ---- */

static void do_nothing(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
}

static void wait_briefly(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    for (uint32_t i = 0; i < WORK_TURNS * (end - begin); i++) {
        atomic_signal_fence(memory_order_seq_cst);
    }
}

static double time_phases(struct thread_pool *pool, uint64_t n, thread_fn fn, uint32_t phases,
                          enum statistic statistic)
{
    double seconds[REPETITIONS];
    for (uint32_t repetition = 0; repetition < REPETITIONS; repetition++) {
        double start = now();
        for (uint32_t i = 0; i < phases; i++) {
            thread_pool_for(pool, n, 1, fn, NULL);
        }
        seconds[repetition] = (now() - start) / phases;
    }
    qsort(seconds, REPETITIONS, sizeof(*seconds), by_size);
    return seconds[statistic];
}

/* A phase that one op waits for: how much longer it takes than the work of one thread in it. */
static double measure_step(struct thread_pool *pool, uint32_t phases, enum statistic statistic)
{
    double alone = time_phases(NULL, 1, wait_briefly, phases, statistic);
    return time_phases(pool, thread_pool_size(pool), wait_briefly, phases, statistic) - alone;
}

static void measure_phases(struct thread_pool *pool, struct backend_peaks *peaks)
{
    peaks->dispatch_seconds =
        time_phases(pool, thread_pool_size(pool), do_nothing, PHASES, FASTEST);
    peaks->step_seconds = fmax(measure_step(pool, PHASES, FASTEST), peaks->dispatch_seconds);
}

/* ---- products ---- */

static void multiply(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct loop *loop = context;
    double sum = 0;
    for (uint64_t i = begin; i < end; i++) {
        sum += loop->multiply(loop->rounds);
    }
    atomic_fetch_add(&loop->sink, sum > 0);
}

static double measure_products(struct thread_pool *pool, struct loop *loop,
                               double (*product)(uint64_t rounds), double operations)
{
    loop->rounds = ROUNDS;
    loop->multiply = product;
    double seconds = time_loop(pool, multiply, loop);
    return operations * ROUNDS * thread_pool_size(pool) / seconds;
}

bool cpu_peaks_measure(struct backend *backend, struct thread_pool *pool,
                       struct backend_peaks *peaks, struct error *err)
{
    struct loop loop = {.peak = cpu_peak_choose(cpu_features())};
    *peaks = (struct backend_peaks){0};
    if (!measure_reading(backend, pool, &loop, peaks, err)) {
        return false;
    }
    measure_phases(pool, peaks);
    peaks->matrix_f32 = measure_products(pool, &loop, loop.peak.f32, loop.peak.f32_operations);
    peaks->matrix_int8 = measure_products(pool, &loop, loop.peak.int8, loop.peak.int8_operations);
    return true;
}

void cpu_peaks_measure_again(struct thread_pool *pool, const struct buffer *buffer, uint64_t bytes,
                             struct backend_peaks *peaks)
{
    uint64_t threads = thread_pool_size(pool);
    struct loop loop = {.peak = cpu_peak_choose(cpu_features()),
                        .memory = cpu_pointer(buffer->address),
                        .part = bytes / threads / CPU_PEAK_READ_BYTES * CPU_PEAK_READ_BYTES};
    assert(bytes >= BACKEND_REMEASURE_LEAST && bytes <= buffer->bytes);
    if (loop.part > 0) {
        uint64_t used = loop.part * threads;
        loop.rounds = (READ_BYTES_AGAIN + used - 1) / used;
        double seconds = time_once(pool, read_part, &loop);
        backend_peaks_set_read(peaks, (double)bytes, (double)used * (double)loop.rounds / seconds);
    }
    peaks->step_seconds = fmax(measure_step(pool, PHASES_AGAIN, MIDDLE), peaks->dispatch_seconds);
}
