/* Sums of squares of what an expert's matrices are multiplied with, expert by expert. A thread has
 * columns of its own, so the order of the sums does not depend on how many there are.
 */
#include "engine/cpu/cpu_internal.h"

#define COLUMNS_PER_TASK 64

struct observe_loop {
    const struct observe_args *args;
    const uint32_t *ids; /* NULL: every token is in group 0 */
    uint64_t n_pairs, top_k;
};

static uint64_t group_of(const struct observe_loop *loop, uint64_t pair)
{
    uint64_t group = loop->ids ? loop->ids[pair] : 0;
    assert(group < loop->args->n_groups);
    return group;
}

static void observe_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct observe_loop *loop = context;
    const struct observe_args *args = loop->args;
    for (uint64_t pair = 0; pair < loop->n_pairs; pair++) {
        uint64_t row = args->x_per_pair ? pair : pair / loop->top_k;
        const float *x = (const float *)cpu_pointer(args->x) + row * args->dim;
        float *sums = (float *)cpu_pointer(args->sums) + group_of(loop, pair) * args->dim;
        for (uint64_t c = begin; c < end; c++) {
            sums[c] += x[c] * x[c];
        }
    }
}

void cpu_observe(const struct cpu_run *run, const struct op *op)
{
    const struct observe_args *args = &op->args.observe;
    const uint32_t *ids = cpu_pointer(args->ids);
    uint64_t top_k = ids ? args->top_k : 1;
    struct observe_loop loop = {args, ids, cpu_step(op, args->step)->n_tokens * top_k, top_k};
    float *counts = cpu_pointer(args->counts);
    for (uint64_t pair = 0; pair < loop.n_pairs; pair++) {
        counts[group_of(&loop, pair)] += 1;
    }
    thread_pool_for(run->pool, args->dim, COLUMNS_PER_TASK, observe_range, &loop);
}

uint64_t cpu_observe_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
