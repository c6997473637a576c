/* Llama 2 and 3 (and models of the same shape): grouped queries, RoPE on half-split pairs (as
 * Hugging Face stores q and k), llama3 frequency scaling from 3.1 on, one feed-forward network a
 * layer. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS(PART_PAIRS),
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_llama = {
    .name = "llama",
    .config_name = "LlamaForCausalLM",
    .gguf_name = "llama",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .hf_ffn[FFN_DENSE] = ARCH_HF_DENSE,
    .gguf_ffn[FFN_DENSE] = ARCH_GGUF_DENSE,
    .ignored = ignored,
    .activation = ACTIVATION_SILU,
};
