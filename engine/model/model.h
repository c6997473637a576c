/* A model bound to its file: which tensors there are, of which type and shape. What is computed,
 * not where. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/arch.h"
#include "engine/op/weight.h"
#include "format/error.h"
#include "format/model_file.h"

/* Weights that this model or layer has not have tensors of 0 bytes (weight_tensor). */
struct model_layer {
    struct weight attention_norm, attention_output, attention_output_bias;
    /* ATTENTION_GROUPED */
    struct weight attention_q, attention_k, attention_v;
    struct weight attention_q_bias, attention_k_bias, attention_v_bias;
    struct weight attention_q_norm, attention_k_norm;
    struct weight attention_sinks;
    uint32_t window; /* 0: none */
    /* ATTENTION_LATENT */
    struct weight latent_q_a, latent_q_a_norm, latent_q_nope, latent_q_rope;
    struct weight latent_kv_a, latent_kv_a_norm, latent_k_rope, latent_k_b, latent_v_b;

    struct weight ffn_norm;
    bool has_router; /* false: one expert, which every token takes */
    struct weight router, router_bias, router_correction;
    struct weight expert_gate_bias, expert_up_bias, expert_down_bias;
    struct expert_set experts;
    uint32_t ffn; /* width of one */
    bool has_shared;
    struct weight shared_router; /* absent: the shared expert's weight is one */
    struct expert_set shared;
    uint32_t shared_ffn;
};

/* The tensor of a weight, or NULL if there is none. */
static inline const struct tensor *weight_tensor(const struct weight *weight)
{
    return weight->tensor.bytes ? &weight->tensor : NULL;
}

struct model {
    const struct arch *arch;
    struct hparams hparams;
    struct weight token_embedding, output_norm;
    struct weight output; /* unused if tied: the head is then token_embedding */
    bool tied;
    struct model_layer *layers; /* (hparams.layers) */
    float *rope_divisors;       /* (hparams.rope_dim / 2), or NULL: all 1 */
};

/* Reads hyper-parameters and binds every tensor the architecture names, checking type and every
 * dimension. The file must outlive the model. On failure nothing is left to free. */
bool model_bind(struct model *model, const struct model_file *file, struct error *err);
void model_free(struct model *model);

/* Calls `matrix` for every weight of the model once (a tied head is not a second one), `experts`
 * for every layer's experts and its shared one (a set of its own), in the order of the layers.
 * Stops at the first false. */
bool model_each(struct model *model, bool (*matrix)(void *context, struct weight *weight),
                bool (*experts)(void *context, struct expert_set *experts), void *context);
