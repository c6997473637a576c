/* The forward pass as a list of ops: embed, layers, norm, head.
 *
 * forward_init declares every tensor a session needs besides the weights; engine/run gives them
 * addresses; forward_write then writes the list, for one token or for a chunk. Nothing in a list
 * depends on the position, so it is written once and run many times.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/model.h"
#include "engine/model/observation.h"
#include "engine/model/state.h"
#include "engine/op/backend.h"
#include "engine/op/op.h"

struct forward_options {
    uint32_t context;     /* positions the states hold */
    uint32_t chunk;       /* most tokens of one evaluation */
    uint32_t expert_wide; /* of op_expert_tile_pairs */
    enum dtype kv_type;   /* DTYPE_F16, DTYPE_F32 or DTYPE_Q8_0 */
    bool keep_routes;     /* the router's choice of every layer stays readable after a run */
    bool observe;         /* statistics of the inputs of matrices are collected (observation.h) */
};

struct forward_tensor {
    struct tensor tensor;
    enum buffer_use use;
    void *initial; /* tensor.bytes to be written once before the first run, or NULL */
};

/* Of ATTENTION_GROUPED. */
struct grouped_tensors {
    struct tensor *q, *k, *v;           /* (chunk, heads or kv_heads * head_dim) */
    struct tensor *q_normed, *k_normed; /* of norms over all of q and k; else NULL */
    struct tensor *q_rotated;           /* as q */
};

/* Of ATTENTION_LATENT. */
struct latent_tensors {
    struct tensor *q_a, *q_a_normed;   /* (chunk, q_rank), NULL without */
    struct tensor *q_nope;             /* (chunk, heads * nope_dim) */
    struct tensor *q_rope, *q_rotated; /* (chunk, heads * rope_dim) */
    struct tensor *q_latent;           /* (chunk, heads * kv_rank) */
    struct tensor *latent;             /* (chunk, kv_rank) */
    struct tensor *k_rope;             /* (chunk, rope_dim) */
    struct tensor *attended_latent;    /* (chunk, heads * kv_rank) */
};

struct forward {
    const struct model *model;
    struct forward_options options;
    struct forward_tensor *tensors; /* all of the below */
    uint32_t n_tensors, tensor_capacity;

    struct tensor *step;        /* struct step with room for chunk ids */
    struct tensor *frequencies; /* (rope_dim / 2) */
    struct tensor *x, *y;       /* (chunk, hidden) residual stream before and after attention */
    struct tensor *normed;      /* (chunk, hidden) */
    struct grouped_tensors grouped;
    struct latent_tensors latent;
    struct tensor *attention_parts; /* struct attention_args */
    struct tensor *attended;        /* (chunk, heads * value_dim) */
    struct tensor **ids;     /* per layer (shared by all unless keep_routes): (chunk, top_k) u32 */
    struct tensor **weights; /* the same: (chunk, top_k) */
    struct tensor *router_logits;  /* (chunk, experts) */
    struct tensor *router_arrived; /* struct matmul_router_args */
    struct tensor *offsets;        /* (experts + 1) u32 */
    struct tensor *pairs;          /* (chunk * top_k) u32 */
    struct tensor *tiles;          /* (op_expert_tile_words) u32 */
    struct tensor *h;              /* (chunk * top_k, ffn) */
    struct tensor *parts;          /* (chunk * top_k, hidden) */
    /* Dense layers and shared experts, which are mixtures of one; NULL where a model has none. */
    struct tensor *single_ids, *single_weights; /* (chunk): zeros and ones */
    struct tensor *single_offsets;              /* (2) u32 */
    struct tensor *single_pairs;                /* (chunk) u32 */
    struct tensor *single_tiles;                /* (op_expert_tile_words) u32 */
    struct tensor *shared_logit;                /* (chunk) */
    struct tensor *shared_arrived;              /* struct matmul_router_args */
    struct tensor *shared_ids, *shared_weights; /* (chunk) of the shared expert's gate */
    struct tensor *shared_h;                    /* (chunk, shared_ffn) */
    struct tensor *shared_part;                 /* (chunk, hidden) */
    struct tensor *mixed;                       /* (chunk, hidden) y + the chosen experts */
    struct tensor *last;                        /* (1, hidden) the last token, normed */
    struct tensor *logits;                      /* (1, vocabulary), readable */
    struct tensor *best;                        /* (1) id of the largest logit, readable */
    /* Of lists that end by choosing the next token: struct sample_args. */
    struct tensor *sampling, *recent, *occurrences; /* (1), (context), (vocabulary) */
    struct tensor *chosen;                          /* (SAMPLE_RESULTS), readable */

    struct state *states;         /* (layers) */
    struct observation *observed; /* observation_of; NULL without options.observe */
};

/* Declares the tensors; no address is set. The model must outlive it. */
bool forward_init(struct forward *forward, const struct model *model,
                  const struct forward_options *options, struct error *err);
void forward_free(struct forward *forward);

/* Bytes of all declared tensors, and of the states among them. */
uint64_t forward_bytes(const struct forward *forward);
uint64_t forward_state_bytes(const struct forward *forward);

/* Sizes of evaluation that have a list of their own: a list made for many tokens is wasteful for
 * few, and one for few reads the weights again and again for many. */
#define FORWARD_LISTS 8
/* The number of the smallest list that takes n <= chunk tokens, and how many that list is for. */
uint32_t forward_list_for(uint32_t n, uint32_t chunk, uint32_t *max_tokens);

/* Writes the list for evaluations of 1..max_tokens tokens, max_tokens <= chunk. `list` is
 * initialised here. */
bool forward_write(const struct forward *forward, uint32_t max_tokens, struct op_list *list,
                   struct error *err);
/* The list for one token that ends by choosing the next one, so that it can be run again at once;
 * and the choice alone, from the logits that are there. */
bool forward_write_next(const struct forward *forward, struct op_list *list, struct error *err);
bool forward_write_choice(const struct forward *forward, struct op_list *list, struct error *err);
