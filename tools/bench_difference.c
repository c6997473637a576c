#include <math.h>

#include "tools/bench.h"

struct bench_difference bench_difference_of(double mean_a, double deviation_a, double mean_b,
                                            double deviation_b)
{
    return (struct bench_difference){
        .ratio = mean_b / mean_a,
        .exceeds = fabs(mean_b - mean_a) > deviation_a + deviation_b,
    };
}
