/* y = x / sqrt(mean(x^2) + epsilon) * weight. The sum is in double, so that it does not depend on
 * how long the row is; it is eight sums, for each would wait for its last addition, and while an
 * answer is generated all threads wait for the norm.
 */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

#define SUMS 8

struct rms_norm_loop {
    const float *x, *weight;
    float *y;
    uint64_t dim;
    float epsilon;
};

void cpu_rms_norm_row(const float *x, const float *weight, float epsilon, uint64_t dim, float *y)
{
    double sums[SUMS] = {0}, sum = 0;
    uint64_t i = 0;
    for (; i + SUMS <= dim; i += SUMS) {
        for (uint32_t k = 0; k < SUMS; k++) {
            sums[k] += (double)x[i + k] * (double)x[i + k];
        }
    }
    for (; i < dim; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    for (uint32_t k = 0; k < SUMS; k++) {
        sum += sums[k];
    }
    float factor = (float)(1 / sqrt(sum / (double)dim + (double)epsilon));
    for (i = 0; i < dim; i++) {
        y[i] = x[i] * factor * weight[i];
    }
}

static void rms_norm_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct rms_norm_loop *loop = context;
    for (uint64_t row = begin; row < end; row++) {
        cpu_rms_norm_row(loop->x + row * loop->dim, loop->weight, loop->epsilon, loop->dim,
                         loop->y + row * loop->dim);
    }
}

void cpu_rms_norm(const struct cpu_run *run, const struct op *op)
{
    const struct rms_norm_args *args = &op->args.rms_norm;
    const struct step *step = cpu_step(op, args->step);
    uint64_t rows = (uint64_t)step->n_tokens * args->rows_per_token;
    struct rms_norm_loop loop = {
        .x = cpu_pointer(args->x),
        .weight = cpu_pointer(args->weight),
        .y = cpu_pointer(args->y),
        .dim = args->dim,
        .epsilon = args->epsilon,
    };
    if (args->last_only) {
        loop.x += (rows - args->rows_per_token) * args->dim;
        rows = args->rows_per_token;
    }
    thread_pool_for(run->pool, rows, 16, rms_norm_range, &loop);
}

uint64_t cpu_rms_norm_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
