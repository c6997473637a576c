/* What an architecture may choose: a family of models is one row of data in arch_<name>.c.
 *
 * Loading, shape checks, conversion and placement all walk the table of weights.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/hparams.h"
#include "format/roles.h"
#include "shaders/op_args.h"

/* A dimension as an expression of hyper-parameters. */
enum arch_dim {
    DIM_ONE,
    DIM_HIDDEN,
    DIM_VOCABULARY,
    DIM_HEAD, /* head_dim */
    DIM_Q,    /* heads * head_dim */
    DIM_KV,   /* kv_heads * head_dim */
    DIM_EXPERTS,
};
uint64_t arch_dim_value(enum arch_dim dim, const struct hparams *hparams);

enum arch_weight_flags {
    WEIGHT_PER_LAYER = 1 << 0,     /* the name has a % where the layer number stands */
    WEIGHT_ROUTER_LAYERS = 1 << 1, /* only in layers with a router */
    WEIGHT_OPTIONAL = 1 << 2,      /* may be missing (the head, if tied to the embedding) */
    WEIGHT_KEEP_F32 = 1 << 3,      /* small and sensitive: stored as f32 whatever --type says */
};

struct arch_weight {
    enum tensor_role role;
    const char *name; /* in a Hugging Face checkpoint */
    enum arch_dim rows, cols;
    uint32_t flags;
};

/* Names of the three matrices of an expert, or of a dense layer's feed-forward: % is the layer, #
 * the expert. gate and up are [ffn, hidden], down is [hidden, ffn]. */
struct arch_ffn_names {
    const char *gate, *up, *down;
};

struct arch {
    const char *name;        /* in the metadata of a .moxie file: "architecture" */
    const char *config_name; /* architectures[0] of config.json */
    const struct arch_weight *weights;
    uint32_t n_weights;
    struct arch_ffn_names expert; /* NULL names: the family has no experts */
    struct arch_ffn_names dense;
    /* Tensor names a checkpoint may carry that we have no use for (prefixes, NULL-terminated). */
    const char *const *ignored;
    uint32_t activation;   /* ACTIVATION_* of shaders/op_args.h */
    uint32_t router_score; /* ROUTER_* */
    bool qk_norm;          /* RMSNorm of every head of q and k before RoPE */
};

/* By the name in a .moxie file, or by architectures[0] of config.json; NULL if unknown. */
const struct arch *arch_find(const char *name, uint64_t bytes);
const struct arch *arch_find_config(const char *config_name);
/* "Qwen3MoeForCausalLM, Qwen3ForCausalLM, ...", cut to fit, for messages. */
void arch_config_names(char *names, uint32_t names_bytes);

/* Writes the name with % and # replaced. False if it does not fit. */
bool arch_tensor_name(char *name, uint32_t name_bytes, const char *pattern, uint32_t layer,
                      uint32_t expert);
