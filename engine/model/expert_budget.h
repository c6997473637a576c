/* Types for single experts within a size: those that the router chooses often get more bits, those
 * it rarely chooses fewer.
 *
 * For every expert and every type the relative error that quantisation brings into its output is
 * estimated from a sample of rows, and counts as often as the expert was chosen; with w the mean
 * squares of what the columns are multiplied with (importance_weights.h),
 *
 *     error = tokens * (r(gate) + r(up) + 2 r(down))
 *     r(W)  = sum sqrt(w) (W - quantised W)^2 / sum sqrt(w) W^2
 *
 * The output's size and w itself would be sums over few tokens: those that models give activations
 * hundreds of times larger than all others, and that a relative error of the same size hurts no
 * more. Then bytes are given, step by step, to the expert where they save most error each, until
 * the budget is full. The same input gives the same types.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/conversion_plan.h"
#include "engine/model/importance_weights.h"
#include "format/error.h"

/* What an expert may have: the types of gate and up, and of down. */
struct expert_level {
    enum dtype type, down_type;
    uint64_t bytes;     /* of a slab */
    uint64_t n_experts; /* that got it */
};
#define EXPERT_MAX_LEVELS 16

struct expert_budget {
    uint32_t layers, experts;
    uint8_t *chosen; /* (layers, experts) level; of layers without a router unused */
    bool *routed;    /* (layers) */
    uint64_t bytes;  /* of the slabs of all routed experts */
    double error;    /* the sum of errors */
    struct expert_level levels[EXPERT_MAX_LEVELS]; /* smallest first */
    uint32_t n_levels;
};

/* Bytes of the slabs of all routed experts of a plan. */
uint64_t expert_budget_bytes(const struct conversion_plan *plan);

/* Chooses for the experts of a plan (whose own types do not count) so that their slabs take at most
 * `bytes`. Reads a sample of every expert's rows. On failure nothing is left to free. */
bool expert_budget_make(struct expert_budget *budget, const struct conversion_plan *plan,
                        const struct importance_weights *weights, uint64_t bytes,
                        const struct conversion_work *work, struct error *err);
void expert_budget_free(struct expert_budget *budget);

/* conversion_rules.expert_types, whose context is the budget. */
bool expert_budget_types(void *context, uint32_t layer, uint32_t expert, enum dtype *type,
                         enum dtype *down_type);
