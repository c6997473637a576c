/* What the random weights of a synthetic model are, so that it behaves like a trained one where
 * speed depends on it: activations stay finite and of size one through all layers, logits prefer
 * the tokens that the vocabulary has, and the router is skewed and correlated in time.
 *
 * Every embedding has the same component along a common direction (synthetic_blocks.h), which
 * norms keep at a fixed share of the size of what they make. Three things answer to it, all else
 * does not:
 *  - the router: a constant preference for some experts (synthetic_shape.popularity);
 *  - rows of q and k that rotate fast: attention looks at the last few tokens, so that neighbours
 *    have much in common in every layer and choose the same experts;
 *  - the head: rows of tokens that exist are lifted, others lowered.
 *
 * What was aimed at, measured on traces of trained models: Qwen3-30B-A3B's routes repeat 38 % of
 * the last token's experts, 29 % of the one before, 26 and 24 % at distances of 8 and 32 tokens (by
 * chance 6 %); the busiest quarter of its experts takes 86 % of a text of 128 tokens, OLMoE's 52 %
 * over many texts; Mixtral's experts are within some 50 % of equal. What came out, on English prose
 * with `moxie logits --routes` (200 to 500 tokens): qwen3-30b-a3b 37 to 42, 28 to 35, 24 to 32 and
 * 23 to 32 % in layers 2 to 23, quarter 79 to 87 %; olmoe-1b-7b 39, 30, 27 and 26 %, quarter 60 %;
 * gpt-oss-20b 41, 35, 32 and 34 %, quarter 70 %; mixtral-8x7b quarter 35 %.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/arch.h"
#include "engine/model/hparams.h"

/* The values of the rows of a weight. */
struct synthetic_values {
    double deviation;
    bool reads_stream; /* columns are those of the residual stream: the first pieces are special */
    double common;     /* what a row's product with the common direction is ... */
    double other;      /* ... and where synthetic_values_is_common says no */
    uint32_t rotated;  /* rows are heads of this many dims in half-split pairs; 0: no heads */
    uint32_t n_common; /* otherwise: how many rows, from the first, are common */
};

/* Of a weight that is a matrix; n_tokens: how many tokens the vocabulary has. */
struct synthetic_values synthetic_values_of(const struct arch *arch, const struct hparams *hparams,
                                            enum tensor_role role, uint32_t layer,
                                            uint32_t n_tokens);
/* Of gate and up, and of down. */
struct synthetic_values synthetic_values_of_ffn(const struct hparams *hparams,
                                                enum arch_ffn_kind kind, bool down);
bool synthetic_values_is_common(const struct synthetic_values *values,
                                const struct hparams *hparams, uint64_t row);

/* A weight that is stored as f32: norms, biases, routers, sinks. values: (rows, cols). */
void synthetic_values_fill(const struct hparams *hparams, enum tensor_role role, uint32_t layer,
                           double popularity, uint64_t rows, uint64_t cols, uint64_t seed,
                           float *values);
