/* y = a + b, for tests that need some op and whose result is easily told: of the ops of models it
 * is the one that sums experts, for one expert of weight 1. */
#pragma once

#include "engine/op/op.h"

/* a, b and y are (n, dim); `ones` holds 1.0f for every token. */
struct op *sum_op_add(struct op_list *list, const struct tensor *step, const struct tensor *a,
                      const struct tensor *b, const struct tensor *ones, const struct tensor *y,
                      uint32_t dim);
