/* What a stored tensor is for. The numbers are part of the file format: never reuse one.
 *
 * X(NAME, number, "name"). Shapes are [rows, cols] as PyTorch writes them.
 */
#pragma once

#include <stdint.h>

#define TENSOR_ROLES(X) \
    X(TOKEN_EMBEDDING, 1, "token_embedding")    /* [vocabulary, hidden]; also the head if tied */ \
    X(OUTPUT_NORM, 2, "output_norm")            /* [1, hidden] */ \
    X(OUTPUT, 3, "output")                      /* [vocabulary, hidden]; absent if tied */ \
    X(ATTENTION_NORM, 16, "attention_norm")     /* [1, hidden] */ \
    X(ATTENTION_Q, 17, "attention_q")           /* [heads * head_dim, hidden] */ \
    X(ATTENTION_K, 18, "attention_k")           /* [kv_heads * head_dim, hidden] */ \
    X(ATTENTION_V, 19, "attention_v")           /* [kv_heads * head_dim, hidden] */ \
    X(ATTENTION_OUTPUT, 20, "attention_output") /* [hidden, heads * head_dim] */ \
    X(ATTENTION_Q_NORM, 21, "attention_q_norm") /* [1, head_dim] */ \
    X(ATTENTION_K_NORM, 22, "attention_k_norm") /* [1, head_dim] */ \
    X(FFN_NORM, 32, "ffn_norm")                 /* [1, hidden] */ \
    X(ROUTER, 33, "router")                     /* [experts, hidden], always f32 */ \
    X(EXPERT, 48, "expert")                     /* one slab: gate/up interleaved, then down */

enum tensor_role {
#define X(NAME, number, name) ROLE_##NAME = number,
    TENSOR_ROLES(X)
#undef X
};

/* The name of a role, or NULL if this program does not know the number. */
const char *role_name(uint32_t role);
