/* gpt-oss (20b, 120b): biases everywhere, attention sinks, every second layer with a sliding
 * window, YaRN without rounding; router: top-k of the logits, softmax over those; clamped SwiGLU.
 */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_MODEL_WEIGHTS,
    ARCH_GROUPED_WEIGHTS(PART_WHOLE),
    ARCH_FFN_NORM_WEIGHT("post_attention_norm.weight|blk.%.ffn_norm.weight"),
    ARCH_QKV_BIAS_WEIGHTS,
    ARCH_IN_LAYER(ROLE_ATTENTION_OUTPUT_BIAS, "self_attn.o_proj.bias", "attn_output.bias", DIM_ONE,
                  DIM_HIDDEN, WEIGHT_KEEP_F32),
    ARCH_IN_LAYER(ROLE_ATTENTION_SINKS, "self_attn.sinks", "attn_sinks.weight", DIM_ONE, DIM_HEADS,
                  WEIGHT_KEEP_F32),
    ARCH_ROUTER_WEIGHT("mlp.router.weight"),
    ARCH_IN_LAYER(ROLE_ROUTER_BIAS, "mlp.router.bias", "ffn_gate_inp.bias", DIM_ONE, DIM_EXPERTS,
                  WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32),
    {ROLE_EXPERT_GATE_BIAS,
     DIM_EXPERTS,
     DIM_EXPERT_FFN,
     WEIGHT_PER_LAYER | WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32,
     {"model.layers.%.mlp.experts.gate_up_proj_bias", PART_EVEN_COLUMNS},
     {{"blk.%.ffn_gate_exps.bias", PART_WHOLE}}},
    {ROLE_EXPERT_UP_BIAS,
     DIM_EXPERTS,
     DIM_EXPERT_FFN,
     WEIGHT_PER_LAYER | WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32,
     {"model.layers.%.mlp.experts.gate_up_proj_bias", PART_ODD_COLUMNS},
     {{"blk.%.ffn_up_exps.bias", PART_WHOLE}}},
    ARCH_IN_LAYER(ROLE_EXPERT_DOWN_BIAS, "mlp.experts.down_proj_bias", "ffn_down_exps.bias",
                  DIM_EXPERTS, DIM_HIDDEN, WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

static const struct arch_expectation expectations[] = {{"attention_bias", EXPECT_TRUE}, {NULL, 0}};

const struct arch arch_gptoss = {
    .name = "gpt-oss",
    .config_name = "GptOssForCausalLM",
    .gguf_name = "gpt-oss",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_ROUTED] = {{FFN_FUSED_PAIRS, "model.layers.%.mlp.experts.gate_up_proj", NULL,
                            "model.layers.%.mlp.experts.down_proj"}},
    .gguf_ffn[FFN_ROUTED] = ARCH_GGUF_EXPERTS,
    .ignored = ignored,
    .expectations = expectations,
    .activation = ACTIVATION_SWIGLU_CLAMPED,
    .defaults = {.router_normalise = true,
                 .gguf_router_normalise = true,
                 .router_score = ROUTER_SOFTMAX,
                 .ffn_is_expert_ffn = true,
                 .windows = WINDOWS_EVEN,
                 .rope_theta = 150000,
                 .gguf_rope_not_truncated = true},
};
