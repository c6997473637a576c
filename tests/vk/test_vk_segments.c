/* Where programs are cut: never within a step, as few segments as the limit allows, and what runs
 * teach. No device. */
#include <criterion/criterion.h>
#include <math.h>

#include "engine/vk/vk_segments.h"
#include "tests/check.h"

#define OPS 40

static void make(struct vk_segments *segments, uint32_t n_ops, double limit, bool many)
{
    struct error err = {{0}};
    cr_assert(vk_segments_init(segments, n_ops, limit, many, &err), "%s", err.text);
    for (uint32_t i = 0; i < n_ops; i++) {
        segments->may_cut[i] = i > 0;
    }
    vk_segments_cut(segments);
}

/* Ends rise to n_ops, and lie where they may. */
static void expect_sound(const struct vk_segments *segments)
{
    uint32_t before = 0;
    cr_assert_geq(segments->n, 1);
    for (uint32_t s = 0; s < segments->n; s++) {
        cr_assert_gt(segments->ends[s], before);
        before = segments->ends[s];
        cr_expect(before == segments->n_ops || segments->may_cut[before]);
    }
    cr_assert_eq(before, segments->n_ops);
}

static double sum_of(const struct vk_segments *segments, const double *truth, uint32_t segment)
{
    double sum = 0;
    for (uint32_t i = segment ? segments->ends[segment - 1] : 0; i < segments->ends[segment]; i++) {
        sum += truth[i];
    }
    return sum;
}

/* Runs until nothing changes any more; the number of changes. */
static int settle(struct vk_segments *segments, const double *truth)
{
    int changes = 0;
    for (int run = 0; run < 200; run++) {
        double seconds[OPS];
        for (uint32_t s = 0; s < segments->n; s++) {
            seconds[s] = sum_of(segments, truth, s);
        }
        bool changed = vk_segments_learn(segments, seconds);
        changes += changed;
        expect_sound(segments);
    }
    return changes;
}

Test(vk_segments, without_a_limit_there_is_one)
{
    struct vk_segments segments;
    double slow[OPS];
    for (int i = 0; i < OPS; i++) {
        slow[i] = 1000;
    }
    make(&segments, OPS, (double)INFINITY, true);
    cr_expect_eq(segments.n, 1);
    cr_expect_eq(settle(&segments, slow), 0);
    cr_expect_eq(segments.n, 1);
    vk_segments_free(&segments);
}

Test(vk_segments, the_first_run_is_careful)
{
    struct vk_segments segments;
    make(&segments, OPS, 0.1, true);
    cr_expect_eq(segments.n, OPS / 8);
    vk_segments_free(&segments);
    make(&segments, OPS, 0.1, false);
    cr_expect_eq(segments.n, 1, "a token is one submit from the beginning");
    vk_segments_free(&segments);
}

Test(vk_segments, a_fast_device_gets_one)
{
    struct vk_segments segments;
    double fast[OPS];
    for (int i = 0; i < OPS; i++) {
        fast[i] = 1e-5;
    }
    make(&segments, OPS, 0.1, true);
    cr_expect_geq(settle(&segments, fast), 1);
    cr_expect_eq(segments.n, 1);
    vk_segments_free(&segments);
}

Test(vk_segments, a_slow_device_gets_what_it_needs)
{
    struct check_random random = {1};
    for (int round = 0; round < 50; round++) {
        struct vk_segments segments;
        double truth[OPS], all = 0, longest_op = 0;
        for (int i = 0; i < OPS; i++) {
            truth[i] = check_random_float(&random, 0.001f, 0.03f);
            all += truth[i];
            longest_op = fmax(longest_op, truth[i]);
        }
        make(&segments, OPS, 0.1, round % 2);
        settle(&segments, truth);
        for (uint32_t s = 0; s < segments.n; s++) {
            cr_expect_leq(sum_of(&segments, truth, s), 0.15 + 1e-9, "round %d", round);
        }
        cr_expect_leq(segments.n, all / (0.1 * 0.75 - longest_op) + 2, "%u for %g s", segments.n,
                      all);
        vk_segments_free(&segments);
    }
}

Test(vk_segments, steps_stay_whole)
{
    struct vk_segments segments;
    struct error err = {{0}};
    double truth[OPS];
    cr_assert(vk_segments_init(&segments, OPS, 0.1, true, &err));
    for (uint32_t i = 0; i < OPS; i++) {
        segments.may_cut[i] = i % 5 == 3;
        truth[i] = 0.09;
    }
    vk_segments_cut(&segments);
    expect_sound(&segments);
    settle(&segments, truth);
    cr_expect_eq(segments.n, 9, "every step is longer than the limit: one segment each");
    vk_segments_free(&segments);
}

/* A list made for many tokens, run with one and then with all: the short runs do not make the long
 * one dangerous at once. */
Test(vk_segments, short_runs_teach_slowly)
{
    struct vk_segments segments;
    double seconds[OPS];
    make(&segments, OPS, 0.1, true);
    uint32_t before = segments.n;
    for (uint32_t s = 0; s < segments.n; s++) {
        seconds[s] = 0.0001;
    }
    vk_segments_learn(&segments, seconds);
    cr_expect_geq(segments.n, before / 2);
    cr_expect_gt(segments.n, 1);
    vk_segments_free(&segments);
}

Test(vk_segments, one_op)
{
    struct vk_segments segments;
    make(&segments, 1, 0.001, true);
    cr_expect_eq(segments.n, 1);
    cr_expect_eq(settle(&segments, (const double[]){5}), 0);
    vk_segments_free(&segments);
}
