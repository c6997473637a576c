/* Index of the largest; ties: the lowest index; NaN only if there is nothing else. */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

void cpu_argmax(const struct cpu_run *run, const struct op *op)
{
    const struct argmax_args *args = &op->args.argmax;
    const float *x = cpu_pointer(args->x);
    uint32_t best = 0;
    for (uint32_t i = 1; i < args->dim; i++) {
        if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i]))) {
            best = i;
        }
    }
    *(uint32_t *)cpu_pointer(args->id) = best;
}

uint64_t cpu_argmax_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
