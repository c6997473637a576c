/* Rotary position embedding of half-split pairs (j, j + n_rotated / 2). The angle is a float, as
 * in the models' own code; its sine and cosine are taken in double and rounded once.
 */
#include <math.h>

#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_internal.h"

struct rope_loop {
    const struct rope_args *args;
    uint64_t position;
};

void cpu_rope_turns(const float *frequencies, uint64_t position, uint32_t n_pairs, float scale,
                    float *cosines, float *sines)
{
    for (uint32_t j = 0; j < n_pairs; j++) {
        float angle = (float)position * frequencies[j];
        cosines[j] = (float)cos((double)angle) * scale;
        sines[j] = (float)sin((double)angle) * scale;
    }
}

void cpu_rope_head(const float *x, const float *cosines, const float *sines, uint32_t n_pairs,
                   uint32_t head_dim, float *y)
{
    for (uint32_t j = 0; j < n_pairs; j++) {
        float a = x[j], b = x[j + n_pairs];
        y[j] = a * cosines[j] - b * sines[j];
        y[j + n_pairs] = b * cosines[j] + a * sines[j];
    }
    for (uint32_t j = 2 * n_pairs; j < head_dim; j++) {
        y[j] = x[j];
    }
}

static void rope_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct rope_loop *loop = context;
    const struct rope_args *args = loop->args;
    float cosines[CPU_ROPE_MAX_PAIRS], sines[CPU_ROPE_MAX_PAIRS];
    for (uint64_t t = begin; t < end; t++) {
        cpu_rope_turns(cpu_pointer(args->frequencies), loop->position + t, args->n_rotated / 2,
                       args->scale, cosines, sines);
        for (uint64_t h = 0; h < args->heads; h++) {
            uint64_t offset = (t * args->heads + h) * args->head_dim;
            cpu_rope_head((const float *)cpu_pointer(args->x) + offset, cosines, sines,
                          args->n_rotated / 2, args->head_dim,
                          (float *)cpu_pointer(args->y) + offset);
        }
    }
}

void cpu_rope(const struct cpu_run *run, const struct op *op)
{
    const struct rope_args *args = &op->args.rope;
    const struct step *step = cpu_step(op, args->step);
    assert(args->n_rotated % 2 == 0 && args->n_rotated <= args->head_dim);
    assert(args->n_rotated / 2 <= CPU_ROPE_MAX_PAIRS);
    struct rope_loop loop = {args, step->position};
    thread_pool_for(run->pool, step->n_tokens, 4, rope_range, &loop);
}

uint64_t cpu_rope_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
