/* A model bound to its file: which tensors there are, of which type and shape. What is computed,
 * not where. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/arch.h"
#include "engine/op/weight.h"
#include "format/error.h"
#include "format/model_file.h"

struct model_layer {
    struct weight attention_norm, attention_q, attention_k, attention_v, attention_output;
    struct weight attention_q_norm, attention_k_norm; /* unused unless arch->qk_norm */
    struct weight ffn_norm;
    struct weight router; /* unused unless has_router */
    bool has_router;      /* false: one expert, which every token takes */
    struct expert_set experts;
    enum dtype gate_up_type, down_type;
    uint32_t ffn;
    uint32_t down_offset; /* bytes into a slab */
};

struct model {
    const struct arch *arch;
    struct hparams hparams;
    struct weight token_embedding, output_norm;
    struct weight output; /* unused if tied: the head is then token_embedding */
    bool tied;
    struct model_layer *layers; /* (hparams.layers) */
};

/* Reads hyper-parameters and binds every tensor the architecture names, checking type and every
 * dimension. The file must outlive the model. On failure nothing is left to free. */
bool model_bind(struct model *model, const struct model_file *file, struct error *err);
void model_free(struct model *model);

/* Calls `matrix` for every weight of the model once (a tied head is not a second one), `experts`
 * for every layer's experts, in the order of the layers. Stops at the first false. */
bool model_each(struct model *model, bool (*matrix)(void *context, struct weight *weight),
                bool (*experts)(void *context, struct expert_set *experts), void *context);

/* Inverse frequencies of RoPE, (head_dim / 2), scaled as the hyper-parameters say. */
void model_rope_frequencies(const struct hparams *hparams, float *frequencies);
