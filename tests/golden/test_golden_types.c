/* What every type of weights costs in exactness: logits against those of the f32 conversion, and
 * perplexity. Prints the table of models/README.md and of reports. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

/* The bounds are some 2 times what was measured. */
static const struct {
    const char *type;
    double nmse, perplexity; /* at most; the second relative to f32 */
} types[] = {
    {"f32", 0, 0},        {"f16", 1e-6, 1e-3},  {"bf16", 1e-12, 1e-9}, {"q8_0", 1e-3, 1e-2},
    {"q6_k", 3e-3, 2e-2}, {"q4_k", 3e-2, 1e-1}, {"q4_0", 1e-1, 2e-1},
};

/* The last logits of all prompts, one after the other; free it. */
static float *all_logits(struct moxie_model *model, const json_t *prompts, size_t *n_logits)
{
    uint32_t vocabulary = golden_vocabulary(model);
    *n_logits = json_array_size(prompts) * vocabulary;
    float *logits = malloc(*n_logits * sizeof(float));
    const json_t *prompt;
    size_t i, n;
    json_array_foreach(prompts, i, prompt)
    {
        uint32_t *ids = golden_ids(json_object_get(prompt, "ids"), &n);
        struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 64);
        golden_eval(session, ids, n);
        memcpy(logits + i * vocabulary, moxie_logits(session), vocabulary * sizeof(float));
        moxie_session_destroy(&session);
        free(ids);
    }
    return logits;
}

Test(golden_types, exactness)
{
    golden_cpu();
    json_t *reference = golden_tiny_reference();
    const json_t *prompts = json_object_get(reference, "prompts");
    size_t n, n_logits;
    uint32_t *ids =
        golden_ids(json_object_get(json_object_get(reference, "perplexity"), "ids"), &n);
    float *exact = NULL;
    double exact_perplexity = 0;
    printf("type      bytes  NMSE of logits  perplexity  change\n");
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const char *path = golden_tiny(types[i].type);
        struct stat status;
        cr_assert_eq(stat(path, &status), 0);
        struct moxie_model *model = golden_open(path);
        float *logits = all_logits(model, prompts, &n_logits);
        double perplexity = golden_perplexity(model, ids, n);
        exact = exact ? exact : logits;
        exact_perplexity = exact_perplexity > 0 ? exact_perplexity : perplexity;
        double nmse = check_nmse(logits, exact, n_logits);
        double change = perplexity / exact_perplexity - 1;
        printf("%-5s  %8lld         %7.1e  %10.4f  %+.3f%%\n", types[i].type,
               (long long)status.st_size, nmse, perplexity, 100 * change);
        cr_expect_leq(nmse, types[i].nmse, "%s: NMSE %g", types[i].type, nmse);
        cr_expect_leq(change, types[i].perplexity, "%s: perplexity changes by %g", types[i].type,
                      change);
        moxie_close(&model);
        remove(path);
        if (logits != exact) {
            free(logits);
        }
    }
    free(exact);
    free(ids);
    json_decref(reference);
}
