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
