/* argmax: exact; ties, infinities and NaN. */
#include <math.h>

#include "checks/check_ops.h"

enum pattern { PLAIN, TIES, ALL_SAME, SOME_NAN, ALL_NAN, ONE_NUMBER, MINUS_INFINITY, PATTERNS };
static const char *const pattern_names[] = {"plain",   "ties",       "all the same",  "some NaN",
                                            "all NaN", "one number", "minus infinity"};

static void make_pattern(struct check_random *random, enum pattern pattern, float *x, uint32_t dim)
{
    uint32_t chosen = check_random_below(random, dim);
    for (uint32_t i = 0; i < dim; i++) {
        switch (pattern) {
        case TIES:
            x[i] = (float)check_random_below(random, 3) - 5;
            break;
        case ALL_SAME:
            x[i] = -2;
            break;
        case SOME_NAN:
            x[i] = check_random_below(random, 3) ? x[i] : NAN;
            break;
        case ALL_NAN:
            x[i] = NAN;
            break;
        case ONE_NUMBER:
            x[i] = i == chosen ? -INFINITY : NAN;
            break;
        case MINUS_INFINITY:
            x[i] = i < chosen ? -INFINITY : x[i] - 5;
            break;
        default:
            break;
        }
    }
}

static void check_one(struct check_device *device, uint32_t dim, enum pattern pattern)
{
    struct check_case c;
    if (!check_begin(&c, device, OP_argmax, DTYPE_F32, 1, "%u, %s", dim, pattern_names[pattern])) {
        return;
    }
    float *x = check_alloc(&c, dim);
    check_fill(&c.random, c.fill, x, dim);
    make_pattern(&c.random, pattern, x, dim);
    uint32_t expected = UINT32_MAX;
    for (uint32_t i = 0; i < dim; i++) {
        if (!isnan(x[i]) && (expected == UINT32_MAX || x[i] > x[expected])) {
            expected = i;
        }
    }
    expected = expected == UINT32_MAX ? 0 : expected;
    check_input(&c, 0, DTYPE_F32, 1, dim, x, dim * sizeof(float));
    check_output(&c, 1, DTYPE_U32, 1, 1, NULL, sizeof(uint32_t));
    check_op(&c)->args.argmax.dim = dim;
    if (check_run(&c)) {
        check_compare_u32(&c, 1, &expected, 1);
    }
    check_end(&c);
}

void check_argmax(struct check_device *device)
{
    for (uint32_t p = 0; p < PATTERNS; p++) {
        for (uint32_t k = 0; k < 11; k++) {
            check_one(device, check_lengths[k], (enum pattern)p);
        }
        check_one(device, 2048, (enum pattern)p);
        check_one(device, 65537, (enum pattern)p);
        check_one(device, 151936, (enum pattern)p);
    }
}
