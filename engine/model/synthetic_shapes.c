#include "engine/model/synthetic_shapes.h"

#include <stddef.h>
#include <string.h>

/* clang-format off */
#define QWEN3_MOE "\"architectures\":[\"Qwen3MoeForCausalLM\"],\"rms_norm_eps\":1e-6,\"norm_topk_prob\":true,\"decoder_sparse_step\":1,"
#define GPT_OSS \
    "\"architectures\":[\"GptOssForCausalLM\"],\"hidden_size\":2880,\"intermediate_size\":2880,\"num_attention_heads\":64," \
    "\"num_key_value_heads\":8,\"head_dim\":64,\"num_experts_per_tok\":4,\"vocab_size\":201088,\"attention_bias\":true," \
    "\"max_position_embeddings\":131072,\"rope_theta\":150000,\"rms_norm_eps\":1e-5,\"swiglu_limit\":7.0,\"sliding_window\":128," \
    "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":32.0,\"beta_fast\":32.0,\"beta_slow\":1.0,\"truncate\":false," \
    "\"original_max_position_embeddings\":4096},"
#define QWEN2_MOE "\"architectures\":[\"Qwen2MoeForCausalLM\"],\"rms_norm_eps\":1e-6,\"rope_theta\":1e6,\"norm_topk_prob\":false,\"vocab_size\":151936,"

static const struct synthetic_shape shapes[] = {
    {"qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B",
     "{" QWEN3_MOE "\"num_hidden_layers\":48,\"hidden_size\":2048,\"intermediate_size\":6144,\"moe_intermediate_size\":768,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":4,\"head_dim\":128,\"num_experts\":128,\"num_experts_per_tok\":8,"
     "\"vocab_size\":151936,\"max_position_embeddings\":40960,\"rope_theta\":1e6}", 0.4},
    {"gpt-oss-20b", "openai/gpt-oss-20b", "{" GPT_OSS "\"num_hidden_layers\":24,\"num_local_experts\":32}", 0.5},
    {"gpt-oss-120b", "openai/gpt-oss-120b", "{" GPT_OSS "\"num_hidden_layers\":36,\"num_local_experts\":128}", 0.5},
    {"mixtral-8x7b", "mistralai/Mixtral-8x7B-v0.1",
     "{\"architectures\":[\"MixtralForCausalLM\"],\"num_hidden_layers\":32,\"hidden_size\":4096,\"intermediate_size\":14336,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"num_local_experts\":8,\"num_experts_per_tok\":2,\"vocab_size\":32000,"
     "\"max_position_embeddings\":32768,\"rope_theta\":1e6,\"rms_norm_eps\":1e-5,\"sliding_window\":null}", 0.15},
    {"deepseek-v2-lite", "deepseek-ai/DeepSeek-V2-Lite",
     "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"num_hidden_layers\":27,\"hidden_size\":2048,\"intermediate_size\":10944,"
     "\"moe_intermediate_size\":1408,\"num_attention_heads\":16,\"num_key_value_heads\":16,\"n_routed_experts\":64,"
     "\"n_shared_experts\":2,\"num_experts_per_tok\":6,\"first_k_dense_replace\":1,\"moe_layer_freq\":1,\"norm_topk_prob\":false,"
     "\"routed_scaling_factor\":1.0,\"scoring_func\":\"softmax\",\"topk_method\":\"greedy\",\"n_group\":1,\"topk_group\":1,"
     "\"q_lora_rank\":null,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,\"qk_rope_head_dim\":64,\"v_head_dim\":128,"
     "\"vocab_size\":102400,\"max_position_embeddings\":163840,\"rope_theta\":10000,\"rms_norm_eps\":1e-6,"
     "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"beta_fast\":32,\"beta_slow\":1,\"mscale\":0.707,\"mscale_all_dim\":0.707,"
     "\"original_max_position_embeddings\":4096}}", 0.4},
    {"olmoe-1b-7b", "allenai/OLMoE-1B-7B-0924",
     "{\"architectures\":[\"OlmoeForCausalLM\"],\"num_hidden_layers\":16,\"hidden_size\":2048,\"intermediate_size\":1024,"
     "\"num_attention_heads\":16,\"num_key_value_heads\":16,\"num_experts\":64,\"num_experts_per_tok\":8,\"norm_topk_prob\":false,"
     "\"vocab_size\":50304,\"max_position_embeddings\":4096,\"rope_theta\":10000,\"rms_norm_eps\":1e-5}", 0.2},
    {"qwen2-57b-a14b", "Qwen/Qwen2-57B-A14B",
     "{" QWEN2_MOE "\"num_hidden_layers\":28,\"hidden_size\":3584,\"intermediate_size\":18944,\"moe_intermediate_size\":2560,"
     "\"shared_expert_intermediate_size\":20480,\"num_attention_heads\":28,\"num_key_value_heads\":4,\"num_experts\":64,"
     "\"num_experts_per_tok\":8,\"max_position_embeddings\":131072}", 0.4},
    {"qwen1.5-moe-a2.7b", "Qwen/Qwen1.5-MoE-A2.7B",
     "{" QWEN2_MOE "\"num_hidden_layers\":24,\"hidden_size\":2048,\"intermediate_size\":5632,\"moe_intermediate_size\":1408,"
     "\"shared_expert_intermediate_size\":5632,\"num_attention_heads\":16,\"num_key_value_heads\":16,\"num_experts\":60,"
     "\"num_experts_per_tok\":4,\"max_position_embeddings\":8192}", 0.4},
    {"tiny-qwen3-moe", "",
     "{" QWEN3_MOE "\"num_hidden_layers\":3,\"hidden_size\":512,\"intermediate_size\":256,\"moe_intermediate_size\":128,"
     "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":64,\"num_experts\":16,\"num_experts_per_tok\":4,"
     "\"vocab_size\":1024,\"max_position_embeddings\":1024,\"rope_theta\":1e6}", 0.4},
    {"tiny-gpt-oss", "",
     "{\"architectures\":[\"GptOssForCausalLM\"],\"num_hidden_layers\":3,\"hidden_size\":480,\"intermediate_size\":96,"
     "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":32,\"num_local_experts\":8,\"num_experts_per_tok\":2,"
     "\"vocab_size\":1024,\"max_position_embeddings\":4096,\"attention_bias\":true,\"rope_theta\":150000,\"rms_norm_eps\":1e-5,"
     "\"swiglu_limit\":7.0,\"sliding_window\":16,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":8.0,\"beta_fast\":32.0,"
     "\"beta_slow\":1.0,\"truncate\":false,\"original_max_position_embeddings\":512}}", 0.5},
    {"tiny-mixtral", "",
     "{\"architectures\":[\"MixtralForCausalLM\"],\"num_hidden_layers\":2,\"hidden_size\":512,\"intermediate_size\":256,"
     "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_local_experts\":8,\"num_experts_per_tok\":2,\"vocab_size\":1024,"
     "\"max_position_embeddings\":1024,\"rope_theta\":1e6,\"rms_norm_eps\":1e-5,\"sliding_window\":null}", 0.15},
    {"tiny-deepseek-v2", "",
     "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"num_hidden_layers\":3,\"hidden_size\":512,\"intermediate_size\":512,"
     "\"moe_intermediate_size\":128,\"num_attention_heads\":4,\"num_key_value_heads\":4,\"n_routed_experts\":8,"
     "\"n_shared_experts\":2,\"num_experts_per_tok\":2,\"first_k_dense_replace\":1,\"moe_layer_freq\":1,\"norm_topk_prob\":false,"
     "\"routed_scaling_factor\":1.0,\"scoring_func\":\"softmax\",\"topk_method\":\"greedy\",\"n_group\":1,\"topk_group\":1,"
     "\"q_lora_rank\":null,\"kv_lora_rank\":128,\"qk_nope_head_dim\":32,\"qk_rope_head_dim\":32,\"v_head_dim\":32,"
     "\"vocab_size\":1024,\"max_position_embeddings\":1024,\"rope_theta\":10000,\"rms_norm_eps\":1e-6}", 0.4},
    {"tiny-olmoe", "",
     "{\"architectures\":[\"OlmoeForCausalLM\"],\"num_hidden_layers\":2,\"hidden_size\":512,\"intermediate_size\":128,"
     "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"num_experts\":16,\"num_experts_per_tok\":4,\"norm_topk_prob\":false,"
     "\"vocab_size\":1024,\"max_position_embeddings\":1024,\"rope_theta\":10000,\"rms_norm_eps\":1e-5}", 0.2},
    {"tiny-qwen2-moe", "",
     "{\"architectures\":[\"Qwen2MoeForCausalLM\"],\"rms_norm_eps\":1e-6,\"rope_theta\":1e6,\"norm_topk_prob\":false,"
     "\"num_hidden_layers\":2,\"hidden_size\":512,\"intermediate_size\":256,\"moe_intermediate_size\":128,"
     "\"shared_expert_intermediate_size\":256,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_experts\":16,"
     "\"num_experts_per_tok\":4,\"vocab_size\":1024,\"max_position_embeddings\":1024}", 0.4},
};
/* clang-format on */

uint32_t synthetic_shape_count(void)
{
    return sizeof(shapes) / sizeof(shapes[0]);
}

const struct synthetic_shape *synthetic_shape_at(uint32_t index)
{
    return index < synthetic_shape_count() ? &shapes[index] : NULL;
}

const struct synthetic_shape *synthetic_shape_find(const char *name)
{
    for (uint32_t i = 0; i < synthetic_shape_count(); i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            return &shapes[i];
        }
    }
    return NULL;
}
