/* Qwen3-MoE (Qwen3-30B-A3B, -235B-A22B, Coder): grouped queries, per-head norm of q and k, RoPE on
 * half-split pairs; router: softmax over all experts, top-k, renormalised if norm_topk_prob (GGUF
 * has no key for it: always). */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_WHOLE),
    ARCH_QK_NORM_WEIGHTS(DIM_HEAD, DIM_HEAD),
    ARCH_ROUTER_WEIGHT("mlp.gate.weight"),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_qwen3moe = {
    .name = "qwen3moe",
    .config_name = "Qwen3MoeForCausalLM",
    .gguf_name = "qwen3moe",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_ROUTED] = ARCH_HF_EXPERTS,
    .gguf_ffn[FFN_ROUTED] = ARCH_GGUF_EXPERTS,
    .hf_ffn[FFN_DENSE] = ARCH_HF_DENSE,
    .gguf_ffn[FFN_DENSE] = ARCH_GGUF_DENSE,
    .ignored = ignored,
    .qk_norm = QK_NORM_HEAD,
    .activation = ACTIVATION_SILU,
    .defaults = {.gguf_router_normalise = true, .router_score = ROUTER_SOFTMAX},
};
