/* The demo model's checkpoint against the independent implementation's reference beside it: token
 * ids, logits, routes, greedy answers, perplexity. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

static json_t *reference;
static struct moxie_model *model;

static void open_tiny(const char *type)
{
    golden_device(); /* skip before any work is done */
    reference = golden_tiny_reference();
    model = golden_open(golden_tiny(type));
}

static void close_tiny(void)
{
    moxie_close(&model);
    json_decref(reference);
}

static const json_t *prompts(void)
{
    const json_t *list = json_object_get(reference, "prompts");
    cr_assert_gt(json_array_size(list), 5);
    return list;
}

static void check_ids(const char *text, const json_t *expected)
{
    struct moxie_error err;
    uint32_t *ids;
    size_t n, n_expected;
    uint32_t *right = golden_ids(expected, &n_expected);
    cr_assert(moxie_tokenize(model, text, strlen(text), MOXIE_PARSE_SPECIAL, &ids, &n, &err), "%s",
              err.text);
    cr_expect(n == n_expected && memcmp(ids, right, n * sizeof(*ids)) == 0, "ids of \"%s\"", text);
    moxie_free(ids);
    free(right);
}

Test(golden_tiny, token_ids)
{
    golden_cpu();
    open_tiny("bf16");
    const json_t *prompt;
    size_t i;
    json_array_foreach(prompts(), i, prompt)
    {
        check_ids(json_string_value(json_object_get(prompt, "prompt")),
                  json_object_get(prompt, "ids"));
    }
    const json_t *text = json_object_get(reference, "perplexity");
    check_ids(json_string_value(json_object_get(text, "text")), json_object_get(text, "ids"));
    close_tiny();
}

/* Rounding keys and values to q8_0 costs up to 3.4e-4 of the logits of this model. */
#define Q8_0_NMSE 1e-3

/* How the context is kept, and by how much the routers' weights may be off; 0: they may choose
 * other experts, where two are as good. */
struct cache {
    enum moxie_kv_type type;
    double weight_bound;
};

/* The whole prompt at once; last logits and all routes. Returns the NMSE. */
static double check_prompt(struct moxie_session *session, const json_t *prompt,
                           const struct cache *cache)
{
    size_t n, n_logits;
    uint32_t *ids = golden_ids(json_object_get(prompt, "ids"), &n);
    float *expected = golden_floats(json_object_get(prompt, "logits_last"), &n_logits);
    const char *text = json_string_value(json_object_get(prompt, "prompt"));
    double bound = golden_device()->nmse;
    bound = cache->type == MOXIE_KV_Q8_0 && bound < Q8_0_NMSE ? Q8_0_NMSE : bound;
    cr_assert_eq(n_logits, golden_vocabulary(model));
    moxie_rewind(session, 0);
    golden_eval(session, ids, n);
    double nmse = check_nmse(moxie_logits(session), expected, n_logits);
    cr_expect_leq(nmse, bound, "%s: NMSE %g", text, nmse);
    if (cache->weight_bound > 0) {
        golden_check_routes(session, json_object_get(prompt, "routes"), 0, cache->weight_bound,
                            text);
    }
    free(ids);
    free(expected);
    return nmse;
}

/* Returns the worst NMSE. */
static double check_prompts(enum moxie_kv_type kv_type)
{
    const struct cache cache = {kv_type, kv_type == MOXIE_KV_F32   ? 1e-4
                                         : kv_type == MOXIE_KV_F16 ? 2e-3
                                                                   : 0};
    struct moxie_session *session = golden_session(model, kv_type, 64);
    double worst = 0;
    const json_t *prompt;
    size_t i;
    json_array_foreach(prompts(), i, prompt)
    {
        double nmse = check_prompt(session, prompt, &cache);
        worst = nmse > worst ? nmse : worst;
    }
    moxie_session_destroy(&session);
    return worst;
}

static void check_type(const char *type)
{
    open_tiny(type);
    printf("%s: NMSE at most %.1e (f16 cache)", type, check_prompts(MOXIE_KV_F16));
    if (!golden_device()->vulkan) {
        printf(", %.1e (f32 cache)", check_prompts(MOXIE_KV_F32));
    }
    printf(", %.1e (q8_0 cache)\n", check_prompts(MOXIE_KV_Q8_0));
    close_tiny();
}

Test(golden_tiny, logits_and_routes_f32)
{
    golden_cpu(); /* elsewhere bf16 shows as much */
    check_type("f32");
}

Test(golden_tiny, logits_and_routes_bf16)
{
    check_type("bf16");
}

/* The reference cuts answers there. */
#define REFERENCE_MAX_ANSWER 40

/* Vulkan in software is slow: the stories are cut there, unless GOLDEN_LONG is set. */
static size_t max_answer(void)
{
    return golden_device()->vulkan && !getenv("GOLDEN_LONG") ? 14 : REFERENCE_MAX_ANSWER;
}

static void check_greedy(struct moxie_session *session, const json_t *prompt)
{
    size_t n, n_answer;
    uint32_t *ids = golden_ids(json_object_get(prompt, "ids"), &n);
    uint32_t *answer = golden_ids(json_object_get(prompt, "greedy_ids"), &n_answer);
    const char *text = json_string_value(json_object_get(prompt, "prompt"));
    moxie_rewind(session, 0);
    golden_eval(session, ids, n);
    size_t n_checked = n_answer < max_answer() ? n_answer : max_answer();
    for (size_t i = 0; i < n_checked; i++) {
        uint32_t best = moxie_best(session);
        cr_assert_eq(best, answer[i], "%s, answer token %zu: %u, not %u", text, i, best, answer[i]);
        golden_eval(session, &best, 1);
    }
    if (n_checked == n_answer &&
        n_answer < REFERENCE_MAX_ANSWER) { /* the reference stopped, so must we */
        cr_expect(moxie_is_stop(model, answer[n_answer - 1]) ||
                      moxie_is_stop(model, moxie_best(session)),
                  "%s: the answer does not end", text);
    }
    free(ids);
    free(answer);
}

Test(golden_tiny, greedy_answers)
{
    open_tiny("bf16");
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 128);
    const json_t *prompt;
    size_t i;
    json_array_foreach(prompts(), i, prompt)
    {
        check_greedy(session, prompt);
    }
    moxie_session_destroy(&session);
    close_tiny();
}

Test(golden_tiny, perplexity)
{
    golden_cpu();
    open_tiny("bf16");
    const json_t *text = json_object_get(reference, "perplexity");
    double expected = json_number_value(json_object_get(text, "perplexity"));
    size_t n;
    uint32_t *ids = golden_ids(json_object_get(text, "ids"), &n);
    double perplexity = golden_perplexity(model, ids, n);
    cr_expect_leq(fabs(perplexity / expected - 1), 1e-3, "%g, not %g", perplexity, expected);
    free(ids);
    close_tiny();
}
