/* The arithmetic of moxie bench compare. */
#include <criterion/criterion.h>

#include "tools/bench.h"

static void expect(double mean_a, double deviation_a, double mean_b, double deviation_b,
                   double ratio, bool exceeds)
{
    struct bench_difference d = bench_difference_of(mean_a, deviation_a, mean_b, deviation_b);
    cr_expect_float_eq(d.ratio, ratio, 1e-9);
    cr_expect_eq(d.exceeds, exceeds, "%g +- %g, %g +- %g", mean_a, deviation_a, mean_b,
                 deviation_b);
}

Test(bench_difference, ratio_and_spread)
{
    expect(100, 0, 100, 0, 1, false);
    expect(100, 0, 101, 0, 1.01, true);
    expect(100, 3, 105, 1.9, 1.05, true);
    expect(100, 3, 105, 2.1, 1.05, false);
    expect(100, 3, 80, 16, 0.8, true);
    expect(100, 3, 80, 18, 0.8, false);
    expect(80, 18, 100, 3, 1.25, false);
}

static bool slows(uint32_t n, double a, double b, double c, double d, double e)
{
    const double seconds[] = {a, b, c, d, e};
    return bench_slows_down(seconds, n);
}

Test(bench_difference, growing_slower)
{
    cr_expect(slows(5, 1, 1.02, 1.05, 1.1, 1.2));
    cr_expect(slows(3, 1, 1, 1.2, 0, 0));
    cr_expect(slows(4, 0.5, 0.55, 0.6, 0.65, 0));
    cr_expect_not(slows(5, 1, 1.02, 1.01, 1.03, 1.02), "too little");
    cr_expect_not(slows(5, 1, 1.3, 1.2, 1.1, 1.2), "not since the first half");
    cr_expect_not(slows(5, 1.2, 1.1, 1.05, 1.02, 1));
    cr_expect_not(slows(2, 1, 2, 0, 0, 0), "two may differ by chance");
    cr_expect_not(slows(1, 3, 0, 0, 0, 0));
    cr_expect_not(slows(5, 0.001, 0.001, 0.002, 0.003, 0.004), "milliseconds do");
    cr_expect_not(slows(5, 0.2, 0.21, 0.25, 0.3, 0.35), "too short together");
    cr_expect_not(slows(4, 0.15, 0.8, 0.9, 1.5, 0), "one is short");
}
