/* Qwen3, dense (0.6B to 32B): Qwen3-MoE's attention, one feed-forward network a layer. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_WHOLE),
    ARCH_QK_NORM_WEIGHTS(DIM_HEAD, DIM_HEAD),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .config_name = "Qwen3ForCausalLM",
    .gguf_name = "qwen3",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_DENSE] = ARCH_HF_DENSE,
    .gguf_ffn[FFN_DENSE] = ARCH_GGUF_DENSE,
    .ignored = ignored,
    .qk_norm = QK_NORM_HEAD,
    .activation = ACTIVATION_SILU,
};
