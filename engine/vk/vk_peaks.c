/* How fast a device is, at most: the numbers that `moxie bench --peaks` prints and that predictions
 * are made from. What every number means is told in engine/op/backend.h. */
#include "engine/vk/vk_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/vk/vk_probe.h"

#define SMALLEST (UINT64_C(64) << 10)
#define LARGEST (UINT64_C(1) << 30)
#define LARGEST_SOFTWARE (UINT64_C(256) << 20)
#define COPY_BYTES (UINT64_C(64) << 20)
#define COPY_BYTES_SOFTWARE (UINT64_C(16) << 20)
/* A pass over the next size is not worth waiting longer for. */
#define PATIENCE 0.2

struct measurement {
    struct vk_backend *backend;
    struct vk_probe probe;
    struct buffer own;  /* device memory */
    struct buffer host; /* memory of the host that the device can read */
    struct backend_peaks *peaks;
    bool software;
    uint64_t copy_bytes;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The largest power of two that is there, within an eighth of what is free. */
static bool make_own(struct measurement *m, struct error *err)
{
    uint64_t bytes = m->software ? LARGEST_SOFTWARE : LARGEST;
    uint64_t free_bytes = vk_memory_available(m->backend) / 8;
    while (bytes > SMALLEST && bytes > free_bytes) {
        bytes /= 2;
    }
    while (bytes > SMALLEST &&
           !vk_memory_create_buffer(m->backend, bytes, BUFFER_WEIGHTS, &m->own, NULL)) {
        bytes /= 2;
    }
    return (m->own.internal ||
            vk_memory_create_buffer(m->backend, bytes, BUFFER_WEIGHTS, &m->own, err)) &&
           vk_probe_fill(&m->probe, &m->own, 0x01020304, err);
}

/* From the smallest size on, four times as much each time, as long as it does not take too long. */
static bool measure_reads(struct measurement *m, struct error *err)
{
    struct backend_peaks *peaks = m->peaks;
    double rate = 0;
    for (uint64_t bytes = SMALLEST; peaks->n_read < BACKEND_READ_SIZES && bytes <= m->own.bytes &&
                                    (rate == 0 || (double)bytes < rate * PATIENCE);
         bytes *= 4) {
        if (!vk_probe_read(&m->probe, m->own.address, bytes, &rate, err)) {
            return false;
        }
        peaks->read[peaks->n_read].bytes = bytes;
        peaks->read[peaks->n_read++].bytes_per_second = rate;
    }
    return true;
}

static bool measure_steps(struct vk_probe *probe, struct backend_peaks *peaks, struct error *err)
{
    enum { COUNT = 256 };
    double seconds[2] = {1e9, 1e9};
    for (int i = 0; i < 6; i++) {
        bool dependent = i % 2;
        double now;
        if (!vk_probe_dispatch(probe, PROBE_STEP, &(struct peak_args){.repeats = dependent}, 1,
                               COUNT, dependent, &now, err)) {
            return false;
        }
        seconds[dependent] = now < seconds[dependent] ? now : seconds[dependent];
    }
    peaks->dispatch_seconds = seconds[0] / COUNT;
    peaks->step_seconds = seconds[1] / COUNT;
    return vk_probe_submit(probe, &peaks->submit_seconds, err);
}

static bool measure_compute(struct measurement *m, struct error *err)
{
    const struct vk_caps *caps = &m->backend->device.physical.caps;
    return vk_probe_compute(&m->probe, PROBE_F32, &m->peaks->matrix_f32, err) &&
           (!vk_probe_has(caps, PROBE_F16) ||
            vk_probe_compute(&m->probe, PROBE_F16, &m->peaks->matrix_f16, err)) &&
           (!vk_probe_has(caps, PROBE_INT8) ||
            vk_probe_compute(&m->probe, PROBE_INT8, &m->peaks->matrix_int8, err));
}

/* ---- memory of the host ---- */

/* As weights come: from memory like any other, by the ordinary way. */
static bool copy_pageable(struct measurement *m, struct error *err)
{
    uint8_t *memory = malloc(m->copy_bytes);
    if (!memory) {
        return error_set(err, "not enough memory to measure copies");
    }
    memset(memory, 0x33, m->copy_bytes);
    bool ok = true;
    for (int i = 0; ok && i < 4; i++) {
        double *rate = &m->peaks->copy_pageable[i % 2], started = vk_clock();
        ok = i % 2 ? vk_transfer_read(m->backend, &m->own, 0, memory, m->copy_bytes, err)
                   : vk_transfer_write(m->backend, &m->own, 0, memory, m->copy_bytes, err) &&
                         vk_commands_wait(m->backend, m->backend->commands.submitted, err);
        double now = (double)m->copy_bytes / (vk_clock() - started);
        *rate = now > *rate ? now : *rate;
    }
    free(memory);
    return ok;
}

static bool copy_both_ways(struct measurement *m, const struct buffer *host, double rates[2],
                           struct error *err)
{
    return vk_probe_copy(&m->probe, host, &m->own, m->copy_bytes, &rates[0], err) &&
           vk_probe_copy(&m->probe, &m->own, host, m->copy_bytes, &rates[1], err);
}

/* Optional: where it cannot be imported, there is no rate. */
static void copy_imported(struct measurement *m)
{
    struct buffer imported;
    if (!vk_import_possible(m->backend)) {
        return;
    }
    void *host =
        mmap(NULL, m->copy_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED) {
        return;
    }
    memset(host, 0x55, m->copy_bytes);
    double rates[2] = {0};
    if (vk_import(m->backend, host, m->copy_bytes, &imported, NULL)) {
        if (copy_both_ways(m, &imported, rates, NULL)) {
            memcpy(m->peaks->copy_imported, rates, sizeof(rates));
        }
        vk_memory_destroy_buffer(m->backend, &imported);
    }
    munmap(host, m->copy_bytes);
}

static bool measure_host(struct measurement *m, struct error *err)
{
    m->copy_bytes = smaller(m->software ? COPY_BYTES_SOFTWARE : COPY_BYTES, m->own.bytes);
    if (!vk_memory_create_buffer(m->backend, m->copy_bytes, BUFFER_RESULT, &m->host, err) ||
        !vk_probe_fill(&m->probe, &m->host, 0x05060708, err) ||
        !vk_probe_read(&m->probe, m->host.address, m->copy_bytes, &m->peaks->host_read, err) ||
        !copy_both_ways(m, &m->host, m->peaks->copy_pinned, err) || !copy_pageable(m, err)) {
        return false;
    }
    copy_imported(m);
    return true;
}

bool vk_peaks(struct vk_backend *backend, struct backend_peaks *peaks, struct error *err)
{
    struct measurement m = {.backend = backend,
                            .peaks = peaks,
                            .software = backend->device.physical.info.kind == VK_DEVICE_SOFTWARE};
    *peaks = (struct backend_peaks){0};
    if (!vk_probe_init(backend, &m.probe, err)) {
        return false;
    }
    bool ok = make_own(&m, err) && measure_reads(&m, err) && measure_steps(&m.probe, peaks, err) &&
              measure_compute(&m, err) && measure_host(&m, err);
    vk_probe_free(&m.probe);
    vk_memory_destroy_buffer(backend, &m.own);
    vk_memory_destroy_buffer(backend, &m.host);
    return ok;
}

bool vk_peaks_again(struct vk_backend *backend, const struct buffer *buffer, uint64_t bytes,
                    struct backend_peaks *peaks, struct error *err)
{
    struct vk_probe probe;
    uint64_t power = BACKEND_REMEASURE_LEAST;
    double rate;
    assert(bytes >= power && bytes <= buffer->bytes);
    while (power <= bytes / 2) {
        power *= 2;
    }
    if (!vk_probe_init(backend, &probe, err)) {
        return false;
    }
    bool ok = vk_probe_read(&probe, buffer->address, power, &rate, err) &&
              measure_steps(&probe, peaks, err);
    if (ok) {
        backend_peaks_set_read(peaks, (double)power, rate);
    }
    vk_probe_free(&probe);
    return ok;
}
