/* Appends the tokens' keys and values to the caches. */
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_internal.h"

struct kv_store_loop {
    const float *k, *v;
    struct cpu_cache k_cache, v_cache;
    uint64_t position;
};

static void kv_store_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct kv_store_loop *loop = context;
    for (uint64_t t = begin; t < end; t++) {
        uint64_t row = loop->position + t;
        cpu_cache_store(&loop->k_cache, row, loop->k + t * loop->k_cache.row_dim);
        cpu_cache_store(&loop->v_cache, row, loop->v + t * loop->v_cache.row_dim);
    }
}

void cpu_kv_store(const struct cpu_run *run, const struct op *op)
{
    const struct kv_store_args *args = &op->args.kv_store;
    const struct step *step = cpu_step(op, args->step);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    struct kv_store_loop loop = {
        .k = cpu_pointer(args->k),
        .v = cpu_pointer(args->v),
        .k_cache = {op->dtype, cpu_pointer(args->k_cache), args->capacity, args->k_dim},
        .v_cache = {op->dtype, cpu_pointer(args->v_cache), args->capacity, args->v_dim},
        .position = step->position,
    };
    thread_pool_for(run->pool, step->n_tokens, 4, kv_store_range, &loop);
}

uint64_t cpu_kv_store_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
