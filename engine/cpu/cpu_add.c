/* y = a + b */
#include "engine/cpu/cpu_internal.h"

struct add_loop {
    const float *a, *b;
    float *y;
};

static void add_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct add_loop *loop = context;
    for (uint64_t i = begin; i < end; i++) {
        loop->y[i] = loop->a[i] + loop->b[i];
    }
}

void cpu_add(const struct cpu_run *run, const struct op *op)
{
    const struct add_args *args = &op->args.add;
    uint64_t n = (uint64_t)cpu_step(op, args->step)->n_tokens * args->dim;
    struct add_loop loop = {cpu_pointer(args->a), cpu_pointer(args->b), cpu_pointer(args->y)};
    thread_pool_for(run->pool, n, 8192, add_range, &loop);
}

uint64_t cpu_add_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
