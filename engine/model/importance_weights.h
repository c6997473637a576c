/* Activation statistics as weights of a model's quantisation errors: how much a column of a matrix
 * matters is the mean square of what it is multiplied with.
 *
 * An expert that the text rarely reached has few numbers of its own, one that it never reached has
 * none. Each is therefore blended with the mean over all experts of its layer, which counts as much
 * as IMPORTANCE_PRIOR tokens would: (sums + prior * mean) / (count + prior). So no expert and no
 * matrix goes without, and one seen often keeps its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/importance.h"
#include "engine/model/source.h"
#include "format/error.h"

#define IMPORTANCE_PRIOR 32 /* tokens; with fewer of its own an expert counts as rarely seen */

struct importance_weights {
    const struct importance *importance;
    const struct source *source;
    float **values; /* by entry; NULL: not of this model, or no token was seen */
    /* What was found, for people. */
    uint64_t n_experts, n_never, n_rarely; /* routed experts of all layers */
    uint64_t n_matrices, n_without; /* tensors that statistics are for, and those without any */
    char first_without[GGUF_MAX_NAME + 1]; /* the first of them */
};

/* Finds the statistics of every matrix of the source, by the names that its family has in GGUF
 * files, and checks their sizes. False if none is there, or one has another size. Both must outlive
 * the weights. On failure nothing is left to free. */
bool importance_weights_make(struct importance_weights *weights,
                             const struct importance *importance, const struct source *source,
                             struct error *err);
void importance_weights_free(struct importance_weights *weights);

/* The weights of a matrix's columns, or NULL: conversion_rules.importance, whose context is the
 * weights. */
const float *importance_weights_of(void *context, enum tensor_role role, uint32_t layer,
                                   uint32_t expert, uint32_t part);

/* counts (experts): how many tokens each expert of a layer with a router saw; false if the
 * statistics do not tell. */
bool importance_weights_usage(const struct importance_weights *weights, uint32_t layer,
                              const float **counts);
