/* Appends the tokens' keys and values to the caches. */
#include <string.h>

#include "engine/cpu/cpu_internal.h"
#include "format/f16.h"

static void store_row(enum dtype dtype, const float *values, uint64_t n, void *cache, uint64_t row)
{
    if (dtype == DTYPE_F32) {
        memcpy((float *)cache + row * n, values, n * sizeof(float));
        return;
    }
    uint16_t *halves = (uint16_t *)cache + row * n;
    for (uint64_t i = 0; i < n; i++) {
        halves[i] = f16_from_f32(values[i]);
    }
}

struct kv_store_loop {
    const struct kv_store_args *args;
    enum dtype dtype;
    uint32_t position;
};

static void kv_store_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct kv_store_loop *loop = context;
    const struct kv_store_args *args = loop->args;
    for (uint64_t t = begin; t < end; t++) {
        uint64_t row = loop->position + t, k_dim = args->k_dim, v_dim = args->v_dim;
        store_row(loop->dtype, (const float *)cpu_pointer(args->k) + t * k_dim, k_dim,
                  cpu_pointer(args->k_cache), row);
        store_row(loop->dtype, (const float *)cpu_pointer(args->v) + t * v_dim, v_dim,
                  cpu_pointer(args->v_cache), row);
    }
}

void cpu_kv_store(const struct cpu_run *run, const struct op *op)
{
    const struct kv_store_args *args = &op->args.kv_store;
    const struct step *step = cpu_step(op, args->step);
    assert(op->dtype == DTYPE_F32 || op->dtype == DTYPE_F16);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    struct kv_store_loop loop = {args, op->dtype, step->position};
    thread_pool_for(run->pool, step->n_tokens, 4, kv_store_range, &loop);
}

uint64_t cpu_kv_store_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
