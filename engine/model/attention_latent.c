/* Latent attention in absorbed form (DeepSeek-AI 2024): keys and values of all heads are linear in
 * one latent vector a token, so that the cache holds only that and one rotated key. The part of a
 * key's matrix that makes it from the latent is moved to the query (LATENT_K_B, transposed per
 * head), that of the value to the attended latent (LATENT_V_B).
 *
 * For one token that is five steps: what is made of x; q through the key's matrices, beside all
 * that goes into the caches; attention; the value's matrices; the output. A query that comes out of
 * a latent of its own (V3) is one more. They stay apart because joining two of them costs more than
 * the step: a matrix that stands for two (the key's times q's, the output's times the value's) has
 * three to four times the weights of both, every split of attention would read the key's matrices
 * again, and its last work-groups, one for some heads, would read the value's alone while the rest
 * of the device waits. */
#include "engine/model/blocks.h"

#include <math.h>

#include "engine/model/rope.h"

void block_attention_latent_declare(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    struct latent_tensors *t = &f->latent;
    uint64_t heads = hparams->heads;
    if (hparams->q_rank > 0) {
        t->q_a = forward_declare_f32(f, "q a", hparams->q_rank);
        t->q_a_normed = forward_declare_f32(f, "q a normed", hparams->q_rank);
    }
    t->q_nope = forward_declare_f32(f, "q nope", heads * hparams->nope_dim);
    t->q_rope = forward_declare_f32(f, "q rope", heads * hparams->rope_dim);
    t->q_rotated = forward_declare_f32(f, "q rotated", heads * hparams->rope_dim);
    t->q_latent = forward_declare_f32(f, "q latent", heads * hparams->kv_rank);
    t->latent = forward_declare_f32(f, "latent", hparams->kv_rank);
    t->k_rope = forward_declare_f32(f, "k rope", hparams->rope_dim);
    t->attended_latent = forward_declare_f32(f, "attended latent", heads * hparams->kv_rank);
    f->attended = forward_declare_f32(f, "attended", heads * hparams->value_dim);
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        f->states[layer] = (struct state){
            .kind = STATE_LATENT,
            .layer = layer,
            .caches = {forward_declare_in_layer(f, "latent cache", layer, f->options.kv_type,
                                                f->options.context, hparams->kv_rank,
                                                BUFFER_ACTIVATIONS),
                       forward_declare_in_layer(f, "rope cache", layer, f->options.kv_type,
                                                f->options.context, hparams->rope_dim,
                                                BUFFER_ACTIVATIONS)},
        };
    }
}

/* y[head] = W_head x[head] */
static void multiply_heads(const struct forward *f, const struct weight *weight,
                           const struct tensor *x, const struct tensor *y, struct op_list *list)
{
    uint32_t heads = f->model->hparams.heads;
    struct op *op = op_list_add(list, OP_head_matmul, weight->tensor.dtype,
                                (const struct tensor *[]){f->step, &weight->tensor, x, y});
    op->args.head_matmul.heads = heads;
    op->args.head_matmul.rows = (uint32_t)(weight->tensor.rows / heads);
    op->args.head_matmul.cols = (uint32_t)weight->tensor.cols;
}

/* Rotation, and the state. */
static void prepare(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct latent_tensors *t = &f->latent;
    struct tensor *const *caches = f->states[number].caches;
    struct op *op =
        op_list_add(list, OP_attention_latent_prepare, f->options.kv_type,
                    (const struct tensor *[]){f->step, t->q_rope, t->latent, t->k_rope,
                                              &f->model->layers[number].latent_kv_a_norm.tensor,
                                              f->frequencies, t->q_rotated, caches[0], caches[1]});
    op->args.attention_latent_prepare.heads = hparams->heads;
    op->args.attention_latent_prepare.rank = hparams->kv_rank;
    op->args.attention_latent_prepare.rope_dim = hparams->rope_dim;
    op->args.attention_latent_prepare.capacity = f->options.context;
    op->args.attention_latent_prepare.epsilon = (float)hparams->norm_epsilon;
    op->args.attention_latent_prepare.scale = (float)rope_attention_factor(hparams);
}

/* What is cached, and queries; in an order that keeps ops together which do not need each other. */
static void make_queries_and_keys(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct model_layer *layer = &f->model->layers[number];
    const struct hparams *hparams = &f->model->hparams;
    const struct latent_tensors *t = &f->latent;
    struct block_input x = block_normed(f, f->x, &layer->attention_norm, f->normed, list);
    observation_write(f, OBSERVED_ATTENTION, number, x.x, NULL, 1, false, list);
    block_matmul(f, &layer->latent_kv_a, NULL, x, NULL, t->latent, list);
    block_matmul(f, &layer->latent_k_rope, NULL, x, NULL, t->k_rope, list);
    if (hparams->q_rank > 0) {
        block_matmul(f, &layer->latent_q_a, NULL, x, NULL, t->q_a, list);
        x = block_normed(f, t->q_a, &layer->latent_q_a_norm, t->q_a_normed, list);
        observation_write(f, OBSERVED_LATENT_Q, number, x.x, NULL, 1, false, list);
    }
    block_matmul(f, &layer->latent_q_nope, NULL, x, NULL, t->q_nope, list);
    block_matmul(f, &layer->latent_q_rope, NULL, x, NULL, t->q_rope, list);
    observation_write(f, OBSERVED_LATENT_K_B, number, t->q_nope, NULL, 1, false, list);
    multiply_heads(f, &layer->latent_k_b, t->q_nope, t->q_latent, list);
    prepare(f, number, list);
}

static void attend(const struct forward *f, const struct state *state, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct latent_tensors *t = &f->latent;
    struct op *op = op_list_add(list, OP_attention_latent, f->options.kv_type,
                                (const struct tensor *[]){f->step, t->q_latent, t->q_rotated,
                                                          state->caches[0], state->caches[1],
                                                          f->attention_parts, t->attended_latent});
    op->args.attention_latent.heads = hparams->heads;
    op->args.attention_latent.rank = hparams->kv_rank;
    op->args.attention_latent.rope_dim = hparams->rope_dim;
    op->args.attention_latent.capacity = f->options.context;
    op->args.attention_latent.scale =
        (float)(rope_score_factor(hparams) / sqrt((double)hparams->head_dim));
}

void block_attention_latent(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct model_layer *layer = &f->model->layers[number];
    const struct state *state = &f->states[number];
    make_queries_and_keys(f, number, list);
    attend(f, state, list);
    observation_write(f, OBSERVED_LATENT_V_B, number, f->latent.attended_latent, NULL, 1, false,
                      list);
    multiply_heads(f, &layer->latent_v_b, f->latent.attended_latent, f->attended, list);
    observation_write(f, OBSERVED_ATTENTION_OUTPUT, number, f->attended, NULL, 1, false, list);
    block_matmul(f, &layer->attention_output, NULL, block_plain(f->attended), f->x, f->y, list);
}
