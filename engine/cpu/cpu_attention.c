/* Causal attention of grouped heads. */
#include "engine/cpu/cpu_attention.h"

#include "engine/cpu/cpu_internal.h"

void cpu_attention(const struct cpu_run *run, const struct op *op)
{
    const struct attention_args *args = &op->args.attention;
    const struct step *step = cpu_step(op, args->step);
    assert(args->heads % args->kv_heads == 0);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    uint64_t row_dim = (uint64_t)args->kv_heads * args->head_dim;
    struct cpu_cache keys = {op->dtype, cpu_pointer(args->k_cache), args->capacity, row_dim};
    struct cpu_cache values = {op->dtype, cpu_pointer(args->v_cache), args->capacity, row_dim};
    struct cpu_attention attention = {
        .keys = {{keys, cpu_pointer(args->q), args->head_dim}},
        .values = &values,
        .sinks = cpu_pointer(args->sinks),
        .y = cpu_pointer(args->y),
        .n_tokens = step->n_tokens,
        .position = step->position,
        .heads = args->heads,
        .kv_heads = args->kv_heads,
        .window = args->window,
        .scale = args->scale,
    };
    cpu_attention_tiles(run, &attention);
}

uint64_t cpu_attention_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct attention_args *args = &op->args.attention;
    return cpu_attention_tiles_scratch(op->max_tokens, args->heads, args->kv_heads, args->head_dim,
                                       args->head_dim);
}
