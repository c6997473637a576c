/* Rotary position embedding of half-split pairs (j, j + n_rotated / 2). The angle is a float, as
 * in the models' own code; its sine and cosine are taken in double and rounded once.
 */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

struct rope_loop {
    const struct rope_args *args;
    uint32_t position;
};

static void rope_head(const struct rope_args *args, const float *x, const float *cosines,
                      const float *sines, float *y)
{
    uint32_t half = args->n_rotated / 2;
    for (uint32_t j = 0; j < half; j++) {
        float a = x[j], b = x[j + half];
        y[j] = a * cosines[j] - b * sines[j];
        y[j + half] = b * cosines[j] + a * sines[j];
    }
    for (uint32_t j = args->n_rotated; j < args->head_dim; j++) {
        y[j] = x[j];
    }
}

/* Pairs of one head: bounds the stack. */
#define MAX_PAIRS 512

static void rope_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct rope_loop *loop = context;
    const struct rope_args *args = loop->args;
    const float *frequencies = cpu_pointer(args->frequencies);
    float cosines[MAX_PAIRS], sines[MAX_PAIRS];
    for (uint64_t t = begin; t < end; t++) {
        for (uint32_t j = 0; j < args->n_rotated / 2; j++) {
            float angle = (float)(loop->position + t) * frequencies[j];
            cosines[j] = (float)cos((double)angle) * args->scale;
            sines[j] = (float)sin((double)angle) * args->scale;
        }
        for (uint64_t h = 0; h < args->heads; h++) {
            uint64_t offset = (t * args->heads + h) * args->head_dim;
            rope_head(args, (const float *)cpu_pointer(args->x) + offset, cosines, sines,
                      (float *)cpu_pointer(args->y) + offset);
        }
    }
}

void cpu_rope(const struct cpu_run *run, const struct op *op)
{
    const struct rope_args *args = &op->args.rope;
    const struct step *step = cpu_step(op, args->step);
    assert(args->n_rotated % 2 == 0 && args->n_rotated <= args->head_dim);
    assert(args->n_rotated / 2 <= MAX_PAIRS);
    struct rope_loop loop = {args, step->position};
    thread_pool_for(run->pool, step->n_tokens, 4, rope_range, &loop);
}

uint64_t cpu_rope_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
