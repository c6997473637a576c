/* The blocks a layer is made of. Each declares the tensors it needs once a session, and appends its
 * ops to a list for every layer. Private to the room. */
#pragma once

#include "engine/model/forward.h"

/* y = x + output(attention(norm(x))), and the layer's keys and values into its state: grouped
 * queries (attention.c), or latent attention (attention_latent.c). */
void block_attention_declare(struct forward *forward);
void block_attention(const struct forward *forward, uint32_t layer, struct op_list *list);
void block_attention_latent_declare(struct forward *forward);
void block_attention_latent(const struct forward *forward, uint32_t layer, struct op_list *list);

/* x = y + feed-forward(norm(y)): router, chosen experts, weighted sum, a shared expert if there is
 * one; a dense layer is one expert that every token takes with weight one (moe.c). The list begins
 * with block_moe_begin. Declaring fails if memory is short. */
bool block_moe_declare(struct forward *forward);
void block_moe_begin(const struct forward *forward, struct op_list *list);
void block_moe(const struct forward *forward, uint32_t layer, struct op_list *list);

/* y = norm(x) * weight, a row per token; of the last token only, if asked to. */
void block_norm(const struct forward *forward, const struct tensor *x, const struct weight *weight,
                const struct tensor *y, bool last_only, struct op_list *list);

/* What a matrix is multiplied with: x, or its RMS norm, which the op that multiplies makes itself.
 */
struct block_input {
    const struct tensor *x;
    const struct tensor *norm; /* weight of the norm, or NULL */
    float epsilon;
};

/* x as it is. */
static inline struct block_input block_plain(const struct tensor *x)
{
    return (struct block_input){.x = x};
}

/* The norm of x: of the ops that take it in lists for few tokens (if nobody observes what matrices
 * are multiplied with), and an op of its own in others, which writes `normed`. */
struct block_input block_normed(const struct forward *forward, const struct tensor *x,
                                const struct weight *weight, const struct tensor *normed,
                                struct op_list *list);

/* y = weight x + bias + residual; bias may be NULL or absent, residual may be NULL. Returns the op.
 */
struct op *block_matmul(const struct forward *forward, const struct weight *weight,
                        const struct weight *bias, struct block_input x,
                        const struct tensor *residual, const struct tensor *y,
                        struct op_list *list);

/* A tensor of the session: (rows, cols) activations in f32, or whatever is asked for. */
struct tensor *forward_declare(struct forward *forward, const char *name, enum dtype dtype,
                               uint64_t rows, uint64_t cols, enum buffer_use use);
struct tensor *forward_declare_f32(struct forward *forward, const char *name, uint64_t cols);
/* The same with "layer N" before the name. */
struct tensor *forward_declare_in_layer(struct forward *forward, const char *name, uint32_t layer,
                                        enum dtype dtype, uint64_t rows, uint64_t cols,
                                        enum buffer_use use);
/* The tensor that was declared last gets an initial value; returns the zeroed memory to fill, or
 * NULL. */
void *forward_initial(struct forward *forward);
