/* Qwen2 and 2.5, dense: Llama with biases on q, k and v. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_WHOLE),
    ARCH_QKV_BIAS_WEIGHTS,
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .config_name = "Qwen2ForCausalLM",
    .gguf_name = "qwen2",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_DENSE] = ARCH_HF_DENSE,
    .gguf_ffn[FFN_DENSE] = ARCH_GGUF_DENSE,
    .ignored = ignored,
    .activation = ACTIVATION_SILU,
};
