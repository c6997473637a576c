/* The running softmax that attention and latent attention share. */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

struct cpu_softmax cpu_softmax_begin(const float *sink, uint64_t dim, float *y)
{
    for (uint64_t i = 0; i < dim; i++) {
        y[i] = 0;
    }
    return sink ? (struct cpu_softmax){*sink, 1} : (struct cpu_softmax){-INFINITY, 0};
}

void cpu_softmax_add(struct cpu_softmax *softmax, const struct cpu_cache_math *math,
                     const float *scores, const uint8_t *values, uint64_t row_bytes, uint64_t n,
                     uint64_t dim, float *y)
{
    float maximum = softmax->maximum;
    for (uint64_t j = 0; j < n; j++) {
        maximum = fmaxf(maximum, scores[j]);
    }
    float shrink = expf(softmax->maximum - maximum);
    softmax->maximum = maximum;
    softmax->sum *= shrink;
    for (uint64_t i = 0; i < dim; i++) {
        y[i] *= shrink;
    }
    for (uint64_t j = 0; j < n; j++) {
        float p = expf(scores[j] - maximum);
        softmax->sum += p;
        math->add_scaled(values + j * row_bytes, p, dim, y);
    }
}

void cpu_softmax_end(const struct cpu_softmax *softmax, uint64_t dim, float *y)
{
    for (uint64_t i = 0; i < dim; i++) {
        y[i] /= softmax->sum;
    }
}
