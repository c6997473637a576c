/* Rows that families share: the Llama line's names in Hugging Face checkpoints, and GGUF's. */
#pragma once

#include "engine/model/arch.h"

/* Names without an own layout in either container. */
#define ARCH_NAMES(hf_name, gguf_name) \
    {hf_name, PART_WHOLE}, \
    { \
        { \
            gguf_name, PART_WHOLE \
        } \
    }

#define ARCH_IN_LAYER(role, hf_name, gguf_name, rows, cols, flags) \
    { \
        role, rows, cols, WEIGHT_PER_LAYER | (flags), \
            ARCH_NAMES("model.layers.%." hf_name, "blk.%." gguf_name) \
    }

#define ARCH_MODEL_WEIGHTS \
    {ROLE_TOKEN_EMBEDDING, DIM_VOCABULARY, DIM_HIDDEN, 0, \
     ARCH_NAMES("model.embed_tokens.weight", "token_embd.weight")}, \
        {ROLE_OUTPUT_NORM, DIM_ONE, DIM_HIDDEN, WEIGHT_KEEP_F32, \
         ARCH_NAMES("model.norm.weight", "output_norm.weight")}, \
        {ROLE_OUTPUT, DIM_VOCABULARY, DIM_HIDDEN, WEIGHT_OPTIONAL, \
         ARCH_NAMES("lm_head.weight", "output.weight")}, \
        {ROLE_ROPE_DIVISORS, DIM_ONE, DIM_ROTATED_PAIRS, WEIGHT_OPTIONAL | WEIGHT_KEEP_F32, \
         ARCH_NAMES(NULL, "rope_freqs.weight")}, \
        ARCH_IN_LAYER(ROLE_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", DIM_ONE, \
                      DIM_HIDDEN, WEIGHT_KEEP_F32)

/* gguf_ffn_norm: GGUF has two names for the norm before the feed-forward network. */
#define ARCH_FFN_NORM_WEIGHT(gguf_ffn_norm) \
    ARCH_IN_LAYER(ROLE_FFN_NORM, "post_attention_layernorm.weight", gguf_ffn_norm, DIM_ONE, \
                  DIM_HIDDEN, WEIGHT_KEEP_F32)

/* gguf_part: PART_PAIRS where GGUF files interleave the pairs of q and k ("llama"), else
 * PART_WHOLE. */
#define ARCH_GROUPED_WEIGHTS(gguf_part) \
    {ROLE_ATTENTION_Q, \
     DIM_Q, \
     DIM_HIDDEN, \
     WEIGHT_PER_LAYER, \
     {"model.layers.%.self_attn.q_proj.weight", PART_WHOLE}, \
     {{"blk.%.attn_q.weight", gguf_part}}}, \
        {ROLE_ATTENTION_K, \
         DIM_KV, \
         DIM_HIDDEN, \
         WEIGHT_PER_LAYER, \
         {"model.layers.%.self_attn.k_proj.weight", PART_WHOLE}, \
         {{"blk.%.attn_k.weight", gguf_part}}}, \
        ARCH_IN_LAYER(ROLE_ATTENTION_V, "self_attn.v_proj.weight", "attn_v.weight", DIM_KV, \
                      DIM_HIDDEN, 0), \
        ARCH_IN_LAYER(ROLE_ATTENTION_OUTPUT, "self_attn.o_proj.weight", "attn_output.weight", \
                      DIM_HIDDEN, DIM_Q, 0)

#define ARCH_LLAMA_WEIGHTS(gguf_part) \
    ARCH_MODEL_WEIGHTS, ARCH_GROUPED_WEIGHTS(gguf_part), ARCH_FFN_NORM_WEIGHT("ffn_norm.weight")

#define ARCH_QKV_BIAS_WEIGHTS \
    ARCH_IN_LAYER(ROLE_ATTENTION_Q_BIAS, "self_attn.q_proj.bias", "attn_q.bias", DIM_ONE, DIM_Q, \
                  WEIGHT_KEEP_F32), \
        ARCH_IN_LAYER(ROLE_ATTENTION_K_BIAS, "self_attn.k_proj.bias", "attn_k.bias", DIM_ONE, \
                      DIM_KV, WEIGHT_KEEP_F32), \
        ARCH_IN_LAYER(ROLE_ATTENTION_V_BIAS, "self_attn.v_proj.bias", "attn_v.bias", DIM_ONE, \
                      DIM_KV, WEIGHT_KEEP_F32)

/* DIM_HEAD, DIM_HEAD: one norm a head; DIM_Q, DIM_KV: over all of q and k. */
#define ARCH_QK_NORM_WEIGHTS(q_dim, k_dim) \
    ARCH_IN_LAYER(ROLE_ATTENTION_Q_NORM, "self_attn.q_norm.weight", "attn_q_norm.weight", DIM_ONE, \
                  q_dim, WEIGHT_KEEP_F32), \
        ARCH_IN_LAYER(ROLE_ATTENTION_K_NORM, "self_attn.k_norm.weight", "attn_k_norm.weight", \
                      DIM_ONE, k_dim, WEIGHT_KEEP_F32)

#define ARCH_ROUTER_WEIGHT(hf_name) \
    ARCH_IN_LAYER(ROLE_ROUTER, hf_name, "ffn_gate_inp.weight", DIM_EXPERTS, DIM_HIDDEN, \
                  WEIGHT_ROUTER_LAYERS | WEIGHT_KEEP_F32)

#define ARCH_HF_DENSE \
    { \
        { \
            FFN_SEPARATE, "model.layers.%.mlp.gate_proj.weight", \
                "model.layers.%.mlp.up_proj.weight", "model.layers.%.mlp.down_proj.weight" \
        } \
    }
#define ARCH_GGUF_DENSE \
    { \
        { \
            FFN_SEPARATE, "blk.%.ffn_gate.weight", "blk.%.ffn_up.weight", "blk.%.ffn_down.weight" \
        } \
    }

/* One tensor a matrix, or (saved by transformers 5 without renaming) all experts in two. */
#define ARCH_HF_EXPERTS \
    { \
        {FFN_SEPARATE, "model.layers.%.mlp.experts.#.gate_proj.weight", \
         "model.layers.%.mlp.experts.#.up_proj.weight", \
         "model.layers.%.mlp.experts.#.down_proj.weight"}, \
        { \
            FFN_FUSED, "model.layers.%.mlp.experts.gate_up_proj", NULL, \
                "model.layers.%.mlp.experts.down_proj" \
        } \
    }
#define ARCH_GGUF_EXPERTS \
    { \
        {FFN_STACKED, "blk.%.ffn_gate_exps.weight", "blk.%.ffn_up_exps.weight", \
         "blk.%.ffn_down_exps.weight"}, \
            {FFN_FUSED, "blk.%.ffn_gate_up_exps.weight", NULL, "blk.%.ffn_down_exps.weight"}, \
        { \
            FFN_SEPARATE, "blk.%.ffn_gate.#.weight", "blk.%.ffn_up.#.weight", \
                "blk.%.ffn_down.#.weight" \
        } \
    }
#define ARCH_GGUF_SHARED \
    { \
        { \
            FFN_SEPARATE, "blk.%.ffn_gate_shexp.weight", "blk.%.ffn_up_shexp.weight", \
                "blk.%.ffn_down_shexp.weight" \
        } \
    }

/* Buffers of old checkpoints that can be computed. */
#define ARCH_LLAMA_IGNORED \
    { \
        "model.layers.%.self_attn.rotary_emb.inv_freq", NULL \
    }
