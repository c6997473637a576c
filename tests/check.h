/* What Criterion does not bring: seeded random numbers, comparison of floats, and files for tests.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

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
/* Largest |a - b| / rms(b), and where. */
double check_worst(const float *a, const float *b, size_t n, size_t *where);

/* A fresh folder that is removed when the test program ends. Owned by the library. */
const char *check_temp_dir(void);
/* folder/name, in a buffer that lives until the test program ends. */
const char *check_path(const char *folder, const char *name);
/* A file of the source tree ("models/moxie-tiny.moxie"); of the reference data that lies beside the
 * checkout ("reference/vocabs/x"): NULL if it is not there, and the test should call cr_skip(). */
const char *check_source_path(const char *name);
const char *check_shared_path(const char *name);
/* Whole file in memory, NUL after the end; free it. NULL if it cannot be read. */
char *check_read_file(const char *path, size_t *bytes);
bool check_write_file(const char *path, const void *data, size_t bytes);
