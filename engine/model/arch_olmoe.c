/* OLMoE (1B-7B): RMSNorm over the whole of q and of k before they are split into heads; router:
 * softmax over all experts, top-k, not renormalised. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_WHOLE),
    ARCH_QK_NORM_WEIGHTS(DIM_Q, DIM_KV),
    ARCH_ROUTER_WEIGHT("mlp.gate.weight"),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_olmoe = {
    .name = "olmoe",
    .config_name = "OlmoeForCausalLM",
    .gguf_name = "olmoe",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_ROUTED] = ARCH_HF_EXPERTS,
    .gguf_ffn[FFN_ROUTED] = ARCH_GGUF_EXPERTS,
    .ignored = ignored,
    .qk_norm = QK_NORM_FULL,
    .activation = ACTIVATION_SILU,
    .defaults = {.router_score = ROUTER_SOFTMAX, .ffn_is_expert_ffn = true},
};
