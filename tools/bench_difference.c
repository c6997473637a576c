#include <math.h>

#include "tools/bench.h"

/* Heat tells after seconds, and what is shorter is ruled by chance. */
#define LONG_SECONDS 0.2
#define LONG_TOGETHER 2.0
#define SLOWER_WORTH_TELLING 0.93

struct bench_difference bench_difference_of(double mean_a, double deviation_a, double mean_b,
                                            double deviation_b)
{
    return (struct bench_difference){
        .ratio = mean_b / mean_a,
        .exceeds = fabs(mean_b - mean_a) > deviation_a + deviation_b,
    };
}

bool bench_slows_down(const double *seconds, uint32_t n)
{
    double sum = 0, slowest_early = 0, fastest_late = INFINITY, shortest = INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        sum += seconds[i];
        shortest = fmin(shortest, seconds[i]);
        if (i < n / 2) {
            slowest_early = fmax(slowest_early, seconds[i]);
        } else if (i >= n - n / 2) {
            fastest_late = fmin(fastest_late, seconds[i]);
        }
    }
    return n >= 3 && shortest >= LONG_SECONDS && sum >= LONG_TOGETHER &&
           fastest_late > slowest_early && seconds[0] / seconds[n - 1] < SLOWER_WORTH_TELLING;
}
