/* The measurement of a device: every number is there that the device can have, in the right order
 * of size, and nothing is left behind. How large they are is nobody's promise. */
#include <criterion/criterion.h>
#include <math.h>

#include "engine/vk/vk_internal.h"
#include "engine/vk/vk_probe.h"
#include "tests/check.h"

static struct vk_backend *open_backend(const struct vk_options *options)
{
    struct error err = {{0}};
    struct backend *backend = vk_backend_create(options, &err);
    if (!backend) {
        cr_skip("%s", err.text);
    }
    return (struct vk_backend *)backend;
}

static void expect_rate(double rate, const char *name)
{
    cr_expect(isfinite(rate) && rate > 1e3, "%s: %g", name, rate);
}

/* Only the rate of a buffer of this size, and of larger ones, is replaced. */
static void measure_again(struct vk_backend *backend, struct backend_peaks *peaks)
{
    const struct backend_functions *functions = backend->base.functions;
    struct error err = {{0}};
    struct buffer buffer;
    struct vk_probe probe;
    uint64_t bytes = 3 * BACKEND_REMEASURE_LEAST;
    cr_assert(functions->buffer_create(&backend->base, bytes, BUFFER_WEIGHTS, &buffer, &err), "%s",
              err.text);
    cr_assert(vk_probe_init(backend, &probe, &err), "%s", err.text);
    cr_assert(vk_probe_fill(&probe, &buffer, 7, &err), "%s", err.text);
    vk_probe_free(&probe);
    for (uint32_t i = 0; i < peaks->n_read; i++) {
        peaks->read[i].bytes_per_second = 1;
    }
    peaks->step_seconds = NAN;
    cr_assert(functions->peaks_again(&backend->base, &buffer, bytes, peaks, &err), "%s", err.text);
    expect_rate(backend_peaks_read(peaks, 2 * BACKEND_REMEASURE_LEAST), "read again");
    cr_expect(peaks->step_seconds > 0 && peaks->step_seconds < 1);
    functions->buffer_destroy(&backend->base, &buffer);
}

static void measure(const struct vk_options *options)
{
    struct vk_backend *backend = open_backend(options);
    struct backend_peaks peaks;
    struct error err = {{0}};
    cr_assert(backend->base.functions->peaks(&backend->base, &peaks, &err), "%s", err.text);
    const struct vk_caps *caps = &backend->device.physical.caps;
    cr_expect_geq(peaks.n_read, 1);
    cr_expect_leq(peaks.n_read, BACKEND_READ_SIZES);
    for (uint32_t i = 0; i < peaks.n_read; i++) {
        expect_rate(peaks.read[i].bytes_per_second, "read");
        cr_expect(i == 0 || peaks.read[i].bytes > peaks.read[i - 1].bytes);
    }
    cr_expect(peaks.dispatch_seconds > 0 && peaks.dispatch_seconds < 1);
    cr_expect(peaks.step_seconds > 0 && peaks.step_seconds < 1);
    cr_expect(peaks.submit_seconds > 0 && peaks.submit_seconds < 10);
    expect_rate(peaks.host_read, "host_read");
    for (int way = 0; way < 2; way++) {
        expect_rate(peaks.copy_pageable[way], "pageable");
        expect_rate(peaks.copy_pinned[way], "pinned");
        cr_expect(!vk_import_possible(backend) || peaks.copy_imported[way] > 1e3);
    }
    expect_rate(peaks.matrix_f32, "f32");
    cr_expect_eq(caps->float16, peaks.matrix_f16 > 0);
    cr_expect_eq(caps->integer_dot, peaks.matrix_int8 > 0);
    measure_again(backend, &peaks);
    struct backend_memory memory;
    backend->base.functions->memory(&backend->base, &memory);
    cr_expect_eq(memory.used, 0);
    char first[1024] = "";
    cr_expect_eq(vk_backend_validation_messages(&backend->base, first, sizeof(first)), 0, "%s",
                 first);
    backend->base.functions->destroy(&backend->base);
}

Test(vk_peaks, all_numbers_are_there)
{
    measure(&(struct vk_options){.validation = true});
}

Test(vk_peaks, without_a_clock_and_with_memory_of_its_own)
{
    measure(&(struct vk_options){.no_timestamps = true, .force_staging = true});
}

/* The kernels do what the rates are computed from: dependent dispatches see each other. */
Test(vk_peaks, steps_are_dependent)
{
    struct vk_backend *backend = open_backend(&(struct vk_options){0});
    struct vk_probe probe;
    struct error err = {{0}};
    double seconds;
    uint32_t count = 0;
    cr_assert(vk_probe_init(backend, &probe, &err), "%s", err.text);
    cr_assert(vk_probe_fill(&probe, &probe.sink, 5, &err));
    cr_assert(vk_probe_dispatch(&probe, PROBE_STEP, &(struct peak_args){.repeats = 3}, 1, 100, true,
                                &seconds, &err));
    cr_assert(vk_transfer_read(backend, &probe.sink, 0, &count, sizeof(count), &err));
    cr_expect_eq(count, 305);
    vk_probe_free(&probe);
    backend->base.functions->destroy(&backend->base);
}
