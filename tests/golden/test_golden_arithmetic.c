/* The arithmetic of prompts on GPUs: with each that the device has the logits of the demo model are
 * near those with floats, and are not the same, so that it is the one that was asked for. What
 * cannot be is refused with a sentence. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

#define PROMPT 63
#define TEXT "The keeper of the lighthouse counted the ships that passed in the night, "

static struct moxie_model *open_with(const char *device, const char *arithmetic,
                                     struct moxie_error *err)
{
    struct moxie_options options = moxie_options_defaults();
    options.device = device;
    options.arithmetic = arithmetic;
    return moxie_open(golden_demo(), &options, err);
}

/* Logits after a prompt of PROMPT tokens of text (free them), or NULL where the device has no such
 * arithmetic. */
static float *logits_with(const char *arithmetic, uint32_t *vocabulary)
{
    struct moxie_error err;
    struct moxie_model *model = open_with(golden_vulkan()->id, arithmetic, &err);
    if (!model) {
        cr_expect(strstr(err.text, " has no "), "%s", err.text);
        return NULL;
    }
    uint32_t *ids, *prompt = malloc(PROMPT * sizeof(*prompt));
    size_t n;
    cr_assert(moxie_tokenize(model, TEXT, strlen(TEXT), 0, &ids, &n, &err), "%s", err.text);
    for (size_t i = 0; i < PROMPT; i++) {
        prompt[i] = ids[i % n];
    }
    struct moxie_session *session = golden_session(model, MOXIE_KV_F32, 0);
    golden_eval(session, prompt, PROMPT);
    *vocabulary = golden_vocabulary(model);
    float *logits = malloc(*vocabulary * sizeof(*logits));
    memcpy(logits, moxie_logits(session), *vocabulary * sizeof(*logits));
    moxie_session_destroy(&session);
    moxie_close(&model);
    moxie_free(ids);
    free(prompt);
    return logits;
}

Test(golden_arithmetic, each_is_near_floats_and_is_used)
{
    static const struct {
        const char *name;
        double nmse;
    } rows[] = {{"f16", 1e-5}, {"int8", 1e-3}, {"matrix", 1e-5}};
    uint32_t vocabulary, n_tried = 0;
    float *floats = logits_with("f32", &vocabulary);
    cr_assert_not_null(floats);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        float *logits = logits_with(rows[i].name, &vocabulary);
        if (logits) {
            double nmse = check_nmse(logits, floats, vocabulary);
            printf("%-6s NMSE %.1e\n", rows[i].name, nmse);
            cr_expect(nmse > 0 && nmse < rows[i].nmse, "%s: NMSE %g", rows[i].name, nmse);
            n_tried++;
            free(logits);
        }
    }
    if (n_tried == 0) {
        cr_skip("the device has floats only");
    }
    free(floats);
}

Test(golden_arithmetic, what_cannot_be_is_refused)
{
    struct moxie_error err;
    cr_assert_null(open_with(golden_vulkan()->id, "f64", &err));
    cr_expect(strstr(err.text, "there is no arithmetic \"f64\""), "%s", err.text);
    cr_assert_null(open_with("cpu", "f32", &err));
    cr_expect(strstr(err.text, "on GPUs only"), "%s", err.text);
}
