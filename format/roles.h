/* What a stored tensor is for. The numbers are part of the file format: never reuse one.
 *
 * X(NAME, number, "name"). Shapes are [rows, cols] as PyTorch writes them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TENSOR_ROLES(X) \
    X(TOKEN_EMBEDDING, 1, "token_embedding") /* [vocabulary, hidden]; also the head if tied */ \
    X(OUTPUT_NORM, 2, "output_norm")         /* [1, hidden] */ \
    X(OUTPUT, 3, "output")                   /* [vocabulary, hidden]; absent if tied */ \
    X(ROPE_DIVISORS, 4, \
      "rope_divisors") /* [1, rotated / 2] f32, of RoPE's frequencies; optional */ \
    X(ATTENTION_NORM, 16, "attention_norm")     /* [1, hidden] */ \
    X(ATTENTION_Q, 17, "attention_q")           /* [heads * head_dim, hidden] */ \
    X(ATTENTION_K, 18, "attention_k")           /* [kv_heads * head_dim, hidden] */ \
    X(ATTENTION_V, 19, "attention_v")           /* [kv_heads * head_dim, hidden] */ \
    X(ATTENTION_OUTPUT, 20, "attention_output") /* [hidden, heads * head_dim] */ \
    X(ATTENTION_Q_NORM, 21, "attention_q_norm") /* [1, head_dim], or [1, heads * head_dim] */ \
    X(ATTENTION_K_NORM, 22, "attention_k_norm") /* [1, head_dim], or [1, kv_heads * head_dim] */ \
    X(ATTENTION_Q_BIAS, 23, "attention_q_bias") /* [1, heads * head_dim] f32 */ \
    X(ATTENTION_K_BIAS, 24, "attention_k_bias") /* [1, kv_heads * head_dim] f32 */ \
    X(ATTENTION_V_BIAS, 25, "attention_v_bias") /* [1, kv_heads * head_dim] f32 */ \
    X(ATTENTION_OUTPUT_BIAS, 26, "attention_output_bias") /* [1, hidden] f32 */ \
    X(ATTENTION_SINKS, 27, "attention_sinks") /* [1, heads] f32: one more logit a head */ \
    X(FFN_NORM, 32, "ffn_norm")               /* [1, hidden] */ \
    X(ROUTER, 33, "router")                   /* [experts, hidden], always f32 */ \
    X(ROUTER_BIAS, 34, "router_bias")         /* [1, experts] f32, added to the logits */ \
    X(ROUTER_CORRECTION, 35, \
      "router_correction") /* [1, experts] f32, added to the scores for selection only */ \
    X(SHARED_ROUTER, 36, "shared_router") /* [1, hidden] f32: sigmoid gate of the shared expert */ \
    X(EXPERT_GATE_BIAS, 37, "expert_gate_bias") /* [experts, ffn] f32 */ \
    X(EXPERT_UP_BIAS, 38, "expert_up_bias")     /* [experts, ffn] f32 */ \
    X(EXPERT_DOWN_BIAS, 39, "expert_down_bias") /* [experts, hidden] f32 */ \
    X(EXPERT, 48, "expert")                     /* one slab: gate/up interleaved, then down */ \
    /* A slab like an expert's: the expert every token takes beside the chosen ones. Expert number \
     * 0; outside the expert directory; found by role and layer. */ \
    X(SHARED_EXPERT, 49, "shared_expert") \
    /* Latent attention (DeepSeek-AI 2024), absorbed form; rows of rotary parts are half-split \
     * pairs. */ \
    X(LATENT_Q_A, 64, "latent_q_a")             /* [q_rank, hidden]; absent without q_lora_rank */ \
    X(LATENT_Q_A_NORM, 65, "latent_q_a_norm")   /* [1, q_rank] */ \
    X(LATENT_Q_NOPE, 66, "latent_q_nope")       /* [heads * nope_dim, q_rank or hidden] */ \
    X(LATENT_Q_ROPE, 67, "latent_q_rope")       /* [heads * rope_dim, q_rank or hidden] */ \
    X(LATENT_KV_A, 68, "latent_kv_a")           /* [kv_rank, hidden] */ \
    X(LATENT_KV_A_NORM, 69, "latent_kv_a_norm") /* [1, kv_rank] */ \
    X(LATENT_K_ROPE, 70, "latent_k_rope")       /* [rope_dim, hidden] */ \
    X(LATENT_K_B, 71, "latent_k_b") /* [heads * kv_rank, nope_dim]: each head's W_UK transposed */ \
    X(LATENT_V_B, 72, "latent_v_b") /* [heads * value_dim, kv_rank] */

enum tensor_role {
#define X(NAME, number, name) ROLE_##NAME = number,
    TENSOR_ROLES(X)
#undef X
};

/* Whether tensors of this role are slabs: gate/up and down of one expert in one piece. */
static inline bool role_is_slab(uint32_t role)
{
    return role == ROLE_EXPERT || role == ROLE_SHARED_EXPERT;
}

/* The name of a role, or NULL if this program does not know the number. */
const char *role_name(uint32_t role);
