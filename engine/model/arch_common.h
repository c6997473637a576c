/* Rows that the families of the Llama line share (names of Hugging Face checkpoints). */
#pragma once

#include "engine/model/arch.h"

#define ARCH_LLAMA_WEIGHTS \
    {ROLE_TOKEN_EMBEDDING, "model.embed_tokens.weight", DIM_VOCABULARY, DIM_HIDDEN, 0}, \
        {ROLE_OUTPUT_NORM, "model.norm.weight", DIM_ONE, DIM_HIDDEN, WEIGHT_KEEP_F32}, \
        {ROLE_OUTPUT, "lm_head.weight", DIM_VOCABULARY, DIM_HIDDEN, WEIGHT_OPTIONAL}, \
        {ROLE_ATTENTION_NORM, "model.layers.%.input_layernorm.weight", DIM_ONE, DIM_HIDDEN, \
         WEIGHT_PER_LAYER | WEIGHT_KEEP_F32}, \
        {ROLE_ATTENTION_Q, "model.layers.%.self_attn.q_proj.weight", DIM_Q, DIM_HIDDEN, \
         WEIGHT_PER_LAYER}, \
        {ROLE_ATTENTION_K, "model.layers.%.self_attn.k_proj.weight", DIM_KV, DIM_HIDDEN, \
         WEIGHT_PER_LAYER}, \
        {ROLE_ATTENTION_V, "model.layers.%.self_attn.v_proj.weight", DIM_KV, DIM_HIDDEN, \
         WEIGHT_PER_LAYER}, \
        {ROLE_ATTENTION_OUTPUT, "model.layers.%.self_attn.o_proj.weight", DIM_HIDDEN, DIM_Q, \
         WEIGHT_PER_LAYER}, \
    { \
        ROLE_FFN_NORM, "model.layers.%.post_attention_layernorm.weight", DIM_ONE, DIM_HIDDEN, \
            WEIGHT_PER_LAYER | WEIGHT_KEEP_F32 \
    }

#define ARCH_QK_NORM_WEIGHTS \
    {ROLE_ATTENTION_Q_NORM, "model.layers.%.self_attn.q_norm.weight", DIM_ONE, DIM_HEAD, \
     WEIGHT_PER_LAYER | WEIGHT_KEEP_F32}, \
    { \
        ROLE_ATTENTION_K_NORM, "model.layers.%.self_attn.k_norm.weight", DIM_ONE, DIM_HEAD, \
            WEIGHT_PER_LAYER | WEIGHT_KEEP_F32 \
    }

#define ARCH_LLAMA_DENSE_NAMES \
    { \
        "model.layers.%.mlp.gate_proj.weight", "model.layers.%.mlp.up_proj.weight", \
            "model.layers.%.mlp.down_proj.weight" \
    }

/* Buffers of old checkpoints that can be computed. */
#define ARCH_LLAMA_IGNORED \
    { \
        "model.layers.%.self_attn.rotary_emb.inv_freq", NULL \
    }
