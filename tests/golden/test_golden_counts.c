/* What one token costs on Vulkan, so that it cannot creep up; and the validation layer's silence
 * while models run. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

/* The demo model, 4 layers: embed, 7 steps a layer, head, argmax, and the barrier at the end. It
 * was 72 dispatches and 56 barriers before ops were folded together. Lower them when the list gets
 * shorter; those of the families are in test_golden_hazards.c. */
#define DISPATCHES_PER_TOKEN 39
#define BARRIERS_PER_TOKEN 31

Test(golden_counts, one_token)
{
    golden_vulkan();
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 64);
    struct moxie_counts before, after;
    uint32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    golden_eval(session, ids, 10);
    golden_eval(session, ids, 1); /* the list is recorded */
    moxie_counts(session, &before);
    for (int i = 0; i < 10; i++) {
        uint32_t best = moxie_best(session);
        golden_eval(session, &best, 1);
    }
    moxie_counts(session, &after);
    printf("per token: %g submits, %g dispatches, %g barriers\n",
           (double)(after.submits - before.submits) / 10,
           (double)(after.dispatches - before.dispatches) / 10,
           (double)(after.barriers - before.barriers) / 10);
    cr_expect_eq(after.submits - before.submits, 10);
    cr_expect_eq(after.dispatches - before.dispatches, 10 * DISPATCHES_PER_TOKEN);
    cr_expect_eq(after.barriers - before.barriers, 10 * BARRIERS_PER_TOKEN);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

/* The same where the device chooses: the sampler is in the place of argmax, a token is one submit,
 * and one more has been queued when the last one is there. The first choice is a list of its own.
 */
Test(golden_counts, one_generated_token)
{
    golden_vulkan();
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_error err;
    struct moxie_session *session = moxie_session_create(model, NULL, &err); /* keeps no routes */
    struct moxie_sampling sampling = moxie_sampling_defaults();
    struct moxie_counts before, after;
    uint32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, id;
    cr_assert_not_null(session, "%s", err.text);
    golden_eval(session, ids, 10);
    cr_assert(moxie_generate_begin(session, &sampling, ids, 10, &err), "%s", err.text);
    moxie_counts(session, &before);
    for (uint32_t i = 0; i < 10; i++) {
        cr_assert(moxie_generate_next(session, &id, &err), "%s", err.text);
        moxie_counts(session, &after);
        cr_expect_eq(after.submits - before.submits, i + 2, "one ahead");
    }
    cr_expect_eq(after.dispatches - before.dispatches, 1 + 10 * DISPATCHES_PER_TOKEN);
    cr_expect_eq(after.barriers - before.barriers, 1 + 10 * BARRIERS_PER_TOKEN);
    moxie_generate_end(session);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

struct type {
    char name[8];
};

/* Every shader of every type is shown to the layer by test_vk_validation.c: of the types, floats,
 * a block of one scale and one of several. */
ParameterizedTestParameters(golden_counts, validation)
{
    static struct type types[] = {{"f32"}, {"q8_0"}, {"q4_k"}};
    return cr_make_param_array(struct type, types, 3);
}

/* Five tokens queued ahead of the host. */
static void generate(struct moxie_model *model, const uint32_t *ids)
{
    struct moxie_error err;
    struct moxie_sampling sampling = moxie_sampling_defaults();
    struct moxie_session *session = moxie_session_create(model, NULL, &err);
    cr_assert_not_null(session, "%s", err.text);
    sampling.repeat_penalty = 1.1f;
    golden_eval(session, ids, 1);
    cr_assert(moxie_generate_begin(session, &sampling, ids, 40, &err), "%s", err.text);
    for (int i = 0; i < 5; i++) {
        uint32_t id;
        cr_assert(moxie_generate_next(session, &id, &err), "%s", err.text);
    }
    moxie_generate_end(session);
    moxie_session_destroy(&session);
}

/* A prompt of two chunks and five tokens; and an answer. */
ParameterizedTest(struct type *type, golden_counts, validation)
{
    golden_vulkan();
    struct moxie_error err;
    struct moxie_options options = moxie_options_defaults();
    options.device = golden_device()->id;
    options.arithmetic = "f32"; /* others pack their vectors */
    options.validation = true;
    struct moxie_model *model = moxie_open(golden_tiny(type->name), &options, &err);
    if (!model && strstr(err.text, "layer")) {
        cr_skip("%s", err.text);
    }
    cr_assert_not_null(model, "%s", err.text);
    json_t *reference = golden_tiny_reference();
    const json_t *list = json_object_get(json_object_get(reference, "perplexity"), "ids");
    size_t n;
    uint32_t *ids = golden_ids(list, &n);
    cr_assert_gt(n, 40);
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 64);
    golden_eval(session, ids, 33);
    golden_eval(session, ids + 33, 7);
    for (int i = 0; i < 5; i++) {
        uint32_t best = moxie_best(session);
        golden_eval(session, &best, 1);
    }
    generate(model, ids);
    char first[512] = "";
    cr_expect_eq(moxie_validation_messages(model, first, sizeof(first)), 0, "%s", first);
    moxie_session_destroy(&session);
    cr_expect_eq(moxie_validation_messages(model, NULL, 0), 0, "after the session has gone");
    moxie_close(&model);
    free(ids);
    json_decref(reference);
}
