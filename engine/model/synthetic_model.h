/* A model of random weights at the shape of a known family, as a source like a file of somebody
 * else's: conversion writes a .moxie file of it, gguf_export a GGUF file, so that anyone can
 * measure speed without a download and other engines can run the very same file.
 *
 * Nothing is kept but decks of random blocks (synthetic_blocks.h); a matrix is dealt from them when
 * it is asked for. The same shape, type, layers and seed give the same bytes. What the values are:
 * synthetic_values.h.
 */
#pragma once

#include <stdint.h>

#include "engine/model/source.h"
#include "engine/model/synthetic_shapes.h"
#include "engine/model/type_choice.h"
#include "format/error.h"

struct synthetic_options {
    const struct type_mix *mix;
    uint32_t layers; /* 0: as many as the shape has */
    uint64_t seed;
};

/* NULL if the numbers are impossible (layers). source_close frees it. Its tokenizer is the
 * caller's to attach. */
struct source *synthetic_model_open(const struct synthetic_shape *shape,
                                    const struct synthetic_options *options, struct error *err);

/* How many tokens the tokenizer has, which the model will prefer to the rows without one; 0 until
 * it is told: none. Before any matrix is made. */
void synthetic_model_set_tokens(struct source *source, uint32_t n_tokens);
