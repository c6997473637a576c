/* DeepSeek-V2 (Lite, Coder) and V3 (R1, V3.1, Kimi-K2, Moonlight): latent attention in absorbed
 * form, first layers dense, shared experts. V2 scores by softmax and takes groups by their best
 * expert; V3 by sigmoid, with a correction for the selection, and groups by their two best. GGUF
 * calls both deepseek2. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

/* Tensors that attention reads in parts, the same ones in both containers. */
#define LATENT_PART(role, rows, cols, part, hf_name, gguf_name) \
    { \
        role, rows, cols, WEIGHT_PER_LAYER, {"model.layers.%.self_attn." hf_name, part}, \
        { \
            { \
                "blk.%." gguf_name, part \
            } \
        } \
    }
#define Q_PART(role, rows, part) \
    LATENT_PART(role, rows, DIM_Q_INPUT, part, \
                "q_b_proj.weight|model.layers.%.self_attn.q_proj.weight", \
                "attn_q_b.weight|blk.%.attn_q.weight")
#define KV_PART(role, rows, part) \
    LATENT_PART(role, rows, DIM_HIDDEN, part, "kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight")

#define DEEPSEEK_WEIGHTS \
    ARCH_MODEL_WEIGHTS, ARCH_FFN_NORM_WEIGHT("ffn_norm.weight"), \
        ARCH_IN_LAYER(ROLE_LATENT_Q_A, "self_attn.q_a_proj.weight", "attn_q_a.weight", DIM_Q_RANK, \
                      DIM_HIDDEN, 0), \
        ARCH_IN_LAYER(ROLE_LATENT_Q_A_NORM, "self_attn.q_a_layernorm.weight", \
                      "attn_q_a_norm.weight", DIM_ONE, DIM_Q_RANK, WEIGHT_KEEP_F32), \
        Q_PART(ROLE_LATENT_Q_NOPE, DIM_HEADS_NOPE, PART_HEAD_NOPE), \
        Q_PART(ROLE_LATENT_Q_ROPE, DIM_HEADS_ROPE, PART_HEAD_ROPE), \
        KV_PART(ROLE_LATENT_KV_A, DIM_KV_RANK, PART_LATENT), \
        ARCH_IN_LAYER(ROLE_LATENT_KV_A_NORM, "self_attn.kv_a_layernorm.weight", \
                      "attn_kv_a_norm.weight", DIM_ONE, DIM_KV_RANK, WEIGHT_KEEP_F32), \
        KV_PART(ROLE_LATENT_K_ROPE, DIM_ROPE, PART_LATENT_ROPE), \
        {ROLE_LATENT_K_B, \
         DIM_HEADS_KV_RANK, \
         DIM_NOPE, \
         WEIGHT_PER_LAYER, \
         {"model.layers.%.self_attn.kv_b_proj.weight", PART_HEAD_KEYS}, \
         {{"blk.%.attn_k_b.weight", PART_WHOLE}, {"blk.%.attn_kv_b.weight", PART_HEAD_KEYS}}}, \
        {ROLE_LATENT_V_B, \
         DIM_HEADS_VALUE, \
         DIM_KV_RANK, \
         WEIGHT_PER_LAYER, \
         {"model.layers.%.self_attn.kv_b_proj.weight", PART_HEAD_VALUES}, \
         {{"blk.%.attn_v_b.weight", PART_WHOLE}, {"blk.%.attn_kv_b.weight", PART_HEAD_VALUES}}}, \
        ARCH_IN_LAYER(ROLE_ATTENTION_OUTPUT, "self_attn.o_proj.weight", "attn_output.weight", \
                      DIM_HIDDEN, DIM_HEADS_VALUE, 0), \
        ARCH_ROUTER_WEIGHT("mlp.gate.weight")

#define DEEPSEEK_CORRECTION(hf_name, flags) \
    { \
        ROLE_ROUTER_CORRECTION, DIM_ONE, DIM_EXPERTS, \
            WEIGHT_PER_LAYER | WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32 | (flags), \
            ARCH_NAMES(hf_name, "blk.%.exp_probs_b.bias") \
    }

static const struct arch_weight weights_v2[] = {
    DEEPSEEK_WEIGHTS,
    DEEPSEEK_CORRECTION(NULL, WEIGHT_OPTIONAL),
};
static const struct arch_weight weights_v3[] = {
    DEEPSEEK_WEIGHTS,
    DEEPSEEK_CORRECTION("model.layers.%.mlp.gate.e_score_correction_bias", 0),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

/* V2's own code and transformers disagree on what norm_topk_prob does; no release sets it. */
static const struct arch_expectation expectations_v2[] = {
    {"norm_topk_prob", EXPECT_FALSE}, {"moe_layer_freq", EXPECT_ONE}, {NULL, 0}};
static const struct arch_expectation expectations_v3[] = {
    {"rope_interleave", EXPECT_TRUE}, {"moe_layer_freq", EXPECT_ONE}, {NULL, 0}};

#define DEEPSEEK_FIELDS \
    .hf_ffn[FFN_ROUTED] = ARCH_HF_EXPERTS, .hf_ffn[FFN_DENSE] = ARCH_HF_DENSE, \
    .hf_ffn[FFN_SHARED] = {{FFN_SEPARATE, "model.layers.%.mlp.shared_experts.gate_proj.weight", \
                            "model.layers.%.mlp.shared_experts.up_proj.weight", \
                            "model.layers.%.mlp.shared_experts.down_proj.weight"}}, \
    .gguf_ffn[FFN_ROUTED] = ARCH_GGUF_EXPERTS, .gguf_ffn[FFN_DENSE] = ARCH_GGUF_DENSE, \
    .gguf_ffn[FFN_SHARED] = ARCH_GGUF_SHARED, .ignored = ignored, .surplus_layers = true, \
    .attention = ATTENTION_LATENT, .activation = ACTIVATION_SILU

const struct arch arch_deepseek2 = {
    .name = "deepseek2",
    .config_name = "DeepseekV2ForCausalLM",
    .gguf_name = "deepseek2",
    .weights = weights_v2,
    .n_weights = sizeof(weights_v2) / sizeof(weights_v2[0]),
    .expectations = expectations_v2,
    .defaults = {.router_score = ROUTER_SOFTMAX},
    DEEPSEEK_FIELDS,
};

const struct arch arch_deepseek3 = {
    .name = "deepseek3",
    .config_name = "DeepseekV3ForCausalLM",
    .gguf_name = "deepseek2",
    .weights = weights_v3,
    .n_weights = sizeof(weights_v3) / sizeof(weights_v3[0]),
    .expectations = expectations_v3,
    .defaults = {.router_normalise = true,
                 .gguf_router_normalise = true,
                 .router_score = ROUTER_SIGMOID},
    DEEPSEEK_FIELDS,
};
