/* Merges of a vocabulary that came from a GGUF file (private to tokenizer_gguf.c). */
#pragma once

#include <stdbool.h>

#include "engine/text/tokenizer_build.h"
#include "format/error.h"
#include "format/gguf.h"

/* From a list of texts "A B" (tokenizer.ggml.merges), whose place is the rank. */
bool tokenizer_gguf_merges_read(const struct gguf_pair *pair, struct tokenizer_parts *parts,
                                struct error *err);

/* From parts->scores: every two tokens of the vocabulary whose texts join to a third one's merge,
 * those with the highest score of the result first (Kudo and Richardson 2018). A character that is
 * not in the vocabulary takes part in none: SentencePiece's vocabularies have the characters of all
 * their pieces. */
bool tokenizer_gguf_merges_score(struct tokenizer_parts *parts, struct error *err);
