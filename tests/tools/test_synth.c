/* moxie synth: every family runs from both containers, routes are skewed and correlated, the same
 * seed gives the same bytes, and nothing is left of what failed. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "engine/model/synthetic_shapes.h"
#include "engine/moxie.h"
#include "tests/check.h"
#include "tests/tools/run_program.h"

#define TOKENS 192
#define MAX_VOCABULARY 1024

static const char *path_of(const char *name)
{
    return check_path(check_temp_dir(), name);
}

static void synth(const char *shape, const char *path, const char *options)
{
    const struct program_run *run = run_moxie(NULL, "synth %s '%s' %s", shape, path, options);
    cr_assert_eq(run->status, 0, "%s %s: %s", shape, options, run->err);
    cr_expect_str_eq(run->err, "", "quiet in a pipe");
}

/* Tokens of English words and some bytes. */
static void make_ids(uint32_t ids[TOKENS])
{
    struct check_random random = {7};
    for (uint32_t i = 0; i < TOKENS; i++) {
        ids[i] = i % 3 == 0 ? 32 + check_random_below(&random, 90)
                            : 256 + check_random_below(&random, 600);
    }
}

struct spoken {
    float logits[MAX_VOCABULARY];
    uint32_t vocabulary;
    double popular; /* share of tokens that the busiest quarter of the last layer's experts got */
    double repeated, distant; /* chosen experts that were chosen 1 and 64 tokens before */
};

static double overlap(const uint32_t *ids, uint32_t n, uint32_t k, uint32_t lag)
{
    uint32_t same = 0;
    for (uint32_t t = lag; t < n; t++) {
        for (uint32_t i = 0; i < k * k; i++) {
            same += ids[t * k + i / k] == ids[(t - lag) * k + i % k];
        }
    }
    return (double)same / ((n - lag) * k);
}

static int descending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

static void measure_routes(struct moxie_session *session, const struct moxie_model_info *info,
                           struct spoken *spoken)
{
    const uint32_t *ids;
    const float *weights;
    uint32_t counts[256] = {0}, k = info->experts_per_token;
    uint32_t n = moxie_routes(session, info->layers - 1, &ids, &weights);
    cr_assert_eq(n, TOKENS);
    for (uint32_t i = 0; i < n * k; i++) {
        counts[ids[i]]++;
    }
    qsort(counts, info->experts, sizeof(counts[0]), descending);
    for (uint32_t i = 0; i < info->experts / 4; i++) {
        spoken->popular += (double)counts[i] / (n * k);
    }
    spoken->repeated = overlap(ids, n, k, 1);
    spoken->distant = overlap(ids, n, k, 64);
}

static void speak(const char *path, struct spoken *spoken)
{
    struct moxie_options options = moxie_options_defaults();
    options.device = "cpu";
    struct moxie_error err;
    struct moxie_model *model = moxie_open(path, &options, &err);
    cr_assert(model, "%s: %s", path, err.text);
    struct moxie_session_options choices = moxie_session_defaults();
    choices.keep_routes = true;
    struct moxie_session *session = moxie_session_create(model, &choices, &err);
    cr_assert(session, "%s: %s", path, err.text);
    uint32_t ids[TOKENS];
    make_ids(ids);
    cr_assert(moxie_eval(session, ids, TOKENS, &err), "%s", err.text);
    struct moxie_model_info info;
    moxie_model_info(model, &info);
    *spoken = (struct spoken){.vocabulary = info.vocabulary};
    cr_assert_leq(info.vocabulary, MAX_VOCABULARY);
    memcpy(spoken->logits, moxie_logits(session), info.vocabulary * sizeof(float));
    measure_routes(session, &info, spoken);
    moxie_session_destroy(&session);
    moxie_close(&model);
}

static void expect_sensible(const char *name, const struct spoken *spoken)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < spoken->vocabulary; i++) {
        cr_assert(isfinite(spoken->logits[i]), "%s: logit %u", name, i);
        sum += spoken->logits[i];
        squares += (double)spoken->logits[i] * spoken->logits[i];
    }
    double mean = sum / spoken->vocabulary;
    double deviation = sqrt(squares / spoken->vocabulary - mean * mean);
    cr_expect(deviation > 1 && deviation < 12, "%s: logits deviate by %g", name, deviation);
    cr_expect_gt(spoken->popular, 0.30, "%s: the busiest quarter has %g", name, spoken->popular);
    cr_expect_lt(spoken->popular, 0.98, "%s: the busiest quarter has %g", name, spoken->popular);
    cr_expect_gt(spoken->repeated, spoken->distant + 0.02, "%s: %g of the last, %g of distant ones",
                 name, spoken->repeated, spoken->distant);
    cr_expect_lt(spoken->repeated, 0.9, "%s", name);
}

static bool is_tiny(const struct synthetic_shape *shape)
{
    return strncmp(shape->name, "tiny-", 5) == 0;
}

Test(synth, every_family_speaks_from_both_containers)
{
    static const char *const types[] = {"q4_k_m", "q8_0", "mxfp4_moe"};
    for (uint32_t i = 0; i < synthetic_shape_count(); i++) {
        const struct synthetic_shape *shape = synthetic_shape_at(i);
        if (!is_tiny(shape)) {
            continue;
        }
        char options[64] = "--type ";
        strcat(options, types[i % 3]);
        struct spoken moxie, gguf;
        synth(shape->name, path_of("a.moxie"), options);
        synth(shape->name, path_of("a.gguf"), options);
        speak(path_of("a.moxie"), &moxie);
        speak(path_of("a.gguf"), &gguf);
        expect_sensible(shape->name, &moxie);
        cr_expect_arr_eq(moxie.logits, gguf.logits, moxie.vocabulary * sizeof(float), "%s",
                         shape->name);
    }
}

Test(synth, every_type_can_be_written)
{
    const struct program_run *run = run_moxie(NULL, "synth tiny-qwen3-moe x.moxie --type nonsense");
    cr_assert_eq(run->status, 2);
    char *list = strdup(strstr(run->err, "one of ") + strlen("one of "));
    for (char *at = list; *at;) {
        char *name = at;
        at += strcspn(at, ", \n");
        while (*at && strchr(", \n", *at)) {
            *at++ = 0;
        }
        char options[64] = "--layers 1 --type ";
        if (strcmp(name, "...") == 0 || strcmp(name, "or") == 0) {
            continue;
        }
        strncat(options, name, 20);
        synth("tiny-qwen3-moe", path_of("t.moxie"), options);
        struct spoken spoken;
        speak(path_of("t.moxie"), &spoken);
        for (uint32_t i = 0; i < spoken.vocabulary; i++) {
            cr_assert(isfinite(spoken.logits[i]), "%s: logit %u", name, i);
        }
    }
    free(list);
}

Test(synth, deep_models_stay_finite)
{
    struct spoken spoken;
    synth("tiny-qwen3-moe", path_of("deep.moxie"), "--layers 48 --type q8_0");
    speak(path_of("deep.moxie"), &spoken);
    expect_sensible("48 layers", &spoken);
}

Test(synth, the_seed_decides_alone)
{
    size_t a_bytes, b_bytes, c_bytes;
    synth("tiny-deepseek-v2", path_of("a.moxie"), "--seed 5 --threads 1");
    synth("tiny-deepseek-v2", path_of("b.moxie"), "--seed 5 --threads 3");
    synth("tiny-deepseek-v2", path_of("c.moxie"), "--seed 6");
    char *a = check_read_file(path_of("a.moxie"), &a_bytes);
    char *b = check_read_file(path_of("b.moxie"), &b_bytes);
    char *c = check_read_file(path_of("c.moxie"), &c_bytes);
    cr_assert(a && b && c);
    cr_assert_eq(a_bytes, b_bytes);
    cr_assert_eq(a_bytes, c_bytes);
    cr_expect_eq(memcmp(a, b, a_bytes), 0);
    cr_expect_neq(memcmp(a, c, a_bytes), 0);
    free(a);
    free(b);
    free(c);
    const struct program_run *run = run_moxie(NULL, "verify '%s'", path_of("a.moxie"));
    cr_expect_eq(run->status, 0, "%s", run->err);
}

/* The published sizes, in billions of weights. */
Test(synth, shapes_have_the_sizes_of_their_models)
{
    static const struct {
        const char *name;
        double billions;
    } sizes[] = {{"qwen3-30b-a3b", 30.53},  {"gpt-oss-20b", 20.91},      {"gpt-oss-120b", 116.83},
                 {"mixtral-8x7b", 46.70},   {"deepseek-v2-lite", 15.71}, {"olmoe-1b-7b", 6.92},
                 {"qwen2-57b-a14b", 57.41}, {"qwen1.5-moe-a2.7b", 14.32}};
    uint32_t n = sizeof(sizes) / sizeof(sizes[0]), known = 0;
    for (uint32_t i = 0; i < synthetic_shape_count(); i++) {
        known += !is_tiny(synthetic_shape_at(i));
    }
    cr_expect_eq(known, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct program_run *run =
            run_moxie(NULL, "synth %s x.gguf --type f16 --dry-run", sizes[i].name);
        cr_assert_eq(run->status, 0, "%s", run->err);
        const char *bytes = strstr(run->out, "layers, ");
        cr_assert(bytes, "%s", run->out);
        double billions = strtod(bytes + strlen("layers, "), NULL) / 2e9;
        cr_expect(fabs(billions / sizes[i].billions - 1) < 0.01, "%s: %.2f billion weights",
                  sizes[i].name, billions);
    }
}

Test(synth, failures_leave_nothing)
{
    const struct program_run *run = run_moxie(NULL, "synth no-such-shape x.gguf");
    cr_expect_eq(run->status, 2);
    cr_expect(strstr(run->err, "no-such-shape"), "%s", run->err);
    run = run_moxie(NULL, "synth tiny-mixtral '%s'", path_of("x.bin"));
    cr_expect_eq(run->status, 2);
    run = run_moxie(NULL, "synth tiny-mixtral '%s' --layers 100000", path_of("x.gguf"));
    cr_expect_eq(run->status, 2);
    cr_expect(strstr(run->err, "from 1 to 512"), "%s", run->err);
    run = run_moxie(NULL, "synth tiny-mixtral '%s'", path_of("none/x.gguf"));
    cr_expect_eq(run->status, 1);
    struct stat status;
    cr_expect_neq(stat(path_of("x.gguf"), &status), 0);
    cr_expect_neq(stat(path_of("x.bin"), &status), 0);
}

/* What has no room is refused before it is begun. */
Test(synth, disks_that_are_too_small)
{
    struct statvfs volume;
    cr_assert_eq(statvfs(check_temp_dir(), &volume), 0);
    if ((double)volume.f_bavail * (double)volume.f_frsize > 3e12) {
        cr_skip("the disk is too large");
    }
    for (int gguf = 0; gguf < 2; gguf++) {
        const char *path = path_of(gguf ? "huge.gguf" : "huge.moxie");
        const struct program_run *run =
            run_moxie(NULL, "synth gpt-oss-120b '%s' --type f32 --layers 512", path);
        cr_expect_eq(run->status, 1);
        cr_expect(strstr(run->err, "free: make room"), "%s", run->err);
        struct stat status;
        cr_expect_neq(stat(path, &status), 0);
    }
}
