/* Answers that the device generates by itself: the tokens are those of moxie_eval and moxie_sample,
 * on a GPU those of the CPU; and what a session holds when they end.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/cpu_features.h"
#include "tests/check.h"
#include "tests/golden/golden.h"

#define CONTEXT 64
#define ANSWER 16

static const char prompt[] = "Once upon a time, there was a";

struct text {
    uint32_t *ids;
    size_t n;
};

/* One that keeps no routes, as people's do: then a GPU runs ahead. */
static struct moxie_session *create(struct moxie_model *model, uint32_t context)
{
    struct moxie_session_options options = moxie_session_defaults();
    struct moxie_error err;
    options.context = context;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    cr_assert_not_null(session, "%s", err.text);
    return session;
}

static struct text tokenize(const struct moxie_model *model)
{
    struct text text;
    struct moxie_error err;
    cr_assert(moxie_tokenize(model, prompt, sizeof(prompt) - 1, MOXIE_ADD_SPECIAL, &text.ids,
                             &text.n, &err),
              "%s", err.text);
    cr_assert(text.n > 1 && text.n + ANSWER < CONTEXT);
    return text;
}

static struct moxie_sampling settings_of(int variant)
{
    struct moxie_sampling sampling = moxie_sampling_defaults();
    sampling.seed = 7;
    switch (variant) {
    case 0:
        sampling.temperature = 0;
        break;
    case 1:
        break;
    case 2:
        sampling.top_k = 0;
        sampling.temperature = 1.5f;
        sampling.min_p = 0;
        break;
    default:
        sampling.temperature = 1.2f;
        sampling.repeat_penalty = 1.4f;
        sampling.repeat_last = 9;
    }
    return sampling;
}
enum { VARIANTS = 4 };

/* One token at a time, chosen by the host. */
static void sample(struct moxie_session *session, const struct moxie_model *model,
                   const struct moxie_sampling *sampling, const struct text *text, uint32_t *ids)
{
    struct moxie_error err;
    struct moxie_sampler *sampler = moxie_sampler_create(model, sampling, &err);
    cr_assert_not_null(sampler, "%s", err.text);
    moxie_rewind(session, 0);
    golden_eval(session, text->ids, text->n);
    for (size_t i = 0; i < text->n; i++) {
        moxie_sampler_accept(sampler, text->ids[i]);
    }
    for (int i = 0; i < ANSWER; i++) {
        ids[i] = moxie_sample(sampler, session);
        moxie_sampler_accept(sampler, ids[i]);
        golden_eval(session, &ids[i], 1);
    }
    moxie_sampler_destroy(&sampler);
}

static void begin(struct moxie_session *session, const struct moxie_sampling *sampling,
                  const struct text *text)
{
    struct moxie_error err;
    moxie_rewind(session, 0);
    golden_eval(session, text->ids, text->n);
    cr_assert(moxie_generate_begin(session, sampling, text->ids, text->n, &err), "%s", err.text);
    cr_expect_null(moxie_logits(session));
}

static uint32_t next(struct moxie_session *session)
{
    struct moxie_error err;
    uint32_t id;
    cr_assert(moxie_generate_next(session, &id, &err), "%s", err.text);
    return id;
}

static void generate(struct moxie_session *session, const struct moxie_sampling *sampling,
                     const struct text *text, uint32_t *ids)
{
    begin(session, sampling, text);
    for (uint32_t i = 0; i < ANSWER; i++) {
        ids[i] = next(session);
        cr_expect_eq(moxie_position(session), text->n + i);
    }
    moxie_generate_end(session);
    cr_expect_eq(moxie_position(session), text->n + ANSWER - 1);
}

/* On the CPU, whose activations are not rounded to int8 then: those would be other logits. */
static struct moxie_model *open_plain(void)
{
    struct moxie_options options = moxie_options_defaults();
    struct moxie_error err;
    options.device = "cpu";
    cpu_features_set_mask(0);
    struct moxie_model *model = moxie_open(golden_demo(), &options, &err);
    cr_assert_not_null(model, "%s", err.text);
    return model;
}

Test(golden_generate, the_tokens_are_those_of_the_sampler_and_of_any_device)
{
    bool gpu = golden_device()->vulkan;
    struct moxie_model *model = golden_open(golden_demo()), *plain = gpu ? open_plain() : NULL;
    struct moxie_session *session = create(model, CONTEXT);
    struct moxie_session *other = plain ? create(plain, CONTEXT) : NULL;
    struct text text = tokenize(model);
    uint32_t wanted[ANSWER], got[ANSWER], before[ANSWER] = {0};
    for (int variant = 0; variant < VARIANTS; variant++) {
        struct moxie_sampling sampling = settings_of(variant);
        generate(session, &sampling, &text, got);
        sample(session, model, &sampling, &text, wanted);
        cr_expect_arr_eq(got, wanted, sizeof(got), "setting %d, the host's choice", variant);
        if (other) {
            generate(other, &sampling, &text, wanted);
            cr_expect_arr_eq(got, wanted, sizeof(got), "setting %d, the CPU's choice", variant);
        }
        cr_expect(memcmp(got, before, sizeof(got)) != 0, "setting %d does something", variant);
        memcpy(before, got, sizeof(got));
    }
    moxie_session_destroy(&session);
    moxie_session_destroy(&other);
    moxie_close(&model);
    moxie_close(&plain);
    moxie_free(text.ids);
}

/* The token computed beyond the end leaves no trace. */
Test(golden_generate, an_answer_ends_one_late_and_the_session_goes_on)
{
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_session *session = create(model, CONTEXT);
    struct moxie_session *other = create(model, CONTEXT);
    struct moxie_sampling sampling = settings_of(1);
    struct text text = tokenize(model);
    size_t bytes = golden_vocabulary(model) * sizeof(float);
    uint32_t ids[3], instead = text.ids[1];
    begin(session, &sampling, &text);
    for (int i = 0; i < 3; i++) {
        ids[i] = next(session);
    }
    moxie_generate_end(session);
    cr_expect_eq(moxie_position(session), text.n + 2, "the last token is the caller's to append");
    golden_eval(session, &instead, 1);
    golden_eval(other, text.ids, text.n);
    golden_eval(other, &ids[0], 1);
    golden_eval(other, &ids[1], 1);
    golden_eval(other, &instead, 1);
    cr_expect(memcmp(moxie_logits(session), moxie_logits(other), bytes) == 0);
    /* And again, from here. An answer may also end before it has begun. */
    struct moxie_error err;
    cr_assert(moxie_generate_begin(session, &sampling, NULL, 0, &err), "%s", err.text);
    moxie_generate_end(session);
    moxie_generate_end(session);
    cr_expect_eq(moxie_position(session), text.n + 3);
    golden_eval(session, &ids[2], 1);
    golden_eval(other, &ids[2], 1);
    cr_expect(memcmp(moxie_logits(session), moxie_logits(other), bytes) == 0);
    /* A session may go while its device is at work. */
    cr_assert(moxie_generate_begin(session, &sampling, NULL, 0, &err), "%s", err.text);
    next(session);
    moxie_session_destroy(&session);
    moxie_session_destroy(&other);
    moxie_close(&model);
    moxie_free(text.ids);
}

Test(golden_generate, a_full_context_is_told_and_changes_nothing)
{
    struct moxie_model *model = golden_open(golden_demo());
    struct text text = tokenize(model);
    uint32_t context = (uint32_t)text.n + 4, id;
    struct moxie_session *session = create(model, context);
    struct moxie_sampling sampling = settings_of(3);
    struct moxie_error err;
    begin(session, &sampling, &text);
    for (int i = 0; i < 5; i++) { /* four fit, and the fifth is known */
        id = next(session);
    }
    cr_expect_eq(moxie_position(session), context);
    for (int i = 0; i < 2; i++) {
        cr_expect_not(moxie_generate_next(session, &id, &err));
        cr_expect(strstr(err.text, "context") && strstr(err.text, "full"), "%s", err.text);
        cr_expect_eq(moxie_position(session), context);
    }
    moxie_generate_end(session);
    cr_expect_eq(moxie_position(session), context);
    moxie_rewind(session, 2);
    golden_eval(session, &id, 1);
    moxie_session_destroy(&session);
    moxie_close(&model);
    moxie_free(text.ids);
}

Test(golden_generate, routes_are_those_of_the_token_appended)
{
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_session_options options = moxie_session_defaults();
    struct moxie_error err;
    options.context = CONTEXT;
    options.keep_routes = true;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    struct moxie_session *other = moxie_session_create(model, &options, &err);
    cr_assert(session && other, "%s", err.text);
    struct text text = tokenize(model);
    struct moxie_sampling sampling = settings_of(2);
    begin(session, &sampling, &text);
    golden_eval(other, text.ids, text.n);
    for (int i = 0; i < 6; i++) {
        const uint32_t *ids[2];
        const float *weights[2];
        uint32_t id = next(session);
        for (uint32_t layer = 0; i > 0 && layer < 4; layer++) {
            uint32_t n = moxie_routes(session, layer, &ids[0], &weights[0]);
            cr_assert_eq(n, moxie_routes(other, layer, &ids[1], &weights[1]));
            cr_expect_eq(n, 1);
            cr_expect_arr_eq(ids[0], ids[1], 2 * sizeof(uint32_t));
            cr_expect_arr_eq(weights[0], weights[1], 2 * sizeof(float));
        }
        golden_eval(other, &id, 1);
    }
    moxie_generate_end(session);
    moxie_session_destroy(&session);
    moxie_session_destroy(&other);
    moxie_close(&model);
    moxie_free(text.ids);
}

Test(golden_generate, refusals)
{
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_session *session = create(model, CONTEXT);
    struct moxie_sampling sampling = settings_of(1);
    struct moxie_error err;
    uint32_t id = 3, outside = golden_vocabulary(model);
    golden_eval(session, &id, 1);
    sampling.temperature = -1;
    cr_expect_not(moxie_generate_begin(session, &sampling, &id, 1, &err));
    cr_expect(strstr(err.text, "temperature"), "%s", err.text);
    sampling = settings_of(3);
    cr_expect_not(moxie_generate_begin(session, &sampling, &outside, 1, &err));
    cr_expect(strstr(err.text, "vocabulary"), "%s", err.text);
    cr_expect_not_null(moxie_logits(session), "nothing has happened");
    moxie_session_destroy(&session);
    moxie_close(&model);
}
