/* Unigram language models (private to the tokenizer): the likeliest way to cut a piece into tokens.
 *
 * Kudo 2018, "Subword Regularization", as SentencePiece and Hugging Face's `Unigram` run it: scores
 * are logarithms of probabilities, the best sum wins, of equals the one found first. Viterbi over
 * the positions of a piece, with a trie of the vocabulary: linear in the text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_tables.h"

struct tokenizer_unigram;

/* The trie of a vocabulary that has scores and an unknown token. NULL if memory runs out or the
 * vocabulary is too large. `tables` must outlive it. */
struct tokenizer_unigram *tokenizer_unigram_create(const struct tokenizer_tables *tables,
                                                   struct error *err);
void tokenizer_unigram_destroy(struct tokenizer_unigram **unigram);

/* Memory that pieces share. Zero-initialise before first use. */
struct tokenizer_unigram_lattice {
    struct tokenizer_unigram_step *steps;
    size_t capacity;
};
void tokenizer_unigram_lattice_free(struct tokenizer_unigram_lattice *lattice);

/* Appends the ids of a piece: valid UTF-8 of at most INT32_MAX bytes. */
bool tokenizer_unigram_encode(const struct tokenizer_unigram *unigram,
                              struct tokenizer_unigram_lattice *lattice, const char *piece,
                              size_t bytes, struct token_list *list, struct error *err);
