/* What an op must move and compute at least: the numbers beside which a measured time is judged
 * (moxie bench), and from which one is predicted.
 *
 * Every byte is counted once however often a kernel reads it, padding of rows included because it
 * is read. Operations are those of products (a multiply-add is two); what is done element by
 * element is not counted. Of experts those are counted that get a token: as many as op_loads says,
 * or, without one, as n tokens are expected to choose if they choose evenly and independently. Real
 * tokens choose fewer.
 */
#pragma once

#include <stdint.h>

#include "engine/op/op.h"

struct op_cost {
    double weight_bytes;     /* of weights read */
    double cache_bytes;      /* of KV caches read and written */
    double activation_bytes; /* the rest */
    double operations;
};

/* How the experts of one layer share n tokens, counted: experts[v] of them get v tokens each. An
 * average of several evaluations need not be whole numbers. */
struct op_loads {
    uint32_t n_tokens;
    const double *experts; /* (n_tokens + 1) */
};

/* Loads of a list are one per router that chooses among several experts, in the list's order. Asked
 * of every op in that order, with *routers zero at first: the loads that hold for the op, of the
 * last such router so far; NULL for ops of mixtures of one, and where `loads` is NULL. */
const struct op_loads *op_loads_at(const struct op_loads *loads, const struct op *op,
                                   uint32_t *routers);

/* Of an evaluation of n_tokens tokens, the first at `position`. The op need not be bound. loads:
 * for as many tokens, or NULL: even choice. */
struct op_cost op_cost_of(const struct op *op, uint32_t n_tokens, uint32_t position,
                          const struct op_loads *loads);

/* How many of the experts whose slabs are here (op.experts_here) n tokens are expected to choose.
 */
double op_cost_experts(uint32_t n_experts, uint32_t here, uint32_t top_k, uint32_t n_tokens);
