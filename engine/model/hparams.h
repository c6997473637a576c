/* The hyper-parameters of a model: one list, from which the struct, the metadata keys of a .moxie
 * file
 * ("model.<field>") and the reading of config.json are made.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "format/error.h"
#include "format/model_file.h"
#include "format/model_writer.h"

/* X(kind, field, "keys", default)
 * kind: u32, f64 or flag. keys: names in config.json, the first that is there counts; a dot
 * descends into an object. default: a value, or HPARAM_REQUIRED. */
#define HPARAM_REQUIRED (-1)
#define HPARAMS(X) \
    X(u32, layers, "num_hidden_layers", HPARAM_REQUIRED) \
    X(u32, hidden, "hidden_size", HPARAM_REQUIRED) \
    X(u32, heads, "num_attention_heads", HPARAM_REQUIRED) \
    X(u32, kv_heads, "num_key_value_heads", 0)          /* 0: as many as heads */ \
    X(u32, head_dim, "head_dim", 0)                     /* 0: hidden / heads */ \
    X(u32, ffn, "intermediate_size", 0)                 /* width of a dense layer */ \
    X(u32, experts, "num_experts|num_local_experts", 0) /* 0: no layer has a router */ \
    X(u32, experts_per_token, "num_experts_per_tok", 0) \
    X(u32, expert_ffn, "moe_intermediate_size", 0) /* width of one expert */ \
    X(u32, sparse_step, "decoder_sparse_step", \
      1) /* layer l has a router iff (l + 1) % step == 0 */ \
    X(flag, router_normalise, "norm_topk_prob", 0) \
    X(u32, vocabulary, "vocab_size", HPARAM_REQUIRED) \
    X(u32, context, "max_position_embeddings", HPARAM_REQUIRED) \
    X(f64, norm_epsilon, "rms_norm_eps", 1e-6) \
    X(f64, rope_theta, "rope_theta|rope_parameters.rope_theta", 10000) \
    X(f64, rope_factor, "rope_scaling.factor|rope_parameters.factor", 1) \
    X(f64, rope_low_frequency_factor, \
      "rope_scaling.low_freq_factor|rope_parameters.low_freq_factor", 1) \
    X(f64, rope_high_frequency_factor, \
      "rope_scaling.high_freq_factor|rope_parameters.high_freq_factor", 4) \
    X(u32, rope_original_context, \
      "rope_scaling.original_max_position_embeddings|" \
      "rope_parameters.original_max_position_embeddings", \
      0) \
    X(u32, rope_scaling, "", 0) /* enum rope_scaling; config.json has a word */

enum rope_scaling {
    ROPE_SCALING_NONE = 0,
    ROPE_SCALING_LINEAR = 1, /* frequencies / factor */
    ROPE_SCALING_LLAMA3 =
        2, /* Llama 3.1: long wavelengths / factor, short ones kept, a ramp between */
};

struct hparams {
#define HPARAM_TYPE_u32 uint32_t
#define HPARAM_TYPE_f64 double
#define HPARAM_TYPE_flag bool
#define X(kind, field, ...) HPARAM_TYPE_##kind field;
    HPARAMS(X)
#undef X
    /* Layers without a router although sparse_step says otherwise ("mlp_only_layers"), ascending.
     * Only known while converting: a .moxie file shows it by the router that is not there. */
    uint32_t n_dense_layers;
    uint32_t dense_layers[512];
};

/* Limits that everything behind them relies on (no product of two of them overflows 64 bits, no
 * stack or push constant overflows); the bounds are far above any published model. */
#define HPARAM_MAX_LAYERS 512
#define HPARAM_MAX_HIDDEN (1u << 20)
#define HPARAM_MAX_HEADS 4096
#define HPARAM_MAX_HEAD_DIM 256
#define HPARAM_MAX_VOCABULARY (1u << 24)
#define HPARAM_MAX_CONTEXT (1u << 27)

/* From a parsed config.json. `source` names it in messages. */
bool hparams_from_config(struct hparams *hparams, const json_t *config, const char *source,
                         struct error *err);
bool hparams_from_file(struct hparams *hparams, const struct model_file *file, struct error *err);
bool hparams_write(const struct hparams *hparams, struct model_writer *writer, struct error *err);

/* Fills defaults that depend on other fields, then checks every value and every relation between
 * them (heads % kv_heads, top-k <= experts, ...); called by both readers above. */
bool hparams_check(struct hparams *hparams, const char *source, struct error *err);

/* Whether a checkpoint with these hyper-parameters has a router in this layer. */
bool hparams_layer_has_router(const struct hparams *hparams, uint32_t layer);
