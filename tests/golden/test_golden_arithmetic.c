/* The arithmetic of prompts on GPUs: with each that the device has the logits of the demo model are
 * near those with floats, and are not the same, so that it is the one that was asked for. What
 * cannot be is refused with a sentence. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

/* Rounding to f16, which random weights spread. */
#define FAMILY_NMSE 1e-4
#define PROMPT 63
#define TEXT "The keeper of the lighthouse counted the ships that passed in the night, "

static struct moxie_model *open_with(const char *path, const char *device, const char *arithmetic,
                                     struct moxie_error *err)
{
    struct moxie_options options = moxie_options_defaults();
    options.device = device;
    options.arithmetic = arithmetic;
    return moxie_open(path, &options, err);
}

/* Logits after a prompt (free them), or NULL where the device has no such arithmetic. */
static float *logits_with(const char *path, const char *arithmetic, const uint32_t *prompt,
                          size_t n, uint32_t *vocabulary)
{
    struct moxie_error err;
    struct moxie_model *model = open_with(path, golden_vulkan()->id, arithmetic, &err);
    if (!model) {
        cr_expect(strstr(err.text, " has no "), "%s", err.text);
        return NULL;
    }
    struct moxie_session *session = golden_session(model, MOXIE_KV_F32, 0);
    golden_eval(session, prompt, n);
    *vocabulary = golden_vocabulary(model);
    float *logits = malloc(*vocabulary * sizeof(*logits));
    memcpy(logits, moxie_logits(session), *vocabulary * sizeof(*logits));
    moxie_session_destroy(&session);
    moxie_close(&model);
    return logits;
}

static double nmse_of(const char *path, const char *arithmetic, const uint32_t *prompt, size_t n,
                      const float *floats)
{
    uint32_t vocabulary;
    double nmse = -1;
    float *logits = logits_with(path, arithmetic, prompt, n, &vocabulary);
    if (logits) {
        nmse = check_nmse(logits, floats, vocabulary);
    }
    free(logits);
    return nmse;
}

Test(golden_arithmetic, each_is_near_floats_and_is_used)
{
    static const struct {
        const char *name;
        double nmse;
    } rows[] = {{"f16", 1e-5}, {"int8", 1e-3}, {"matrix", 1e-5}};
    struct moxie_error err;
    golden_vulkan();
    struct moxie_model *model = open_with(golden_demo(), "cpu", NULL, &err);
    uint32_t *ids, prompt[PROMPT], vocabulary, n_tried = 0;
    size_t n;
    cr_assert_not_null(model, "%s", err.text);
    cr_assert(moxie_tokenize(model, TEXT, strlen(TEXT), 0, &ids, &n, &err), "%s", err.text);
    for (size_t i = 0; i < PROMPT; i++) {
        prompt[i] = ids[i % n];
    }
    moxie_free(ids);
    moxie_close(&model);
    float *floats = logits_with(golden_demo(), "f32", prompt, PROMPT, &vocabulary);
    cr_assert_not_null(floats);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double nmse = nmse_of(golden_demo(), rows[i].name, prompt, PROMPT, floats);
        if (nmse >= 0) {
            printf("%-6s NMSE %.1e\n", rows[i].name, nmse);
            cr_expect(nmse > 0 && nmse < rows[i].nmse, "%s: NMSE %g", rows[i].name, nmse);
            n_tried++;
        }
    }
    if (n_tried == 0) {
        cr_skip("the device has floats only");
    }
    free(floats);
}

struct family {
    char name[32];
};

ParameterizedTestParameters(golden_arithmetic, matrices_of_families)
{
    static struct family families[] = {{"qwen3moe_mixed"}, {"qwen3_tied"},       {"llama_scaled"},
                                       {"mixtral"},        {"qwen2moe"},         {"olmoe"},
                                       {"gptoss"},         {"deepseek_v2_lite"}, {"deepseek_v3"}};
    return cr_make_param_array(struct family, families, sizeof(families) / sizeof(families[0]));
}

/* Matrices at sizes that are no multiples of a tile, in every kind of layer; on devices that have
 * them. */
ParameterizedTest(struct family *family, golden_arithmetic, matrices_of_families)
{
    json_t *reference;
    uint32_t vocabulary;
    struct moxie_error err;
    struct moxie_model *model = open_with(golden_demo(), golden_vulkan()->id, "matrix", &err);
    if (!model) {
        cr_skip("the device has no cooperative matrices");
    }
    moxie_close(&model);
    const char *path = golden_family(family->name, "f16", &reference);
    size_t n;
    uint32_t *prompt = golden_ids(json_object_get(reference, "ids"), &n);
    float *floats = logits_with(path, "f32", prompt, n, &vocabulary);
    double nmse = nmse_of(path, "matrix", prompt, n, floats);
    printf("%-16s matrix NMSE %.1e\n", family->name, nmse);
    cr_expect(nmse > 0 && nmse < FAMILY_NMSE, "%s: NMSE %g", family->name, nmse);
    json_decref(reference);
    free(floats);
    free(prompt);
}

Test(golden_arithmetic, what_cannot_be_is_refused)
{
    struct moxie_error err;
    cr_assert_null(open_with(golden_demo(), golden_vulkan()->id, "f64", &err));
    cr_expect(strstr(err.text, "there is no arithmetic \"f64\""), "%s", err.text);
    cr_assert_null(open_with(golden_demo(), "cpu", "f32", &err));
    cr_expect(strstr(err.text, "on GPUs only"), "%s", err.text);
}
