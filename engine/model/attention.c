/* Grouped-query attention (Ainslie et al. 2023), with or without a norm of every head of q and k
 * (Qwen3). */
#include "engine/model/blocks.h"

#include <math.h>

static const struct tensor *rotate(const struct forward *forward, const struct tensor *x,
                                   const struct tensor *y, uint32_t heads, struct op_list *list)
{
    uint32_t head_dim = forward->model->hparams.head_dim;
    struct op *op =
        op_list_add(list, OP_rope, DTYPE_F32,
                    (const struct tensor *[]){forward->step, x, forward->frequencies, y});
    op->args.rope.heads = heads;
    op->args.rope.head_dim = head_dim;
    op->args.rope.n_rotated = head_dim;
    op->args.rope.scale = 1;
    return y;
}

void block_attention(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    const struct state *state = &f->states[number];
    uint32_t heads = hparams->heads, kv_heads = hparams->kv_heads, head_dim = hparams->head_dim;
    const struct tensor *q = f->q, *k = f->k;

    block_norm(f, f->x, &layer->attention_norm, f->normed, 1, hparams->hidden, false, list);
    block_matmul(f, &layer->attention_q, f->normed, f->q, false, list);
    block_matmul(f, &layer->attention_k, f->normed, f->k, false, list);
    block_matmul(f, &layer->attention_v, f->normed, f->v, false, list);
    if (f->model->arch->qk_norm) {
        block_norm(f, f->q, &layer->attention_q_norm, f->q_normed, heads, head_dim, false, list);
        block_norm(f, f->k, &layer->attention_k_norm, f->k_normed, kv_heads, head_dim, false, list);
        q = f->q_normed;
        k = f->k_normed;
    }
    q = rotate(f, q, f->q_rotated, heads, list);
    k = rotate(f, k, f->k_rotated, kv_heads, list);

    struct op *store =
        op_list_add(list, OP_kv_store, f->options.kv_type,
                    (const struct tensor *[]){f->step, k, f->v, state->k_cache, state->v_cache});
    store->args.kv_store.kv_dim = kv_heads * head_dim;
    store->args.kv_store.capacity = f->options.context;

    struct op *attend = op_list_add(
        list, OP_attention, f->options.kv_type,
        (const struct tensor *[]){f->step, q, state->k_cache, state->v_cache, f->attended});
    attend->args.attention.heads = heads;
    attend->args.attention.kv_heads = kv_heads;
    attend->args.attention.head_dim = head_dim;
    attend->args.attention.capacity = f->options.context;
    attend->args.attention.scale = 1 / sqrtf((float)head_dim);

    block_matmul(f, &layer->attention_output, f->attended, f->projected, false, list);
    struct op *add = op_list_add(list, OP_add, DTYPE_F32,
                                 (const struct tensor *[]){f->step, f->x, f->projected, f->y});
    add->args.add.dim = hparams->hidden;
}
