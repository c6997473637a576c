/* Latent attention in absorbed form: all heads share the rows of the caches, as if there were one
 * kv head; a key is a latent and behind it a rotary key, a value is the latent. */
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_internal.h"

void cpu_attention_latent(const struct cpu_run *run, const struct op *op)
{
    const struct attention_latent_args *args = &op->args.attention_latent;
    const struct step *step = cpu_step(op, args->step);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    assert(args->rank <= ATTENTION_LATENT_MAX_RANK && args->rope_dim <= ATTENTION_LATENT_MAX_ROPE);
    struct cpu_cache latents = {op->dtype, cpu_pointer(args->latent_cache), args->capacity,
                                args->rank};
    struct cpu_cache keys = {op->dtype, cpu_pointer(args->rope_cache), args->capacity,
                             args->rope_dim};
    struct cpu_attention attention = {
        .keys = {{latents, cpu_pointer(args->q), args->rank},
                 {keys, cpu_pointer(args->q_rope), args->rope_dim}},
        .y = cpu_pointer(args->y),
        .n_tokens = step->n_tokens,
        .position = step->position,
        .heads = args->heads,
        .kv_heads = 1,
        .scale = args->scale,
    };
    cpu_attention_tiles(run, &attention);
}

uint64_t cpu_attention_latent_scratch(const struct cpu_level *level, const struct op *op)
{
    const struct attention_latent_args *args = &op->args.attention_latent;
    return cpu_attention_tiles_scratch(op->max_tokens, args->heads, 1, args->rank + args->rope_dim,
                                       args->rank);
}
