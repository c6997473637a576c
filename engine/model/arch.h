/* What an architecture may choose: a family of models is one row of data in arch_<name>.c.
 *
 * Loading, shape checks, conversion from either container, export and placement all walk the table
 * of weights.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/hparams.h"
#include "format/roles.h"
#include "shaders/op_args.h"

/* A dimension as an expression of hyper-parameters. A weight one of whose dimensions is 0 does not
 * exist in that model (q_lora_rank null, for example). */
enum arch_dim {
    DIM_ONE,
    DIM_HIDDEN,
    DIM_VOCABULARY,
    DIM_HEAD,  /* head_dim */
    DIM_HEADS, /* heads */
    DIM_Q,     /* heads * head_dim */
    DIM_KV,    /* kv_heads * head_dim */
    DIM_EXPERTS,
    DIM_EXPERT_FFN,
    DIM_SHARED_HIDDEN, /* hidden if there is a shared expert, else 0 */
    DIM_ROTATED_PAIRS, /* dims that rotate / 2 */
    DIM_Q_RANK,        /* q_lora_rank */
    DIM_Q_INPUT,       /* q_lora_rank, or hidden if that is 0 */
    DIM_KV_RANK,       /* kv_lora_rank */
    DIM_HEADS_NOPE,    /* heads * nope_dim */
    DIM_HEADS_ROPE,    /* heads * rope_dim */
    DIM_ROPE,          /* rope_dim */
    DIM_NOPE,          /* nope_dim */
    DIM_HEADS_KV_RANK, /* heads * kv_rank */
    DIM_HEADS_VALUE,   /* heads * value_dim */
};
uint64_t arch_dim_value(enum arch_dim dim, const struct hparams *hparams);

enum arch_weight_flags {
    WEIGHT_PER_LAYER = 1 << 0,     /* the name has a % where the layer number stands */
    WEIGHT_ROUTER_LAYERS = 1 << 1, /* only in layers with a router */
    WEIGHT_OPTIONAL = 1 << 2,      /* may be missing (the head, if tied to the embedding) */
    WEIGHT_KEEP_F32 = 1 << 3,      /* small and sensitive: stored as f32 whatever --type says */
};

/* Which rows (or columns) of its tensor a weight is (format/source_matrix.h). */
enum arch_part {
    PART_WHOLE,
    PART_PAIRS, /* rows of each head (head_dim of them): interleaved pairs become half-split (q and
                   k of GGUF's llama) */
    PART_HEAD_NOPE,    /* of each head's nope_dim + rope_dim rows the first nope_dim */
    PART_HEAD_ROPE,    /* ... the last rope_dim, interleaved pairs become half-split */
    PART_LATENT,       /* the first kv_rank of kv_rank + rope_dim rows */
    PART_LATENT_ROPE,  /* the last rope_dim, interleaved pairs become half-split */
    PART_HEAD_KEYS,    /* kv_b_proj: of each head's nope_dim + value_dim rows the first nope_dim,
                          transposed: [heads * kv_rank, nope_dim] */
    PART_HEAD_VALUES,  /* kv_b_proj: ... the last value_dim */
    PART_EVEN_COLUMNS, /* of [experts, 2 ffn]: columns 0, 2, ... (gpt-oss gate biases) */
    PART_ODD_COLUMNS,  /* ... columns 1, 3, ... */
};

/* Where a weight lies in a checkpoint: names of tensors, alternatives separated by "|" (the first
 * that is there counts); % is the layer. NULL: this container never has it. */
struct arch_place {
    const char *name;
    enum arch_part part;
};

struct arch_weight {
    enum tensor_role role;
    enum arch_dim rows, cols;
    uint32_t flags;
    struct arch_place hf;      /* Hugging Face safetensors */
    struct arch_place gguf[2]; /* GGUF; a second layout of other files, or NULL */
};

/* How a checkpoint stores the three matrices of an expert (gate and up [ffn, hidden], down [hidden,
 * ffn]). In names % is the layer, # the expert. */
enum arch_ffn_layout {
    FFN_NONE,
    FFN_SEPARATE, /* three tensors, one set an expert (or the dense layer's, the shared one's) */
    FFN_STACKED,  /* three tensors [experts, rows, cols] */
    FFN_FUSED, /* gate: [experts, 2 ffn, hidden], gate rows first; down: [experts, hidden, ffn] */
    FFN_FUSED_PAIRS, /* gpt-oss: gate: [experts, hidden, 2 ffn] (columns gate 0, up 0, gate 1 ...),
                        down: [experts, ffn, hidden], both input-major; or, where X_blocks and
                        X_scales stand instead of X, MXFP4 pairs [experts, 2 ffn, hidden / 32, 16]
                        with rows gate 0, up 0 ... */
};
struct arch_ffn {
    enum arch_ffn_layout layout;
    const char *gate, *up, *down; /* fused: gate names both */
};
#define ARCH_FFN_LAYOUTS 3 /* and an ending FFN_NONE where there are fewer */

/* The feed-forward networks of a layer, by who takes them. */
enum arch_ffn_kind { FFN_ROUTED, FFN_DENSE, FFN_SHARED, FFN_KINDS };

enum arch_attention {
    ATTENTION_GROUPED, /* attention.c */
    ATTENTION_LATENT,  /* attention_latent.c */
};
enum arch_qk_norm {
    QK_NORM_NONE,
    QK_NORM_HEAD, /* RMSNorm of every head of q and k before RoPE (Qwen3) */
    QK_NORM_FULL, /* RMSNorm over all of q and all of k before RoPE (OLMoE) */
};

/* Which layers attend through a sliding window, where a container tells its width but not the
 * layers. */
enum arch_windows {
    WINDOWS_NONE, /* none: the width is not used */
    WINDOWS_ALL,
    WINDOWS_EVEN, /* layers 0, 2, 4 ... */
};

/* What a key of config.json must be, where it is there, for our formulas to be the model's. */
enum arch_expectation_kind {
    EXPECT_FALSE,
    EXPECT_TRUE,
    EXPECT_ONE,
    EXPECT_SILU,
    EXPECT_ABSENT,       /* or null */
    EXPECT_QUANTIZATION, /* absent, null, or a method whose tensors format/ can read */
};
struct arch_expectation {
    const char *key; /* a dot descends into an object */
    enum arch_expectation_kind kind;
};

struct arch {
    const char *name;        /* in the metadata of a .moxie file: "architecture" */
    const char *config_name; /* architectures[0] of config.json, alternatives by "|" */
    const char *gguf_name;   /* general.architecture */
    const struct arch_weight *weights;
    uint32_t n_weights;
    struct arch_ffn hf_ffn[FFN_KINDS][ARCH_FFN_LAYOUTS]; /* tried in order; FFN_NONE ends */
    struct arch_ffn gguf_ffn[FFN_KINDS][ARCH_FFN_LAYOUTS];
    /* Tensor names a checkpoint may carry that we have no use for (prefixes, NULL-terminated). */
    const char *const *ignored;
    /* Layers numbered num_hidden_layers and above may be there (for multi-token prediction) and are
     * not used. */
    bool surplus_layers;
    /* Beside those of all families (hparams_config.c), or instead of them where the key is the
     * same. A NULL key ends; NULL: none. */
    const struct arch_expectation *expectations;
    enum arch_attention attention;
    enum arch_qk_norm qk_norm;
    uint32_t activation; /* ACTIVATION_* of shaders/op_args.h */
    /* What a container that is silent means; explicit keys override through HPARAMS. */
    struct arch_defaults {
        bool router_normalise;      /* config.json and .moxie */
        bool gguf_router_normalise; /* GGUF, which has no key for some families */
        uint32_t router_score;      /* ROUTER_* */
        bool ffn_is_expert_ffn; /* intermediate_size / feed_forward_length is the experts' width */
        enum arch_windows windows;
        double rope_theta; /* 0: as HPARAMS says */
        /* YaRN's ramp begins and ends between dims (GGUF, which has no key for it) */
        bool gguf_rope_not_truncated;
    } defaults;
};

/* By the name in a .moxie file, or by architectures[0] of config.json; NULL if unknown. */
const struct arch *arch_find(const char *name, uint64_t bytes);
const struct arch *arch_find_config(const char *config_name);
/* By general.architecture; has_experts tells Llama from Mixtral, which GGUF calls the same. Both
 * DeepSeek-V2 and V3 are "deepseek2": the first is found, and differs from the second only in what
 * a silent config.json means. */
const struct arch *arch_find_gguf(const char *name, uint64_t bytes, bool has_experts);
/* "Qwen3MoeForCausalLM, Qwen3ForCausalLM, ...", cut to fit, for messages. */
void arch_config_names(char *names, uint32_t names_bytes);
void arch_gguf_names(char *names, uint32_t names_bytes);

/* Writes the name with % and # replaced; `pattern` may hold alternatives, of which number
 * `alternative` is taken. False if there are not so many or it does not fit. */
bool arch_tensor_name(char *name, uint32_t name_bytes, const char *pattern, uint32_t alternative,
                      uint32_t layer, uint32_t expert);
