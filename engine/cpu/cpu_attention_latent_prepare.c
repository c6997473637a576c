/* What stands between the products of a layer and its latent attention: the norm of the latent,
 * rotation of q's and k's rotary parts, and the rows of the caches. The products of every head with
 * its part of q's latent run at the same time (engine/op/op_steps.h), so this is a share of their
 * phase: an item is a token.
 */
#include "engine/cpu/cpu_attention.h"
#include "engine/cpu/cpu_phase.h"

/* An element is copied at the least, and the sine of an angle takes as long as many. */
#define ELEMENT_COST 8
#define ANGLE_COST 128

struct latent_prepare_share {
    const struct attention_latent_prepare_args *args;
    struct cpu_cache latents, keys;
    uint64_t position;
};

static_assert(sizeof(struct latent_prepare_share) <= CPU_SHARE_CONTEXT_BYTES,
              "a share's context is small");

static uint64_t prepare_cost(const void *context, uint64_t group)
{
    const struct attention_latent_prepare_args *args =
        ((const struct latent_prepare_share *)context)->args;
    return ELEMENT_COST * (args->rank + (args->heads + 1ull) * args->rope_dim) +
           ANGLE_COST * args->rope_dim / 2;
}

static void prepare_item(const struct cpu_level *level, const void *context, uint64_t group,
                         uint64_t t, const struct cpu_item_memory *memory)
{
    const struct latent_prepare_share *share = context;
    const struct attention_latent_prepare_args *args = share->args;
    uint64_t dim = args->rope_dim, row = share->position + t;
    uint32_t pairs = args->rope_dim / 2;
    float cosines[ATTENTION_LATENT_MAX_ROPE / 2], sines[ATTENTION_LATENT_MAX_ROPE / 2];
    float latent[ATTENTION_LATENT_MAX_RANK], key[ATTENTION_LATENT_MAX_ROPE];
    cpu_rope_turns(cpu_pointer(args->frequencies), row, pairs, args->scale, cosines, sines);
    cpu_rms_norm_row((const float *)cpu_pointer(args->latent) + t * args->rank,
                     cpu_pointer(args->latent_norm), args->epsilon, args->rank, latent);
    cpu_cache_store(&share->latents, row, latent);
    cpu_rope_head((const float *)cpu_pointer(args->k_rope) + t * dim, cosines, sines, pairs,
                  args->rope_dim, key);
    cpu_cache_store(&share->keys, row, key);
    for (uint64_t head = t * args->heads; head < (t + 1) * args->heads; head++) {
        cpu_rope_head((const float *)cpu_pointer(args->q_rope) + head * dim, cosines, sines, pairs,
                      args->rope_dim, (float *)cpu_pointer(args->q_rotated) + head * dim);
    }
}

void cpu_attention_latent_prepare(const struct cpu_run *run, const struct op *op)
{
    const struct attention_latent_prepare_args *args = &op->args.attention_latent_prepare;
    const struct step *step = cpu_step(op, args->step);
    assert(args->rank <= ATTENTION_LATENT_MAX_RANK && args->rope_dim <= ATTENTION_LATENT_MAX_ROPE);
    assert(args->rank % 2 == 0 && args->rope_dim % 2 == 0);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    struct latent_prepare_share share = {
        .args = args,
        .latents = {op->dtype, cpu_pointer(args->latent_cache), args->capacity, args->rank},
        .keys = {op->dtype, cpu_pointer(args->rope_cache), args->capacity, args->rope_dim},
        .position = step->position,
    };
    struct cpu_share items = {
        .n_groups = 1,
        .n_blocks = step->n_tokens,
        .cost = prepare_cost,
        .run = prepare_item,
    };
    cpu_phase_add(run->phase, &items, &share, sizeof(share));
}

uint64_t cpu_attention_latent_prepare_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
