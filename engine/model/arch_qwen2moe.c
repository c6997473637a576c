/* Qwen1.5-MoE and Qwen2-MoE (A2.7B, 57B-A14B): biases on q, k and v; router: softmax over all
 * experts, top-k, not renormalised; beside the chosen experts a shared one, weighted by a sigmoid
 * gate of its own. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_WHOLE),
    ARCH_QKV_BIAS_WEIGHTS,
    ARCH_ROUTER_WEIGHT("mlp.gate.weight"),
    ARCH_IN_LAYER(ROLE_SHARED_ROUTER, "mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight",
                  DIM_ONE, DIM_SHARED_HIDDEN, WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

static const struct arch_expectation expectations[] = {{"qkv_bias", EXPECT_TRUE}, {NULL, 0}};

const struct arch arch_qwen2moe = {
    .name = "qwen2moe",
    .config_name = "Qwen2MoeForCausalLM",
    .gguf_name = "qwen2moe",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_ROUTED] = ARCH_HF_EXPERTS,
    .gguf_ffn[FFN_ROUTED] = ARCH_GGUF_EXPERTS,
    .hf_ffn[FFN_DENSE] = ARCH_HF_DENSE,
    .gguf_ffn[FFN_DENSE] = ARCH_GGUF_DENSE,
    .hf_ffn[FFN_SHARED] = {{FFN_SEPARATE, "model.layers.%.mlp.shared_expert.gate_proj.weight",
                            "model.layers.%.mlp.shared_expert.up_proj.weight",
                            "model.layers.%.mlp.shared_expert.down_proj.weight"}},
    .gguf_ffn[FFN_SHARED] = ARCH_GGUF_SHARED,
    .ignored = ignored,
    .expectations = expectations,
    .activation = ACTIVATION_SILU,
    .defaults = {.router_score = ROUTER_SOFTMAX},
};
