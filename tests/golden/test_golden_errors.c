/* Wrong requests through the public header: one sentence, and what was there still works. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

static struct moxie_model *model;
static const char *path;
static uint32_t vocabulary;

static void open_small(void)
{
    json_t *reference;
    golden_device(); /* skip before any work is done */
    path = golden_family("qwen3moe_step", "f32", &reference);
    json_decref(reference);
    model = golden_open(path);
    vocabulary = golden_vocabulary(model);
}

/* One sentence: not empty, one line, not cut. */
static void check_sentence(const struct moxie_error *err, const char *word)
{
    cr_expect_gt(strlen(err->text), 10);
    cr_expect_lt(strlen(err->text), sizeof(err->text) - 1);
    cr_expect_null(strchr(err->text, '\n'), "%s", err->text);
    cr_expect_not_null(strstr(err->text, word), "\"%s\" lacks \"%s\"", err->text, word);
}

Test(golden_errors, a_refused_eval_changes_nothing)
{
    open_small();
    struct moxie_error err;
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 20);
    uint32_t ids[21];
    for (uint32_t i = 0; i < 21; i++) {
        ids[i] = i;
    }
    cr_expect_null(moxie_logits(session));
    cr_expect_not(moxie_eval(session, ids, 21, &err));
    check_sentence(&err, "context");
    cr_expect_eq(moxie_position(session), 0);
    golden_eval(session, ids, 15);
    float *before = malloc(vocabulary * sizeof(float));
    memcpy(before, moxie_logits(session), vocabulary * sizeof(float));

    cr_expect_not(moxie_eval(session, ids, 6, &err));
    check_sentence(&err, "context");
    ids[3] = vocabulary;
    cr_expect_not(moxie_eval(session, ids, 4, &err));
    check_sentence(&err, "vocabulary");
    ids[3] = UINT32_MAX;
    cr_expect_not(moxie_eval(session, ids + 3, 1, NULL));
    cr_expect_eq(moxie_position(session), 15);
    cr_assert_not_null(moxie_logits(session));
    cr_expect_eq(memcmp(before, moxie_logits(session), vocabulary * sizeof(float)), 0);

    golden_eval(session, ids + 15, 5); /* exactly full */
    cr_expect_eq(moxie_position(session), moxie_context(session));
    cr_expect_not(moxie_eval(session, ids, 1, &err));
    moxie_rewind(session, 10);
    golden_eval(session, ids + 10, 5);
    cr_expect_leq(check_nmse(moxie_logits(session), before, vocabulary), 1e-9);
    free(before);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

Test(golden_errors, a_context_larger_than_trained)
{
    open_small();
    struct moxie_error err;
    struct moxie_session_options options = moxie_session_defaults();
    options.context = 161;
    cr_expect_null(moxie_session_create(model, &options, &err));
    check_sentence(&err, "160");
    options.context = 160;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    cr_expect_not_null(session, "%s", err.text);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

Test(golden_errors, devices_that_are_not_there)
{
    open_small();
    static const char *const names[] = {"banana", "vulkan:99", "vulkan:", "vulkan:0x", "cpu:0", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct moxie_error err;
        struct moxie_options options = moxie_options_defaults();
        options.device = names[i];
        cr_expect_null(moxie_open(path, &options, &err), "%s", names[i]);
        check_sentence(&err, "evice");
    }
    moxie_close(&model);
}

Test(golden_errors, files_that_are_not_there_or_not_ours)
{
    struct moxie_error err;
    cr_expect_null(moxie_open("/nowhere/model.moxie", NULL, &err));
    check_sentence(&err, "/nowhere/model.moxie");
    const char *other = check_path(check_temp_dir(), "other");
    cr_assert(check_write_file(other, "not a model", 11));
    cr_expect_null(moxie_open(other, NULL, &err));
    check_sentence(&err, other);
    cr_expect_null(moxie_open(other, NULL, NULL));
}

Test(golden_errors, too_little_device_memory)
{
    golden_vulkan();
    struct moxie_error err;
    struct moxie_options options = moxie_options_defaults();
    options.device = golden_device()->id;
    options.device_memory = 1 << 20;
    cr_expect_null(moxie_open(golden_demo(), &options, &err));
    check_sentence(&err, "MiB");

    /* Enough for the weights, but not for the context. */
    options.device_memory = UINT64_C(12) << 20;
    model = moxie_open(golden_demo(), &options, &err);
    cr_assert_not_null(model, "%s", err.text);
    struct moxie_session_options session_options = moxie_session_defaults();
    session_options.kv_type = MOXIE_KV_F32;
    cr_expect_null(moxie_session_create(model, &session_options, &err));
    check_sentence(&err, "context");
    session_options.context = 16;
    session_options.chunk = 8;
    struct moxie_session *session = moxie_session_create(model, &session_options, &err);
    cr_expect_not_null(session, "%s", err.text);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

Test(golden_errors, heads_that_q8_0_cannot_hold)
{
    open_small(); /* heads of 10 */
    struct moxie_error err;
    struct moxie_session_options options = moxie_session_defaults();
    options.kv_type = MOXIE_KV_Q8_0;
    cr_expect_null(moxie_session_create(model, &options, &err));
    check_sentence(&err, "use f16");
    moxie_close(&model);
}

Test(golden_errors, reports)
{
    open_small();
    struct moxie_session *session = golden_session(model, MOXIE_KV_F32, 64);
    struct moxie_memory memory;
    moxie_memory_report(session, &memory);
    cr_expect_eq(memory.context, 2 * 2 * 64 * 2 * 10 * 4); /* layers, k and v, rows, heads, dim */
    cr_expect_gt(memory.weights, 100000);
    cr_expect_gt(memory.activations, 64 * 36 * 4);
    for (int chunk = 0; chunk < 2; chunk++) {
        char *text;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        moxie_print_ops(session, chunk, out);
        fclose(out);
        cr_expect_not_null(strstr(text, "router"), "%s", text);
        cr_expect_eq(strstr(text, "expert_group") != NULL, chunk);
        free(text);
    }
    moxie_session_destroy(&session);
    moxie_close(&model);
}

/* The option is Vulkan's: asked for on the CPU it changes nothing and nobody reports. */
Test(golden_errors, validation_of_a_cpu)
{
    golden_cpu();
    struct moxie_error err;
    json_t *reference;
    char first[64] = "untouched";
    struct moxie_options options = moxie_options_defaults();
    options.device = "cpu";
    options.validation = true;
    model = moxie_open(golden_family("qwen3_tied", "f32", &reference), &options, &err);
    json_decref(reference);
    cr_assert_not_null(model, "%s", err.text);
    cr_expect_eq(moxie_validation_messages(model, first, sizeof(first)), 0);
    cr_expect_str_eq(first, "untouched");
    moxie_close(&model);
}
