/* The hyper-parameters of a model: one list, from which the struct, the metadata keys of a .moxie
 * file ("model.<field>") and the reading of config.json and of GGUF's keys are made.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "format/error.h"
#include "format/model_file.h"
#include "format/model_writer.h"

/* X(kind, field, "keys of config.json", "keys of GGUF", default)
 * kind: u32, f64 or flag. keys: alternatives separated by "|", the first that is there counts. In
 * config.json a dot descends into an object; a GGUF key follows the architecture's name and a dot.
 * default: a value, HPARAM_REQUIRED, or HPARAM_ARCH (arch->defaults; hparams_set_defaults). */
#define HPARAM_REQUIRED (-1)
#define HPARAM_ARCH (-2)
#define HPARAMS(X) \
    X(u32, layers, "num_hidden_layers", "block_count", HPARAM_REQUIRED) \
    X(u32, hidden, "hidden_size", "embedding_length", HPARAM_REQUIRED) \
    X(u32, heads, "num_attention_heads", "attention.head_count", HPARAM_REQUIRED) \
    /* 0: as many as heads */ \
    X(u32, kv_heads, "num_key_value_heads", "attention.head_count_kv", 0) \
    /* 0: hidden / heads. Of latent attention always nope_dim + rope_dim. */ \
    X(u32, head_dim, "head_dim", "attention.key_length", 0) \
    /* width of a dense layer */ \
    X(u32, ffn, "intermediate_size", "feed_forward_length", 0) \
    /* 0: no layer has a router */ \
    X(u32, experts, "num_experts|num_local_experts|n_routed_experts", "expert_count", 0) \
    X(u32, experts_per_token, "num_experts_per_tok", "expert_used_count", 0) \
    /* width of one expert */ \
    X(u32, expert_ffn, "moe_intermediate_size", "expert_feed_forward_length", 0) \
    /* width of the shared expert; 0: shared_experts times expert_ffn */ \
    X(u32, shared_ffn, "shared_expert_intermediate_size", "expert_shared_feed_forward_length", 0) \
    X(u32, shared_experts, "n_shared_experts", "expert_shared_count", 0) \
    /* layer l has a router iff l >= first_dense and (l + 1) % step == 0 */ \
    X(u32, sparse_step, "decoder_sparse_step", "", 1) \
    X(u32, first_dense, "first_k_dense_replace", "leading_dense_block_count", 0) \
    X(flag, router_normalise, "norm_topk_prob", "expert_weights_norm", HPARAM_ARCH) \
    X(f64, router_scale, "routed_scaling_factor", "expert_weights_scale", 1) \
    /* ROUTER_*; config.json has a word (scoring_func), GGUF expert_gating_func */ \
    X(u32, router_score, "", "", HPARAM_ARCH) \
    X(u32, router_groups, "n_group", "expert_group_count", 1) \
    X(u32, router_top_groups, "topk_group", "expert_group_used_count", 1) \
    X(u32, vocabulary, "vocab_size", "vocab_size", HPARAM_REQUIRED) \
    X(u32, context, "max_position_embeddings", "context_length", HPARAM_REQUIRED) \
    X(f64, norm_epsilon, "rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6) \
    /* of the layers in windowed[] */ \
    X(u32, window, "sliding_window", "attention.sliding_window", 0) \
    /* of ACTIVATION_SWIGLU_CLAMPED */ \
    X(f64, activation_limit, "swiglu_limit", "", 7) \
    X(f64, activation_alpha, "swiglu_alpha", "", 1.702) \
    /* latent attention; q_rank 0: q is made from the input in one product */ \
    X(u32, q_rank, "q_lora_rank", "attention.q_lora_rank", 0) \
    X(u32, kv_rank, "kv_lora_rank", "attention.kv_lora_rank", 0) \
    X(u32, nope_dim, "qk_nope_head_dim", "", 0) \
    /* dims of a head that rotate; of other attention always head_dim, as value_dim */ \
    X(u32, rope_dim, "qk_rope_head_dim", "rope.dimension_count", 0) \
    X(u32, value_dim, "v_head_dim", "attention.value_length_mla|attention.value_length", 0) \
    X(f64, rope_theta, "rope_theta|rope_parameters.rope_theta", "rope.freq_base", 10000) \
    X(f64, rope_factor, "rope_scaling.factor|rope_parameters.factor", "rope.scaling.factor", 1) \
    X(f64, rope_low_frequency_factor, \
      "rope_scaling.low_freq_factor|rope_parameters.low_freq_factor", "", 1) \
    X(f64, rope_high_frequency_factor, \
      "rope_scaling.high_freq_factor|rope_parameters.high_freq_factor", "", 4) \
    X(u32, rope_original_context, \
      "rope_scaling.original_max_position_embeddings|" \
      "rope_parameters.original_max_position_embeddings", \
      "rope.scaling.original_context_length", 0) \
    /* of YaRN (Peng et al. 2023) */ \
    X(f64, rope_beta_fast, "rope_scaling.beta_fast|rope_parameters.beta_fast", \
      "rope.scaling.yarn_beta_fast", 32) \
    X(f64, rope_beta_slow, "rope_scaling.beta_slow|rope_parameters.beta_slow", \
      "rope.scaling.yarn_beta_slow", 1) \
    X(f64, rope_mscale, "rope_scaling.mscale|rope_parameters.mscale", "", 0) \
    X(f64, rope_mscale_all_dim, "rope_scaling.mscale_all_dim|rope_parameters.mscale_all_dim", "", \
      0) \
    /* of cos and sin; 0: as mscale, mscale_all_dim and factor say */ \
    X(f64, rope_attention_factor, \
      "rope_scaling.attention_factor|rope_parameters.attention_factor", "", 0) \
    /* whether the ramp begins and ends at whole dims */ \
    X(flag, rope_truncate, "rope_scaling.truncate|rope_parameters.truncate", "", 1) \
    X(u32, rope_scaling, "", "", 0) /* enum rope_scaling; config.json has a word */

enum rope_scaling {
    ROPE_SCALING_NONE = 0,
    ROPE_SCALING_LINEAR = 1, /* frequencies / factor */
    /* Llama 3.1: long wavelengths / factor, short ones kept, a ramp between */
    ROPE_SCALING_LLAMA3 = 2,
    ROPE_SCALING_YARN = 3,
};

#define HPARAM_MAX_LAYERS 512

struct arch;

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
    uint32_t dense_layers[HPARAM_MAX_LAYERS];
    /* Layers that attend through the window; in the metadata "model.windowed_layers", their numbers
     * ascending. */
    bool windowed[HPARAM_MAX_LAYERS];
};

/* Limits that everything behind them relies on (no product of two of them overflows 64 bits, no
 * stack or push constant overflows); the bounds are far above any published model. */
#define HPARAM_MAX_HIDDEN (1u << 20)
#define HPARAM_MAX_HEADS 4096
#define HPARAM_MAX_HEAD_DIM 256
#define HPARAM_MAX_RANK 4096
#define HPARAM_MAX_VOCABULARY (1u << 24)
#define HPARAM_MAX_CONTEXT (1u << 27)

/* Every number as the list and the architecture have it where a container says nothing; 0 where
 * something must be said. */
void hparams_set_defaults(struct hparams *hparams, const struct arch *arch);
/* Fills windowed[] as the architecture has it, for containers that tell the window's width only. */
void hparams_set_windows(struct hparams *hparams, const struct arch *arch);

/* From a parsed config.json. `source` names it in messages. */
bool hparams_from_config(struct hparams *hparams, const struct arch *arch, const json_t *config,
                         const char *source, struct error *err);
bool hparams_from_file(struct hparams *hparams, const struct arch *arch,
                       const struct model_file *file, struct error *err);
bool hparams_write(const struct hparams *hparams, struct model_writer *writer, struct error *err);

/* Fills defaults that depend on other fields, then checks every value and every relation between
 * them (heads % kv_heads, top-k <= experts, ...); called by all readers. */
bool hparams_check(struct hparams *hparams, const struct arch *arch, const char *source,
                   struct error *err);

/* Whether a checkpoint with these hyper-parameters has a router in this layer. */
bool hparams_layer_has_router(const struct hparams *hparams, uint32_t layer);
