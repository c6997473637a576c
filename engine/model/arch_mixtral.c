/* Mixtral (8x7B, 8x22B; Jiang et al. 2024): Llama's attention; router: the k largest logits, then
 * softmax over those, which is softmax over all, top-k, renormalised. In GGUF it is a "llama" with
 * experts. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_PAIRS),
    ARCH_ROUTER_WEIGHT("block_sparse_moe.gate.weight|model.layers.%.mlp.gate.weight"),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_mixtral = {
    .name = "mixtral",
    .config_name = "MixtralForCausalLM",
    .gguf_name = "llama",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_ROUTED] = {{FFN_SEPARATE, "model.layers.%.block_sparse_moe.experts.#.w1.weight",
                            "model.layers.%.block_sparse_moe.experts.#.w3.weight",
                            "model.layers.%.block_sparse_moe.experts.#.w2.weight"},
                           {FFN_FUSED, "model.layers.%.mlp.experts.gate_up_proj", NULL,
                            "model.layers.%.mlp.experts.down_proj"}},
    .gguf_ffn[FFN_ROUTED] = ARCH_GGUF_EXPERTS,
    .ignored = ignored,
    .activation = ACTIVATION_SILU,
    .defaults = {.router_normalise = true,
                 .gguf_router_normalise = true,
                 .router_score = ROUTER_SOFTMAX,
                 .ffn_is_expert_ffn = true,
                 .windows = WINDOWS_ALL,
                 .rope_theta = 1e6},
};
