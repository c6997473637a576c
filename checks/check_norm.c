/* The RMS norm that ops may make of their input themselves. */
#include <math.h>

#include "checks/check_ops.h"

/* Shaders take a norm only in lists made for few tokens. */
static bool takes_norm(const struct check_case *c)
{
    return !c->device->gpu || c->max_tokens <= OP_FEW_TOKENS;
}

/* Around 1, as they are in models: with the case's fill the products could cancel out. */
static const float *make_norm(struct check_case *c, uint32_t index, uint64_t cols)
{
    float *norm = check_alloc(c, cols);
    for (uint64_t i = 0; i < cols; i++) {
        norm[i] = check_random_float(&c->random, 0.5f, 1.5f);
    }
    check_input(c, index, DTYPE_F32, 1, cols, norm, cols * sizeof(float));
    return norm;
}

const float *check_sometimes_normed(struct check_case *c, uint32_t index, const float *x,
                                    uint64_t rows, uint64_t cols)
{
    if (!takes_norm(c) || !check_sometimes(c, "normed")) {
        return x;
    }
    const float *norm = make_norm(c, index, cols);
    float *normed = check_alloc(c, rows * cols);
    for (uint64_t row = 0; row < rows; row++) {
        double sum = 0;
        for (uint64_t i = 0; i < cols; i++) {
            double value = (double)x[row * cols + i];
            sum += value * value;
        }
        double rms = sqrt(sum / (double)cols + (double)CHECK_EPSILON);
        for (uint64_t i = 0; i < cols; i++) {
            normed[row * cols + i] = (float)((double)x[row * cols + i] / rms * (double)norm[i]);
        }
    }
    return normed;
}
