/* What must not change the logits: how a prompt is cut into evaluations, what was evaluated and
 * forgotten before, another session beside this one, and doing it all again. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/golden/golden.h"

#define N_IDS 37

/* One line a model: how far apart the ways of evaluating may be. Where the CPU rounds activations
 * to int8, a last-bit difference may become one of a whole step; where a device adds in another
 * order for one token than for many, one of a step of the cache's f16. */
struct subject {
    char name[32]; /* a family, or "demo": the shipped model */
    double bound;
};

static struct subject subjects[] = {
    {"qwen3moe_mixed", 1e-7},
    {"gptoss", 1e-5},
    {"deepseek_v3", 1e-5},
    {"demo", 1e-4},
};
#define N_SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))

static struct moxie_model *model;
static uint32_t ids[N_IDS], vocabulary;

static void open_subject(const struct subject *subject)
{
    json_t *reference = NULL;
    golden_device(); /* skip before any work is done */
    if (golden_short() && strcmp(subject->name, "deepseek_v3") != 0) {
        cr_skip("in short, one model");
    }
    model = golden_open(strcmp(subject->name, "demo") == 0
                            ? golden_demo()
                            : golden_family(subject->name, "f32", &reference));
    json_decref(reference);
    vocabulary = golden_vocabulary(model);
    struct check_random random = {1};
    for (uint32_t i = 0; i < N_IDS; i++) {
        ids[i] = check_random_below(&random, vocabulary);
    }
}

/* The logits after n ids in a session of its own; free it. */
static float *logits_of(size_t n, size_t part)
{
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 100);
    float *copy = malloc(vocabulary * sizeof(float));
    golden_eval_parts(session, ids, n, part);
    memcpy(copy, moxie_logits(session), vocabulary * sizeof(float));
    moxie_session_destroy(&session);
    return copy;
}

static bool same(const float *a, const float *b)
{
    return memcmp(a, b, vocabulary * sizeof(float)) == 0;
}

static void check_parts_of_a_prompt(double bound)
{
    static const size_t parts[] = {1, 5, 32, 33};
    float *whole = logits_of(N_IDS, N_IDS);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        float *logits = logits_of(N_IDS, parts[i]);
        double nmse = check_nmse(logits, whole, vocabulary);
        cr_expect_leq(nmse, bound, "%zu at once: NMSE %g", parts[i], nmse);
        free(logits);
    }
    free(whole);
}

/* Chunks of the session, not of the caller: the logits of a long prompt come from its last chunk.
 */
static void check_chunks_of_a_session(double bound)
{
    float *whole = logits_of(N_IDS, N_IDS), *parts = logits_of(N_IDS, 33);
    struct moxie_error err;
    struct moxie_session_options options = moxie_session_defaults();
    options.context = 100;
    options.chunk = 33;
    struct moxie_session *session = moxie_session_create(model, &options, &err);
    cr_assert_not_null(session, "%s", err.text);
    golden_eval(session, ids, N_IDS);
    cr_expect_eq(moxie_position(session), N_IDS);
    cr_expect_leq(check_nmse(moxie_logits(session), whole, vocabulary), bound);
    cr_expect_leq(check_nmse(moxie_logits(session), parts, vocabulary), bound);
    moxie_session_destroy(&session);
    free(whole);
    free(parts);
}

static void check_rewinding(void)
{
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 100);
    float *first = malloc(vocabulary * sizeof(float));
    golden_eval(session, ids, 20);
    golden_eval(session, ids + 20, 10);
    memcpy(first, moxie_logits(session), vocabulary * sizeof(float));
    uint32_t best = moxie_best(session);

    golden_eval(session, ids, 15); /* something else beyond */
    moxie_rewind(session, 20);
    cr_expect_eq(moxie_position(session), 20);
    cr_expect_null(moxie_logits(session));
    golden_eval(session, ids + 20, 10);
    cr_expect(same(moxie_logits(session), first), "again from position 20");
    cr_expect_eq(moxie_best(session), best);

    moxie_rewind(session, 0);
    golden_eval(session, ids, 20);
    golden_eval(session, ids + 20, 10);
    cr_expect(same(moxie_logits(session), first), "again from the start");
    free(first);
    moxie_session_destroy(&session);
}

static void check_two_sessions(void)
{
    float *alone = logits_of(15, 5);
    struct moxie_session *one = golden_session(model, MOXIE_KV_F16, 100);
    struct moxie_session *other = golden_session(model, MOXIE_KV_F16, 64);
    for (size_t done = 0; done < 15; done += 5) {
        golden_eval(one, ids + done, 5);
        golden_eval(other, ids + 36 - done, 1); /* other tokens at other positions */
    }
    cr_expect(same(moxie_logits(one), alone));
    cr_expect_not(same(moxie_logits(other), alone));
    moxie_session_destroy(&other);
    moxie_rewind(one, 10);
    golden_eval(one, ids + 10, 5);
    cr_expect(same(moxie_logits(one), alone), "after the other session has gone");
    moxie_session_destroy(&one);
    free(alone);
}

static void check_the_same_twice(void)
{
    for (size_t part = 1; part <= N_IDS; part += N_IDS - 1) {
        size_t n = part == 1 ? 5 : N_IDS;
        float *first = logits_of(n, part), *second = logits_of(n, part);
        cr_expect(same(first, second), "%zu at once", part);
        free(first);
        free(second);
    }
}

static void check_best_is_the_largest(void)
{
    struct moxie_session *session = golden_session(model, MOXIE_KV_F16, 100);
    for (size_t i = 0; i < 8; i++) {
        golden_eval(session, &ids[i], 1);
        const float *logits = moxie_logits(session);
        uint32_t best = 0;
        for (uint32_t v = 1; v < vocabulary; v++) {
            best = logits[v] > logits[best] ? v : best;
        }
        cr_expect_eq(moxie_best(session), best);
    }
    moxie_session_destroy(&session);
}

ParameterizedTestParameters(golden_invariance, logits)
{
    return cr_make_param_array(struct subject, subjects, N_SUBJECTS);
}

/* In one test, because a device compiles its kernels anew for every model that is opened. */
ParameterizedTest(struct subject *subject, golden_invariance, logits)
{
    open_subject(subject);
    check_parts_of_a_prompt(subject->bound);
    check_chunks_of_a_session(subject->bound);
    check_rewinding();
    check_two_sessions();
    check_the_same_twice();
    check_best_is_the_largest();
    moxie_close(&model);
}
