/* What stands between the products of a layer and its attention: norms of heads, rotation, and the
 * rows of the caches, by the plain functions of the ops that it replaces. */
#include <stddef.h>

#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_internal.h"

/* Where there are few tokens, their heads are shared out among threads, too. */
#define FEW_TOKENS 8
#define HEADS_OF_FEW 8

struct prepare_loop {
    const struct attention_prepare_args *args;
    struct cpu_cache k_cache, v_cache;
    uint64_t position;
    float *keys;    /* scratch: (max_tokens, kv_heads * head_dim) */
    uint64_t heads; /* of q that an item has at most */
};

/* n heads of x, normed if there is a norm, and rotated, to y. */
static void prepare_heads(const struct attention_prepare_args *args, const float *x,
                          const float *norm, uint64_t n, const float *cosines, const float *sines,
                          float *y)
{
    uint64_t dim = args->head_dim;
    for (uint64_t h = 0; h < n; h++) {
        const float *head = x + h * dim;
        if (norm) {
            cpu_rms_norm_row(head, norm, args->epsilon, dim, y + h * dim);
            head = y + h * dim;
        }
        cpu_rope_head(head, cosines, sines, args->n_rotated / 2, args->head_dim, y + h * dim);
    }
}

/* Keys and values of token t. */
static void prepare_caches(const struct prepare_loop *loop, uint64_t t, const float *cosines,
                           const float *sines)
{
    const struct attention_prepare_args *args = loop->args;
    uint64_t dim = (uint64_t)args->kv_heads * args->head_dim;
    float *keys = loop->keys + t * dim;
    prepare_heads(args, (const float *)cpu_pointer(args->k) + t * dim, cpu_pointer(args->k_norm),
                  args->kv_heads, cosines, sines, keys);
    cpu_cache_store(&loop->k_cache, loop->position + t, keys);
    cpu_cache_store(&loop->v_cache, loop->position + t,
                    (const float *)cpu_pointer(args->v) + t * dim);
}

/* An item is a stretch of a token's heads of q, or, behind those, its keys and values. */
static void prepare_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct prepare_loop *loop = context;
    const struct attention_prepare_args *args = loop->args;
    uint64_t stretches = (args->heads + loop->heads - 1) / loop->heads;
    float cosines[CPU_ROPE_MAX_PAIRS], sines[CPU_ROPE_MAX_PAIRS];
    for (uint64_t item = begin; item < end; item++) {
        uint64_t t = item / (stretches + 1), first = item % (stretches + 1) * loop->heads;
        if (item == begin || first == 0) {
            cpu_rope_turns(cpu_pointer(args->frequencies), loop->position + t, args->n_rotated / 2,
                           args->scale, cosines, sines);
        }
        if (first >= args->heads) {
            prepare_caches(loop, t, cosines, sines);
            continue;
        }
        uint64_t n = args->heads - first < loop->heads ? args->heads - first : loop->heads;
        uint64_t offset = (t * args->heads + first) * args->head_dim;
        prepare_heads(args, (const float *)cpu_pointer(args->q) + offset, cpu_pointer(args->q_norm),
                      n, cosines, sines, (float *)cpu_pointer(args->q_rotated) + offset);
    }
}

void cpu_attention_prepare(const struct cpu_run *run, const struct op *op)
{
    const struct attention_prepare_args *args = &op->args.attention_prepare;
    const struct step *step = cpu_step(op, args->step);
    assert(args->n_rotated % 2 == 0 && args->n_rotated <= args->head_dim);
    assert(args->n_rotated / 2 <= CPU_ROPE_MAX_PAIRS);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    uint64_t kv_dim = (uint64_t)args->kv_heads * args->head_dim;
    struct prepare_loop loop = {
        .args = args,
        .k_cache = {op->dtype, cpu_pointer(args->k_cache), args->capacity, kv_dim},
        .v_cache = {op->dtype, cpu_pointer(args->v_cache), args->capacity, kv_dim},
        .position = step->position,
        .keys = (float *)(void *)run->scratch,
        .heads = step->n_tokens < FEW_TOKENS ? HEADS_OF_FEW : args->heads,
    };
    uint64_t items = (args->heads + loop.heads - 1) / loop.heads + 1;
    thread_pool_for(run->pool, step->n_tokens * items, step->n_tokens < FEW_TOKENS ? 1 : items,
                    prepare_range, &loop);
}

uint64_t cpu_attention_prepare_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct attention_prepare_args *args = &op->args.attention_prepare;
    return (uint64_t)op->max_tokens * args->kv_heads * args->head_dim * sizeof(float);
}
