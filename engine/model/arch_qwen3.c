/* Qwen3, dense (0.6B to 32B): Qwen3-MoE's attention, one feed-forward network a layer. */
#include "engine/model/arch_common.h"
#include "engine/model/arch_list.h"

static const struct arch_weight weights[] = {
    ARCH_LLAMA_WEIGHTS,
    ARCH_QK_NORM_WEIGHTS,
};

static const char *const ignored[] = ARCH_LLAMA_IGNORED;

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .config_name = "Qwen3ForCausalLM",
    .weights = weights,
    .n_weights = sizeof(weights) / sizeof(weights[0]),
    .dense = ARCH_LLAMA_DENSE_NAMES,
    .ignored = ignored,
    .activation = ACTIVATION_SILU,
    .qk_norm = true,
};
