#include "checks/check_random.h"

#include <assert.h>
#include <math.h>

uint64_t check_random_u64(struct check_random *random)
{
    uint64_t z = random->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

float check_random_float(struct check_random *random, float low, float high)
{
    float unit = (float)(check_random_u64(random) >> 40) * 0x1p-24f;
    return low + (high - low) * unit;
}

uint32_t check_random_below(struct check_random *random, uint32_t n)
{
    return (uint32_t)(check_random_u64(random) % n);
}

void check_fill(struct check_random *random, enum check_fill fill, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        values[i] = check_random_float(random, -1, 1);
        if (fill == CHECK_SIGNS) {
            values[i] = (i % 2 ? -1.0f : 1.0f) + values[i] * 0.01f;
        } else if (fill == CHECK_TINY) {
            values[i] *= 1e-6f;
        }
    }
    if (fill == CHECK_OUTLIER && n > 0) {
        values[check_random_below(random, (uint32_t)n)] *= 1000;
    }
}

double check_nmse(const float *a, const float *b, size_t n)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) && isfinite(b[i])) {
            return INFINITY;
        }
        double difference = (double)a[i] - b[i];
        error += difference * difference;
        power += (double)b[i] * b[i];
    }
    assert(power > 0);
    return error / power;
}
