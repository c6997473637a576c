/* Seeded random numbers and comparison of floats, for checks and tests. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A small seeded generator (splitmix64): the same numbers on every machine. */
struct check_random {
    uint64_t state;
};
uint64_t check_random_u64(struct check_random *random);
/* Uniform in [low, high). */
float check_random_float(struct check_random *random, float low, float high);
uint32_t check_random_below(struct check_random *random, uint32_t n);

/* Ways to fill an input; every op is tried with each. None is all zero. */
enum check_fill {
    CHECK_UNIFORM, /* [-1, 1) */
    CHECK_OUTLIER, /* uniform, one element 1000 times larger */
    CHECK_SIGNS,   /* +1, -1, +1, ... with small noise */
    CHECK_TINY,    /* uniform times 1e-6 */
    CHECK_FILLS
};
void check_fill(struct check_random *random, enum check_fill fill, float *values, size_t n);

/* sum (a - b)^2 / sum b^2, b the reference; NaN or infinity in a where b has none gives infinity.
 * Asserts that the reference is not all zero. */
double check_nmse(const float *a, const float *b, size_t n);
