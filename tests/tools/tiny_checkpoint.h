/* Small Hugging Face checkpoints with random weights, for tests: config.json, tokenizer.json (256
 * bytes, five merges and three special tokens), tokenizer_config.json with a ChatML template,
 * generation_config.json, and the weights in one safetensors file or in shards.
 *
 * Every value is a function of seed and tensor name, and exact in the dtype it is stored in, so
 * that a test can ask for the same values again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TINY_CHECKPOINT_MIN_VOCABULARY 264 /* ids 0 .. 263 are tokens */
#define TINY_CHECKPOINT_IM_START 261
#define TINY_CHECKPOINT_IM_END 262
#define TINY_CHECKPOINT_END_OF_TEXT 263

/* One tensor on its way into the file; a test may change everything about it. */
struct tiny_tensor {
    char name[128];
    const char *dtype; /* "F32", "F16", "BF16"; others are written as zero bytes */
    uint32_t rank;
    uint64_t shape[4];
    float *values; /* product of shape, of before the change */
    bool dropped;  /* leave it out */
};

struct tiny_checkpoint {
    const char *architecture; /* "Qwen3MoeForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM" */
    uint32_t layers, hidden, heads, kv_heads, head_dim, ffn;
    uint32_t experts, experts_per_token, expert_ffn; /* 0, 0, 0 in dense families */
    uint32_t sparse_step; /* layer l has a router iff (l + 1) % it == 0 */
    uint32_t vocabulary, context;
    bool tied;
    const char *dtype; /* of all tensors */
    uint32_t shards;   /* 1: model.safetensors; more: with an index */
    uint64_t seed;
    const char *config; /* more members of config.json, each with a comma before it, or "" */
    const char *extra;  /* name of one more tensor, of shape [4]; or NULL */
    void (*change)(void *context, struct tiny_tensor *tensor); /* or NULL */
    void *change_context;
};

/* A model of the family with 2 layers, hidden size 64 and BF16 weights. */
struct tiny_checkpoint tiny_checkpoint_of(const char *architecture);

/* Makes check_temp_dir()/name with everything in it, and returns the folder's path (removed when
 * the test program ends). Any mistake fails the test. */
const char *tiny_checkpoint_write(const struct tiny_checkpoint *checkpoint, const char *name);

/* The values of the tensor of this name, as the file holds them. 1-dimensional ones lie around 1,
 * matrices have variance 1 / cols. */
void tiny_checkpoint_values(const struct tiny_checkpoint *checkpoint, const char *name,
                            uint32_t rank, uint64_t rows, uint64_t cols, float *values);
