/* Qwen3-MoE (Qwen3-30B-A3B, -235B-A22B, Coder): grouped queries, per-head norm of q and k, RoPE on
 * half-split pairs; router: softmax over all experts, top-k, renormalised if norm_topk_prob. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS,
    ARCH_QK_NORM_WEIGHTS,
    {ROLE_ROUTER, "model.layers.%.mlp.gate.weight", DIM_EXPERTS, DIM_HIDDEN,
     WEIGHT_PER_LAYER | WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32},
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_qwen3moe = {
    .name = "qwen3moe",
    .config_name = "Qwen3MoeForCausalLM",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .expert = {"model.layers.%.mlp.experts.#.gate_proj.weight",
               "model.layers.%.mlp.experts.#.up_proj.weight",
               "model.layers.%.mlp.experts.#.down_proj.weight"},
    .dense = ARCH_LLAMA_DENSE_NAMES,
    .ignored = ignored,
    .activation = ACTIVATION_SILU,
    .router_score = ROUTER_SOFTMAX,
    .qk_norm = true,
};
