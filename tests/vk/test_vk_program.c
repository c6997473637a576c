/* Programs in several submits: the results are those of one, the counts say how many there were,
 * with the device's clock and without it; and the profile, which takes each op by itself. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/vk/vk.h"
#include "tests/check.h"
#include "tests/vk/sum_op.h"

#define DIM 300
#define TOKENS 3
#define LENGTH 20

/* x0 = a + a, x1 = x0 + a, ...: each op waits for the one before. */
struct chain {
    struct backend *backend;
    struct tensor step, ones, tensors[LENGTH + 1];
    struct buffer step_buffer, ones_buffer, buffers[LENGTH + 1];
    struct op_list list;
    struct program *program;
    float values[TOKENS * DIM];
};

static void make_buffer(struct chain *chain, struct tensor *tensor, struct buffer *buffer,
                        enum buffer_use use)
{
    struct error err = {{0}};
    cr_assert(
        chain->backend->functions->buffer_create(chain->backend, tensor->bytes, use, buffer, &err),
        "%s", err.text);
    tensor->address = buffer->address;
}

static void build(struct chain *chain, const struct vk_options *options)
{
    struct error err = {{0}};
    struct check_random random = {11};
    const struct backend_functions *functions;
    uint32_t step[4 + TOKENS] = {TOKENS, 0, 0, 0};
    chain->backend = vk_backend_create(options, &err);
    if (!chain->backend) {
        cr_skip("%s", err.text);
    }
    functions = chain->backend->functions;
    chain->step = (struct tensor){.name = "step", .bytes = sizeof(step)};
    make_buffer(chain, &chain->step, &chain->step_buffer, BUFFER_STEP);
    cr_assert(functions->write(chain->backend, &chain->step_buffer, 0, step, sizeof(step), &err));
    const float ones[TOKENS] = {1, 1, 1};
    chain->ones =
        (struct tensor){.dtype = DTYPE_F32, .rows = 1, .cols = TOKENS, .bytes = sizeof(ones)};
    make_buffer(chain, &chain->ones, &chain->ones_buffer, BUFFER_WEIGHTS);
    cr_assert(functions->write(chain->backend, &chain->ones_buffer, 0, ones, sizeof(ones), &err));
    cr_assert(op_list_init(&chain->list, TOKENS, LENGTH, &err));
    check_fill(&random, CHECK_UNIFORM, chain->values, TOKENS * DIM);
    for (uint32_t i = 0; i <= LENGTH; i++) {
        chain->tensors[i] = (struct tensor){
            .dtype = DTYPE_F32, .rows = TOKENS, .cols = DIM, .bytes = sizeof(chain->values)};
        make_buffer(chain, &chain->tensors[i], &chain->buffers[i], BUFFER_ACTIVATIONS);
        if (i > 0) {
            sum_op_add(&chain->list, &chain->step, &chain->tensors[i - 1], &chain->tensors[0],
                       &chain->ones, &chain->tensors[i], DIM);
        }
    }
    cr_assert(functions->write(chain->backend, &chain->buffers[0], 0, chain->values,
                               sizeof(chain->values), &err));
    op_list_bind(&chain->list);
    chain->program = functions->program_create(chain->backend, &chain->list, &err);
    cr_assert(chain->program, "%s", err.text);
}

static void tear_down(struct chain *chain)
{
    const struct backend_functions *functions = chain->backend->functions;
    functions->program_destroy(chain->backend, chain->program);
    for (uint32_t i = 0; i <= LENGTH; i++) {
        functions->buffer_destroy(chain->backend, &chain->buffers[i]);
    }
    functions->buffer_destroy(chain->backend, &chain->ones_buffer);
    functions->buffer_destroy(chain->backend, &chain->step_buffer);
    op_list_free(&chain->list);
    cr_expect_eq(vk_backend_validation_messages(chain->backend, NULL, 0), 0);
    functions->destroy(chain->backend);
}

static void poison(struct chain *chain)
{
    struct error err = {{0}};
    float poison[TOKENS * DIM];
    memset(poison, 0x7F, sizeof(poison));
    for (uint32_t i = 1; i <= LENGTH; i++) {
        cr_assert(chain->backend->functions->write(chain->backend, &chain->buffers[i], 0, poison,
                                                   sizeof(poison), &err));
    }
}

static void expect_results(struct chain *chain)
{
    struct error err = {{0}};
    float got[TOKENS * DIM];
    cr_assert(chain->backend->functions->read(chain->backend, &chain->buffers[LENGTH], 0, got,
                                              sizeof(got), &err));
    for (uint32_t i = 0; i < TOKENS * DIM; i++) {
        float want = chain->values[i];
        for (uint32_t op = 0; op < LENGTH; op++) {
            want += chain->values[i];
        }
        cr_assert_eq(got[i], want, "element %u", i);
    }
}

/* Submits of one run, whose results are right. */
static uint64_t run(struct chain *chain)
{
    struct error err = {{0}};
    struct backend_counts before, after;
    poison(chain);
    chain->backend->functions->counts(chain->backend, &before);
    cr_assert(chain->backend->functions->run(chain->backend, chain->program, &err), "%s", err.text);
    chain->backend->functions->counts(chain->backend, &after);
    expect_results(chain);
    cr_expect_eq(after.dispatches - before.dispatches, LENGTH);
    cr_expect_eq(after.barriers - before.barriers, LENGTH, "as many as without segments");
    return after.submits - before.submits;
}

Test(vk_program, a_limit_that_no_op_keeps_gives_a_submit_a_step)
{
    for (int no_timestamps = 0; no_timestamps < 2; no_timestamps++) {
        static struct chain chain;
        build(&chain, &(struct vk_options){.segment_seconds = 1e-12,
                                           .no_timestamps = no_timestamps,
                                           .validation = !no_timestamps});
        run(&chain);
        for (int i = 0; i < 5; i++) {
            cr_expect_eq(run(&chain), LENGTH);
        }
        tear_down(&chain);
    }
}

Test(vk_program, a_generous_limit_gives_one_submit_soon)
{
    for (int no_timestamps = 0; no_timestamps < 2; no_timestamps++) {
        static struct chain chain;
        build(&chain, &(struct vk_options){.segment_seconds = 100, .no_timestamps = no_timestamps});
        cr_expect_eq(run(&chain), 3, "careful at first: 8 ops each");
        for (int i = 0; i < 20; i++) {
            run(&chain);
        }
        cr_expect_eq(run(&chain), 1);
        tear_down(&chain);
    }
}

Test(vk_program, software_is_never_cut)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 0;
    struct chain chain;
    if (!vk_list_devices(devices, &n, NULL) || n == 0 || devices[0].kind != VK_DEVICE_SOFTWARE) {
        cr_skip("no software device here");
    }
    build(&chain, &(struct vk_options){0});
    cr_expect_eq(run(&chain), 1);
    tear_down(&chain);
}

Test(vk_program, the_profile_has_a_time_for_every_op)
{
    for (int variant = 0; variant < 4; variant++) {
        static struct chain chain;
        struct error err = {{0}};
        double seconds[LENGTH];
        build(&chain, &(struct vk_options){.segment_seconds = variant & 1 ? 1e-12 : 0,
                                           .no_timestamps = variant & 2});
        run(&chain);
        poison(&chain);
        for (uint32_t i = 0; i < LENGTH; i++) {
            seconds[i] = -1;
        }
        cr_assert(chain.backend->functions->profile(chain.backend, chain.program, seconds, &err),
                  "%s", err.text);
        expect_results(&chain);
        double sum = 0;
        for (uint32_t i = 0; i < LENGTH; i++) {
            cr_expect(seconds[i] >= 0 && seconds[i] < 100, "op %u: %g", i, seconds[i]);
            sum += seconds[i];
        }
        cr_expect_gt(sum, 0);
        run(&chain);
        tear_down(&chain);
    }
}

/* ---- runs started before the last one is finished ---- */

/* b = a + a, a = b + zero: every run doubles a. */
static void build_doubling(struct chain *chain, const struct vk_options *options)
{
    struct error err = {{0}};
    build(chain, options);
    chain->backend->functions->program_destroy(chain->backend, chain->program);
    struct tensor *a = &chain->tensors[0], *b = &chain->tensors[1], *zero = &chain->tensors[2];
    float nothing[TOKENS * DIM] = {0};
    cr_assert(chain->backend->functions->write(chain->backend, &chain->buffers[2], 0, nothing,
                                               sizeof(nothing), &err));
    op_list_free(&chain->list);
    cr_assert(op_list_init(&chain->list, TOKENS, 2, &err));
    sum_op_add(&chain->list, &chain->step, a, a, &chain->ones, b, DIM);
    sum_op_add(&chain->list, &chain->step, b, zero, &chain->ones, a, DIM);
    op_list_bind(&chain->list);
    chain->program = chain->backend->functions->program_create(chain->backend, &chain->list, &err);
    cr_assert(chain->program, "%s", err.text);
}

Test(vk_program, runs_may_be_queued)
{
    enum { RUNS = 8 };
    for (int variant = 0; variant < 4; variant++) {
        static struct chain chain;
        struct error err = {{0}};
        struct backend_counts before, after;
        uint64_t tickets[RUNS];
        float got[TOKENS * DIM];
        build_doubling(&chain, &(struct vk_options){.segment_seconds = variant & 1 ? 1e-12 : 0,
                                                    .no_timestamps = variant & 2,
                                                    .validation = variant == 1});
        const struct backend_functions *functions = chain.backend->functions;
        /* One that is not, which teaches where to cut. */
        cr_assert(functions->run(chain.backend, chain.program, &err), "%s", err.text);
        functions->counts(chain.backend, &before);
        for (uint32_t i = 0; i < RUNS + 1; i++) {
            cr_assert(i == RUNS ||
                      functions->start(chain.backend, chain.program, &tickets[i], &err));
            cr_assert(i == 0 ||
                      functions->finish(chain.backend, chain.program, tickets[i - 1], &err));
        }
        functions->counts(chain.backend, &after);
        cr_expect_eq(after.submits - before.submits, (variant & 1) ? 2 * RUNS : RUNS);
        cr_expect_eq(after.dispatches - before.dispatches, 2 * RUNS);
        cr_expect_eq(after.barriers - before.barriers, 2 * RUNS);
        cr_assert(functions->read(chain.backend, &chain.buffers[0], 0, got, sizeof(got), &err));
        for (uint32_t i = 0; i < TOKENS * DIM; i++) {
            cr_assert_eq(got[i], ldexpf(chain.values[i], RUNS + 1), "element %u", i);
        }
        /* Left under way: gone with the program. */
        cr_assert(functions->start(chain.backend, chain.program, &tickets[0], &err));
        tear_down(&chain);
    }
}
