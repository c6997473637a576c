/* Statistics of what the weights are multiplied with, for quantisation that knows which columns
 * matter: for every input of a matrix the sum of squares of each column over all tokens, and how
 * many tokens that were; of experts, for each of them over the tokens that were sent to it. Ops of
 * their own (OP_observe) collect them while a session runs, where it was asked to.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/arch.h"
#include "engine/op/op.h"

/* Inputs that matrices share. */
enum observed_input {
    OBSERVED_ATTENTION,        /* of queries, keys, values, latents: (hidden) */
    OBSERVED_LATENT_Q,         /* of what makes queries from their latent: (q_rank) */
    OBSERVED_LATENT_K_B,       /* (heads * nope_dim) */
    OBSERVED_LATENT_V_B,       /* (heads * kv_rank) */
    OBSERVED_ATTENTION_OUTPUT, /* (heads * value_dim) */
    OBSERVED_FFN,              /* of gate and up: (experts, hidden), or (1, hidden) if dense */
    OBSERVED_FFN_DOWN,         /* (experts, ffn) or (1, ffn) */
    OBSERVED_SHARED,           /* of the shared expert's gate and up: (hidden) */
    OBSERVED_SHARED_DOWN,      /* (shared_ffn) */
    OBSERVED_HEAD,             /* of the matrix that makes logits: (hidden); layer 0 */
    OBSERVED_INPUTS            /* their number; also: none */
};

/* The input of the weights with this role (other than slabs). */
enum observed_input observed_input_of(const struct hparams *hparams, enum tensor_role role,
                                      bool tied);

/* One input in one layer; both NULL where the model has none. */
struct observation {
    struct tensor *sums;   /* (groups, columns) */
    struct tensor *counts; /* (1, groups) */
};

struct forward;

/* Declares the tensors of all observations; false if memory is short. */
bool observation_declare(struct forward *forward);
const struct observation *observation_of(const struct forward *forward, enum observed_input input,
                                         uint32_t layer);
/* Appends the op that adds x, unless the session does not observe. ids (n, top_k): which group each
 * row of x belongs to, NULL: all to one; x_per_pair: x has a row for each of top_k, not one. */
void observation_write(const struct forward *forward, enum observed_input input, uint32_t layer,
                       const struct tensor *x, const struct tensor *ids, uint32_t top_k,
                       bool x_per_pair, struct op_list *list);
