/* Sampling: greedy, each filter, the distribution, the penalty, and that a seed repeats. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "engine/text/sampler.h"
#include "tests/check.h"

/* Everything off but the temperature. */
static struct sampler_options plain(float temperature)
{
    return (struct sampler_options){
        .temperature = temperature, .top_p = 1, .repeat_penalty = 1, .seed = 1};
}

static struct sampler *create(struct sampler_options options, uint32_t vocabulary)
{
    struct error err = {0};
    struct sampler *sampler = sampler_create(&options, vocabulary, &err);
    cr_assert(sampler, "%s", err.text);
    return sampler;
}

static void count_draws(struct sampler_options options, const float *logits, uint32_t n,
                        uint32_t draws, uint32_t *counts)
{
    struct sampler *sampler = create(options, n);
    memset(counts, 0, n * sizeof(*counts));
    for (uint32_t i = 0; i < draws; i++) {
        uint32_t id = sampler_pick(sampler, logits, n, i);
        cr_assert_lt(id, n);
        counts[id]++;
    }
    sampler_destroy(&sampler);
}

/* Pearson's chi-square of counts against probabilities; those of zero must not occur. Below 6 n +
 * 20 for n degrees of freedom by chance all but never; the seed is fixed anyway. */
static void expect_distribution(struct sampler_options options, const float *logits, uint32_t n,
                                const double *weights)
{
    enum { DRAWS = 40000 };
    uint32_t counts[64];
    double total = 0, chi = 0;
    cr_assert_leq(n, 64);
    count_draws(options, logits, n, DRAWS, counts);
    for (uint32_t i = 0; i < n; i++) {
        total += weights[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        double wanted = weights[i] / total * DRAWS;
        if (wanted == 0) {
            cr_expect_eq(counts[i], 0, "id %u came %u times", i, counts[i]);
        } else {
            chi += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
        }
    }
    cr_expect_lt(chi, 2.0 * n + 20, "chi-square %g with %u ids", chi, n);
}

static const float ladder[8] = {0.5f, 3, -1, 2, 2.5f, 1, -4, 0};

Test(greedy, largest_and_lowest_of_equals)
{
    struct sampler *sampler = create(plain(0), 6);
    cr_expect_eq(sampler_pick(sampler, (float[]){0, 1, 5, -2, 5, 5}, 6, 7), 2);
    cr_expect_eq(sampler_pick(sampler, (float[]){-3, -1, -5, -2, -5, -1}, 6, 7), 1);
    cr_expect_eq(sampler_pick(sampler, (float[]){0, 1, 5, -2, 7, 9}, 4, 7), 2);
    cr_expect_eq(sampler_pick(sampler, (float[]){0, 1, 5, -2, 7, 9}, 1000, 7), 5);
    cr_expect_eq(sampler_pick(sampler, (float[]){NAN, -7, NAN, INFINITY, NAN, INFINITY}, 6, 7), 3);
    cr_expect_eq(sampler_pick(sampler, (float[]){NAN, NAN, -8, -INFINITY, NAN, -9}, 6, 7), 2);
    cr_expect_eq(sampler_pick(sampler, (float[]){NAN, NAN, NAN, NAN, NAN, NAN}, 6, 7), 0);
    cr_expect_eq(
        sampler_pick(sampler,
                     (float[]){-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, 6,
                     7),
        0);
    sampler_destroy(&sampler);
}

Test(draw, softmax_at_temperatures)
{
    static const float temperatures[] = {0.3f, 0.8f, 1, 2.5f};
    double weights[8];
    for (int t = 0; t < 4; t++) {
        for (int i = 0; i < 8; i++) {
            weights[i] = exp((ladder[i] - 3.0) / (double)temperatures[t]);
        }
        expect_distribution(plain(temperatures[t]), ladder, 8, weights);
        struct sampler_options sorted = plain(temperatures[t]);
        sorted.top_k = 8; /* the same through the sorted path */
        expect_distribution(sorted, ladder, 8, weights);
    }
}

Test(draw, tiny_temperature_is_greedy)
{
    uint32_t counts[8];
    count_draws(plain(1e-6f), ladder, 8, 1000, counts);
    cr_expect_eq(counts[1], 1000);
    count_draws(plain(1e-38f), ladder, 8, 1000, counts);
    cr_expect_eq(counts[1], 1000);
    count_draws(plain(1e30f), ladder, 8, 8000, counts);
    for (int i = 0; i < 8; i++) {
        cr_expect(counts[i] > 800 && counts[i] < 1200);
    }
}

/* Order of the ladder: ids 1, 4, 3, 5, 0, 7, 2, 6. */
Test(filters, top_k)
{
    struct sampler_options options = plain(1);
    double weights[8] = {0};
    options.top_k = 3;
    weights[1] = exp(3), weights[4] = exp(2.5), weights[3] = exp(2);
    expect_distribution(options, ladder, 8, weights);
    options.top_k = 1;
    memset(weights, 0, sizeof(weights));
    weights[1] = 1;
    expect_distribution(options, ladder, 8, weights);
    /* Of equals the lower ids stay. */
    float equal[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    options.top_k = 2;
    memset(weights, 0, sizeof(weights));
    weights[0] = weights[1] = 1;
    expect_distribution(options, equal, 8, weights);
    /* More than there are. */
    options.top_k = 4000000000;
    for (int i = 0; i < 8; i++) {
        weights[i] = exp(ladder[i]);
    }
    expect_distribution(options, ladder, 8, weights);
}

/* Probabilities in order: .4, .3, .2, .1. */
static const float four[4] = {-0.916290732f, -1.203972804f, -1.609437912f, -2.302585093f};

Test(filters, top_p)
{
    const struct {
        float p;
        double weights[4];
    } rows[] = {{0, {1, 0, 0, 0}},     {0.39f, {1, 0, 0, 0}}, {0.41f, {4, 3, 0, 0}},
                {0.69f, {4, 3, 0, 0}}, {0.71f, {4, 3, 2, 0}}, {0.89f, {4, 3, 2, 0}},
                {0.91f, {4, 3, 2, 1}}, {1, {4, 3, 2, 1}}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct sampler_options options = plain(1);
        options.top_p = rows[i].p;
        expect_distribution(options, four, 4, rows[i].weights);
    }
    /* After top-k, whose survivors share the probability: .57, .43 */
    struct sampler_options options = plain(1);
    options.top_k = 2;
    options.top_p = 0.55f;
    expect_distribution(options, four, 4, (double[]){1, 0, 0, 0});
    options.top_p = 0.6f;
    expect_distribution(options, four, 4, (double[]){4, 3, 0, 0});
}

Test(filters, min_p)
{
    const struct {
        float p;
        double weights[4];
    } rows[] = {{0.24f, {4, 3, 2, 1}},
                {0.26f, {4, 3, 2, 0}},
                {0.51f, {4, 3, 0, 0}},
                {0.76f, {1, 0, 0, 0}},
                {1, {1, 0, 0, 0}}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct sampler_options options = plain(1);
        options.min_p = rows[i].p;
        expect_distribution(options, four, 4, rows[i].weights);
        options.top_k = 4;
        expect_distribution(options, four, 4, rows[i].weights);
    }
}

/* The filters see probabilities at temperature 1, whatever the temperature. */
Test(filters, come_before_the_temperature)
{
    struct sampler_options options = plain(1e6f);
    options.top_p = 0.6f;
    expect_distribution(options, four, 4, (double[]){1, 1, 0, 0});
    options.top_p = 1;
    options.min_p = 0.4f;
    expect_distribution(options, four, 4, (double[]){1, 1, 1, 0});
}

Test(filters, infinities_and_nan)
{
    struct sampler_options options = sampler_defaults();
    options.temperature = 1;
    expect_distribution(options, (float[]){NAN, 2, INFINITY, 1, INFINITY, -INFINITY}, 6,
                        (double[]){0, 0, 1, 0, 1, 0});
    expect_distribution(plain(1), (float[]){NAN, 2, INFINITY, 1, INFINITY, -INFINITY}, 6,
                        (double[]){0, 0, 1, 0, 1, 0});
    expect_distribution(plain(1), (float[]){NAN, 2, -INFINITY, 2}, 4, (double[]){0, 1, 0, 1});
    options.min_p = 0;
    options.top_p = 1;
    expect_distribution(options, (float[]){NAN, 2, -INFINITY, 2}, 4, (double[]){0, 1, 0, 1});
    /* Nothing to choose from: some valid id. */
    uint32_t counts[3];
    count_draws(sampler_defaults(), (float[]){NAN, NAN, -INFINITY}, 3, 100, counts);
    count_draws(plain(1), (float[]){NAN, NAN, -INFINITY}, 3, 100, counts);
    count_draws(plain(1), (float[]){3e38f, -3e38f, 3e38f}, 3, 100, counts);
    cr_expect_eq(counts[1], 0);
}

Test(draw, padded_ids_never)
{
    float logits[100];
    for (int i = 0; i < 100; i++) {
        logits[i] = i < 60 ? 0 : 50;
    }
    struct sampler *samplers[] = {create(plain(1), 100), create(sampler_defaults(), 100),
                                  create(plain(0), 100)};
    for (int s = 0; s < 3; s++) {
        for (int i = 0; i < 500; i++) {
            cr_assert_lt(sampler_pick(samplers[s], logits, 60, (uint32_t)i), 60);
        }
        sampler_destroy(&samplers[s]);
    }
}

Test(draw, does_not_change_the_logits)
{
    float logits[200], before[200];
    struct check_random random = {9};
    check_fill(&random, CHECK_UNIFORM, logits, 200);
    memcpy(before, logits, sizeof(logits));
    struct sampler_options options = sampler_defaults();
    options.repeat_penalty = 1.5f;
    struct sampler *sampler = create(options, 200);
    for (int i = 0; i < 50; i++) {
        sampler_accept(sampler, sampler_pick(sampler, logits, 200, (uint32_t)i));
    }
    cr_expect_eq(memcmp(before, logits, sizeof(logits)), 0);
    sampler_destroy(&sampler);
}

Test(draw, seed_repeats)
{
    float logits[500];
    struct check_random random = {2};
    check_fill(&random, CHECK_UNIFORM, logits, 500);
    uint32_t ids[3][200];
    size_t same = 0;
    for (int run = 0; run < 3; run++) {
        struct sampler_options options = sampler_defaults();
        options.seed = run < 2 ? 42 : 43;
        options.repeat_penalty = 1.1f;
        struct sampler *sampler = create(options, 500);
        for (int i = 0; i < 200; i++) {
            ids[run][i] = sampler_pick(sampler, logits, 500, (uint32_t)i);
            sampler_accept(sampler, ids[run][i]);
        }
        sampler_destroy(&sampler);
    }
    cr_expect_eq(memcmp(ids[0], ids[1], sizeof(ids[0])), 0);
    for (int i = 0; i < 200; i++) {
        same += ids[0][i] == ids[2][i];
    }
    cr_expect_lt(same, 60, "another seed gave %zu of 200 the same", same);
}

/* The sequence of a seed is part of the contract: it may not change between machines. */
Test(draw, known_sequence)
{
    struct sampler *sampler = create(plain(1), 8);
    uint32_t ids[12];
    for (int i = 0; i < 12; i++) {
        ids[i] = sampler_pick(sampler, ladder, 8, (uint32_t)i);
    }
    static const uint32_t wanted[12] = {4, 4, 1, 4, 1, 1, 1, 2, 4, 1, 1, 3};
    cr_expect_eq(memcmp(ids, wanted, sizeof(ids)), 0, "%u %u %u %u %u %u %u %u %u %u %u %u", ids[0],
                 ids[1], ids[2], ids[3], ids[4], ids[5], ids[6], ids[7], ids[8], ids[9], ids[10],
                 ids[11]);
    sampler_destroy(&sampler);
}

/* The first words of the known answers of Random123 (counter and key all zeros). */
Test(draw, random_is_philox)
{
    cr_expect_eq(sampling_random((uint32_t[2]){0, 0}, 0), 0x6627E8D5u);
    cr_expect_neq(sampling_random((uint32_t[2]){1, 0}, 0), sampling_random((uint32_t[2]){0, 1}, 0));
}

Test(penalty, divides_and_multiplies)
{
    struct sampler_options options = plain(0);
    options.repeat_penalty = 2;
    options.repeat_last = 2;
    struct sampler *sampler = create(options, 4);
    const float logits[4] = {4, 3, 1.9f, -1};
    cr_expect_eq(sampler_pick(sampler, logits, 4, 7), 0);
    sampler_accept(sampler, 0); /* 2, 3, 1.9 */
    cr_expect_eq(sampler_pick(sampler, logits, 4, 7), 1);
    sampler_accept(sampler, 1); /* 2, 1.5, 1.9 */
    cr_expect_eq(sampler_pick(sampler, logits, 4, 7), 0);
    sampler_accept(sampler, 1); /* 0 is forgotten: 4 */
    cr_expect_eq(sampler_pick(sampler, logits, 4, 7), 0);
    sampler_accept(sampler, 0); /* 1 is there once: still 1.5 */
    cr_expect_eq(sampler_pick(sampler, (float[]){2, 3, 1.4f, -1}, 4, 7), 1);
    sampler_destroy(&sampler);
    /* Negative logits become smaller too: -1 times 2 is below -1.5. */
    sampler = create(options, 2);
    sampler_accept(sampler, 0);
    cr_expect_eq(sampler_pick(sampler, (float[]){-1, -1.5f}, 2, 7), 1);
    cr_expect_eq(sampler_pick(sampler, (float[]){-1, -2.5f}, 2, 7), 0);
    sampler_destroy(&sampler);
    options.repeat_last = 0; /* off */
    sampler = create(options, 4);
    sampler_accept(sampler, 0);
    cr_expect_eq(sampler_pick(sampler, logits, 4, 7), 0);
    sampler_destroy(&sampler);
}

/* The penalty comes before the filters. */
Test(penalty, before_the_filters)
{
    struct sampler_options options = plain(1);
    options.repeat_penalty = 2;
    options.repeat_last = 8;
    options.top_k = 1;
    struct sampler *sampler = create(options, 3);
    sampler_accept(sampler, 0);
    for (int i = 0; i < 50; i++) {
        cr_expect_eq(sampler_pick(sampler, (float[]){4, 3, 1}, 3, (uint32_t)i), 1);
    }
    sampler_destroy(&sampler);
}

/* Heap against plain sorting, over sizes: the same set survives top-k. */
Test(filters, top_k_of_many)
{
    struct check_random random = {4};
    for (int round = 0; round < 200; round++) {
        float logits[300];
        uint32_t n = 1 + check_random_below(&random, 300), k = 1 + check_random_below(&random, n);
        for (uint32_t i = 0; i < n; i++) {
            logits[i] = (float)check_random_below(&random, 40); /* many equals */
        }
        struct sampler_options options = plain(1e9f);
        options.top_k = k;
        struct sampler *sampler = create(options, n);
        for (int i = 0; i < 20; i++) {
            uint32_t id = sampler_pick(sampler, logits, n, (uint32_t)i), better = 0;
            for (uint32_t j = 0; j < n; j++) {
                better += logits[j] > logits[id] || (logits[j] == logits[id] && j < id);
            }
            cr_assert_lt(better, k);
        }
        sampler_destroy(&sampler);
    }
}

Test(options, ranges)
{
    struct error err = {0};
    struct sampler_options good = sampler_defaults();
    cr_expect(sampler_options_check(&good, &err));
    cr_expect_float_eq(good.temperature, 0.8f, 0);
    cr_expect_eq(good.top_k, 40);
    static const float bad[] = {-0.1f, NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        struct sampler_options o = good;
        o.temperature = bad[i];
        cr_expect(!sampler_options_check(&o, &err) && strstr(err.text, "temperature"));
        cr_expect_null(sampler_create(&o, 8, &err));
        o = good;
        o.top_p = bad[i];
        cr_expect(!sampler_options_check(&o, &err) && strstr(err.text, "top-p"));
        o = good;
        o.min_p = bad[i];
        cr_expect(!sampler_options_check(&o, &err) && strstr(err.text, "min-p"));
        o = good;
        o.repeat_penalty = bad[i];
        cr_expect(!sampler_options_check(&o, &err) && strstr(err.text, "penalty"));
    }
    struct sampler_options o = good;
    o.repeat_penalty = 0;
    cr_expect(!sampler_options_check(&o, &err));
    o = good;
    o.top_p = 1.01f;
    cr_expect(!sampler_options_check(&o, &err));
    o = good;
    o.min_p = 1.01f;
    cr_expect(!sampler_options_check(&o, &err));
    o = good;
    o.repeat_last = UINT32_MAX;
    cr_expect(!sampler_options_check(&o, &err) && strstr(err.text, "last tokens"));
}
