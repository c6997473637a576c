/* Grouped-query attention (Ainslie et al. 2023): with biases or without, with a norm of every head
 * of q and k (Qwen3) or of all of q and k (OLMoE), through a sliding window, with sinks (gpt-oss).
 */
#include "engine/model/blocks.h"

#include <math.h>

#include "engine/model/rope.h"

void block_attention_declare(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    struct grouped_tensors *t = &f->grouped;
    uint64_t q_dim = (uint64_t)hparams->heads * hparams->head_dim;
    uint64_t kv_dim = (uint64_t)hparams->kv_heads * hparams->head_dim;
    t->q = forward_declare_f32(f, "q", q_dim);
    t->k = forward_declare_f32(f, "k", kv_dim);
    t->v = forward_declare_f32(f, "v", kv_dim);
    if (f->model->arch->qk_norm == QK_NORM_FULL) {
        t->q_normed = forward_declare_f32(f, "q normed", q_dim);
        t->k_normed = forward_declare_f32(f, "k normed", kv_dim);
    }
    t->q_rotated = forward_declare_f32(f, "q rotated", q_dim);
    f->attended = forward_declare_f32(f, "attended", q_dim);
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        struct state *state = &f->states[layer];
        *state = (struct state){.kind = STATE_KV, .layer = layer};
        for (uint32_t i = 0; i < 2; i++) {
            state->caches[i] = forward_declare_in_layer(f, i == 0 ? "k cache" : "v cache", layer,
                                                        f->options.kv_type, f->options.context,
                                                        kv_dim, BUFFER_ACTIVATIONS);
        }
    }
}

/* A norm over all of q or k is an op of its own. */
static const struct tensor *norm_all(const struct forward *f, const struct tensor *x,
                                     const struct weight *weight, const struct tensor *y,
                                     struct op_list *list)
{
    if (f->model->arch->qk_norm != QK_NORM_FULL) {
        return x;
    }
    block_norm(f, x, weight, y, false, list);
    return y;
}

/* Norms of heads, rotation, and the state. */
static void prepare(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    const struct grouped_tensors *t = &f->grouped;
    struct tensor *const *caches = f->states[number].caches;
    bool heads = f->model->arch->qk_norm == QK_NORM_HEAD;
    const struct tensor *q = norm_all(f, t->q, &layer->attention_q_norm, t->q_normed, list);
    const struct tensor *k = norm_all(f, t->k, &layer->attention_k_norm, t->k_normed, list);
    struct op *op =
        op_list_add(list, OP_attention_prepare, f->options.kv_type,
                    (const struct tensor *[]){f->step, q, k, t->v,
                                              heads ? &layer->attention_q_norm.tensor : NULL,
                                              heads ? &layer->attention_k_norm.tensor : NULL,
                                              f->frequencies, t->q_rotated, caches[0], caches[1]});
    op->args.attention_prepare.heads = hparams->heads;
    op->args.attention_prepare.kv_heads = hparams->kv_heads;
    op->args.attention_prepare.head_dim = hparams->head_dim;
    op->args.attention_prepare.n_rotated = hparams->rope_dim;
    op->args.attention_prepare.capacity = f->options.context;
    op->args.attention_prepare.epsilon = (float)hparams->norm_epsilon;
    op->args.attention_prepare.scale = (float)rope_attention_factor(hparams);
}

static void attend(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    struct tensor *const *caches = f->states[number].caches;
    struct op *op =
        op_list_add(list, OP_attention, f->options.kv_type,
                    (const struct tensor *[]){f->step, f->grouped.q_rotated, caches[0], caches[1],
                                              weight_tensor(&layer->attention_sinks),
                                              f->attention_parts, f->attended});
    op->args.attention.heads = hparams->heads;
    op->args.attention.kv_heads = hparams->kv_heads;
    op->args.attention.head_dim = hparams->head_dim;
    op->args.attention.capacity = f->options.context;
    op->args.attention.window = layer->window;
    op->args.attention.scale = 1 / sqrtf((float)hparams->head_dim);
}

void block_attention(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct model_layer *layer = &f->model->layers[number];
    const struct grouped_tensors *t = &f->grouped;

    struct block_input x = block_normed(f, f->x, &layer->attention_norm, f->normed, list);
    observation_write(f, OBSERVED_ATTENTION, number, x.x, NULL, 1, false, list);
    block_matmul(f, &layer->attention_q, &layer->attention_q_bias, x, NULL, t->q, list);
    block_matmul(f, &layer->attention_k, &layer->attention_k_bias, x, NULL, t->k, list);
    block_matmul(f, &layer->attention_v, &layer->attention_v_bias, x, NULL, t->v, list);
    prepare(f, number, list);
    attend(f, number, list);
    observation_write(f, OBSERVED_ATTENTION_OUTPUT, number, f->attended, NULL, 1, false, list);
    block_matmul(f, &layer->attention_output, &layer->attention_output_bias,
                 block_plain(f->attended), f->x, f->y, list);
}
