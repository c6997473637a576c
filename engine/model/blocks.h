/* The blocks a layer is made of; each appends its ops to the list. Private to the room. */
#pragma once

#include "engine/model/forward.h"

/* y = x + output(attention(norm(x))), and the layer's keys and values into its state (attention.c).
 */
void block_attention(const struct forward *forward, uint32_t layer, struct op_list *list);

/* x = y + feed-forward(norm(y)): router, chosen experts, weighted sum; a dense layer is one expert
 * that every token takes with weight one (moe.c). */
void block_moe(const struct forward *forward, uint32_t layer, struct op_list *list);

/* y = norm(x) * weight over rows of `dim`, `rows` of them per token. */
void block_norm(const struct forward *forward, const struct tensor *x, const struct weight *weight,
                const struct tensor *y, uint32_t rows, uint32_t dim, bool last_only,
                struct op_list *list);

/* y = weight x */
void block_matmul(const struct forward *forward, const struct weight *weight,
                  const struct tensor *x, const struct tensor *y, bool one_row,
                  struct op_list *list);
