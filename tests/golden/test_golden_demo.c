/* The shipped demo model against transformers' results from the weights it was made of
 * (tests/reference/golden_families.py), and the example program on top of it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

/* The model is stored as q8_0; the CPU also rounds activations to 8 bits. */
#define TOP_NMSE 2e-3

static json_t *prompts(json_t **whole)
{
    *whole = golden_json(check_source_path("tests/golden/moxie_tiny.json"));
    json_t *list = json_object_get(*whole, "prompts");
    cr_assert_geq(json_array_size(list), 3);
    return list;
}

static void check_ids(struct moxie_model *model, const json_t *prompt)
{
    const char *text = json_string_value(json_object_get(prompt, "prompt"));
    size_t n, n_expected;
    uint32_t *ids, *expected = golden_ids(json_object_get(prompt, "ids"), &n_expected);
    cr_assert(moxie_tokenize(model, text, strlen(text), MOXIE_PARSE_SPECIAL, &ids, &n, NULL));
    cr_expect(n == n_expected && memcmp(ids, expected, n * sizeof(*ids)) == 0, "%s", text);
    moxie_free(ids);
    free(expected);
}

static void check_top(const struct moxie_session *session, const json_t *prompt)
{
    size_t n, n_ids;
    float *expected = golden_floats(json_object_get(prompt, "top_logits"), &n);
    uint32_t *ids = golden_ids(json_object_get(prompt, "top_ids"), &n_ids);
    float *logits = malloc(n * sizeof(float));
    cr_assert_eq(n, n_ids);
    for (size_t i = 0; i < n; i++) {
        logits[i] = moxie_logits(session)[ids[i]];
    }
    double nmse = check_nmse(logits, expected, n);
    cr_expect_leq(nmse, TOP_NMSE, "NMSE %g", nmse);
    cr_expect_eq(moxie_best(session), ids[0]);
    free(expected);
    free(ids);
    free(logits);
}

/* The greedy answer as the text a user sees. */
static void check_answer(struct moxie_model *model, struct moxie_session *session,
                         const json_t *prompt)
{
    char answer[4096];
    size_t used = 0;
    struct moxie_text_stream stream = {0};
    for (int i = 0; i < 60 && !moxie_is_stop(model, moxie_best(session)); i++) {
        uint32_t id = moxie_best(session), bytes;
        const char *text = moxie_token_bytes(model, id, false, &bytes);
        cr_assert_lt(used + 3 * (bytes + 3) + 3, sizeof(answer));
        used += moxie_text_push(&stream, text, bytes, answer + used);
        golden_eval(session, &id, 1);
    }
    used += moxie_text_flush(&stream, answer + used);
    answer[used] = 0;
    cr_expect_str_eq(answer, json_string_value(json_object_get(prompt, "greedy_text")));
}

Test(golden_demo, prompts_and_answers)
{
    golden_device(); /* skip before any work is done */
    struct moxie_model *model = golden_open(golden_demo());
    json_t *whole;
    const json_t *prompt, *list = prompts(&whole);
    size_t i, n;
    json_array_foreach(list, i, prompt)
    {
        check_ids(model, prompt);
        uint32_t *ids = golden_ids(json_object_get(prompt, "ids"), &n);
        struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 128);
        golden_eval(session, ids, n);
        check_top(session, prompt);
        check_answer(model, session, prompt);
        moxie_session_destroy(&session);
        free(ids);
    }
    json_decref(whole);
    moxie_close(&model);
}

/* The prompts were written by hand as the chat template would. */
Test(golden_demo, the_chat_template_writes_the_prompts)
{
    golden_cpu();
    struct moxie_model *model = golden_open(golden_demo());
    struct moxie_message message = {"user", "What is the capital of France?"};
    struct moxie_error err;
    json_t *whole;
    const json_t *prompt = json_array_get(prompts(&whole), 0);
    char *text;
    uint32_t *ids;
    size_t n, bytes, n_expected;
    cr_assert(moxie_chat_text(model, &message, 1, true, &text, &bytes, &err), "%s", err.text);
    cr_expect_str_eq(text, json_string_value(json_object_get(prompt, "prompt")));
    cr_expect_eq(bytes, strlen(text));
    moxie_free(text);
    uint32_t *expected = golden_ids(json_object_get(prompt, "ids"), &n_expected);
    cr_assert(moxie_chat_tokens(model, &message, 1, true, &ids, &n, &err), "%s", err.text);
    cr_expect(n == n_expected && memcmp(ids, expected, n * sizeof(*ids)) == 0);
    moxie_free(ids);
    free(expected);
    json_decref(whole);
    moxie_close(&model);
}

Test(golden_demo, the_example_program_answers)
{
    golden_cpu();
    char command[8192], out[4096];
    /* Looking for a GPU loads every driver, and some of them leak. */
    snprintf(command, sizeof(command),
             "ASAN_OPTIONS=detect_leaks=0 '%s' '%s' 'What is the capital of France?'",
             EXAMPLE_PROGRAM, golden_demo());
    FILE *pipe = popen(command, "r");
    cr_assert_not_null(pipe);
    size_t n = fread(out, 1, sizeof(out) - 1, pipe);
    out[n] = 0;
    cr_expect_eq(pclose(pipe), 0);
    cr_expect_not_null(strstr(out, "Paris"), "%s", out);
}
