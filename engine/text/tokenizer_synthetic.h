/* A small tokenizer for models of random weights: byte-level BPE with the 256 bytes, the pieces of
 * a few hundred common English words, and ChatML's three special tokens, so that a text becomes
 * varied tokens, chat and complete work, and GGUF has a name for it ("gpt-2").
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

/* *section is allocated (free it); *n_tokens, at most `vocabulary` (300 or more), is how many
 * tokens there are; the special ones are the last three. */
bool tokenizer_synthetic_pack(uint32_t vocabulary, void **section, uint64_t *bytes,
                              uint32_t *n_tokens, struct error *err);

/* The chat template that goes with it (ChatML). */
extern const char tokenizer_synthetic_template[];
