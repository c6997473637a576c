/* y[t] = residual[t] + sum over slots, in order, of weight * part. */
#include "engine/cpu/cpu_internal.h"

static void combine_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct expert_combine_args *args = context;
    const float *parts = cpu_pointer(args->parts);
    const float *weights = cpu_pointer(args->weights);
    const float *residual = cpu_pointer(args->residual);
    float *y = cpu_pointer(args->y);
    for (uint64_t t = begin; t < end; t++) {
        for (uint64_t i = 0; i < args->hidden; i++) {
            float sum = 0;
            for (uint64_t slot = 0; slot < args->top_k; slot++) {
                uint64_t pair = t * args->top_k + slot;
                sum += weights[pair] * parts[pair * args->hidden + i];
            }
            y[t * args->hidden + i] = residual[t * args->hidden + i] + sum;
        }
    }
}

void cpu_expert_combine(const struct cpu_run *run, const struct op *op)
{
    struct expert_combine_args args = op->args.expert_combine;
    thread_pool_for(run->pool, cpu_step(op, args.step)->n_tokens, 2, combine_range, &args);
}

uint64_t cpu_expert_combine_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
