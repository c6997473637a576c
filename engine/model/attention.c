/* Grouped-query attention (Ainslie et al. 2023): with biases or without, with a norm of every head
 * of q and k (Qwen3) or of all of q and k (OLMoE), through a sliding window, with sinks (gpt-oss).
 */
#include "engine/model/blocks.h"

#include <math.h>

void block_attention_declare(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    struct grouped_tensors *t = &f->grouped;
    uint64_t q_dim = (uint64_t)hparams->heads * hparams->head_dim;
    uint64_t kv_dim = (uint64_t)hparams->kv_heads * hparams->head_dim;
    t->q = forward_declare_f32(f, "q", q_dim);
    t->k = forward_declare_f32(f, "k", kv_dim);
    t->v = forward_declare_f32(f, "v", kv_dim);
    if (f->model->arch->qk_norm != QK_NORM_NONE) {
        t->q_normed = forward_declare_f32(f, "q normed", q_dim);
        t->k_normed = forward_declare_f32(f, "k normed", kv_dim);
    }
    t->q_rotated = forward_declare_f32(f, "q rotated", q_dim);
    t->k_rotated = forward_declare_f32(f, "k rotated", kv_dim);
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

/* The norm's weight tells how many values are normed together: a head, or all. */
static const struct tensor *norm_heads(const struct forward *f, const struct tensor *x,
                                       const struct weight *weight, const struct tensor *y,
                                       struct op_list *list)
{
    if (f->model->arch->qk_norm == QK_NORM_NONE) {
        return x;
    }
    uint32_t dim = (uint32_t)weight->tensor.cols;
    block_norm(f, x, weight, y, (uint32_t)(x->cols / dim), dim, false, list);
    return y;
}

static void attend(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    struct tensor *const *caches = f->states[number].caches;
    struct op *op =
        op_list_add(list, OP_attention, f->options.kv_type,
                    (const struct tensor *[]){f->step, f->grouped.q_rotated, caches[0], caches[1],
                                              weight_tensor(&layer->attention_sinks), f->attended});
    op->args.attention.heads = hparams->heads;
    op->args.attention.kv_heads = hparams->kv_heads;
    op->args.attention.head_dim = hparams->head_dim;
    op->args.attention.capacity = f->options.context;
    op->args.attention.window = layer->window;
    op->args.attention.scale = 1 / sqrtf((float)hparams->head_dim);
}

void block_attention(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    const struct grouped_tensors *t = &f->grouped;

    block_norm(f, f->x, &layer->attention_norm, f->normed, 1, hparams->hidden, false, list);
    observation_write(f, OBSERVED_ATTENTION, number, f->normed, NULL, 1, false, list);
    block_matmul(f, &layer->attention_q, &layer->attention_q_bias, f->normed, t->q, false, list);
    block_matmul(f, &layer->attention_k, &layer->attention_k_bias, f->normed, t->k, false, list);
    block_matmul(f, &layer->attention_v, &layer->attention_v_bias, f->normed, t->v, false, list);
    const struct tensor *q = norm_heads(f, t->q, &layer->attention_q_norm, t->q_normed, list);
    const struct tensor *k = norm_heads(f, t->k, &layer->attention_k_norm, t->k_normed, list);
    block_rope(f, q, t->q_rotated, hparams->heads, hparams->head_dim, list);
    block_rope(f, k, t->k_rotated, hparams->kv_heads, hparams->head_dim, list);
    block_store(f, &f->states[number], t->k_rotated, t->v, list);
    attend(f, number, list);
    observation_write(f, OBSERVED_ATTENTION_OUTPUT, number, f->attended, NULL, 1, false, list);
    block_matmul(f, &layer->attention_output, &layer->attention_output_bias, f->attended,
                 f->projected, false, list);
    block_add(f, f->x, f->projected, f->y, list);
}
