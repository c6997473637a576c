/* Byte-pair encoding of one piece (private to the tokenizer).
 *
 * Sennrich et al. 2016, as Hugging Face's `BPE` model runs it: among adjacent symbols the pair with
 * the lowest rank merges first, the leftmost of equals. A heap of pairs and a linked list of
 * symbols make it O(n log n).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_tables.h"
#include "engine/text/unicode.h"

/* Where a piece of words between U+2581 falls apart into pieces that no merge can join: before that
 * mark, unless some token that ends like the text before it merges with one that begins with it. */
struct tokenizer_bpe_cuts {
    bool any;
    bool joined[256]; /* by the last byte before the mark */
};
void tokenizer_bpe_cuts_find(struct tokenizer_bpe_cuts *cuts,
                             const struct tokenizer_tables *tables);

/* The bytes of `piece`, which is not empty, up to the first cut. */
size_t tokenizer_bpe_cut(const struct tokenizer_bpe_cuts *cuts, const char *piece, size_t bytes);

/* Memory that pieces share. Zero-initialise before first use. */
struct tokenizer_bpe {
    struct tokenizer_bpe_symbol *symbols;
    struct tokenizer_bpe_pair *heap;
    size_t capacity, n_heap; /* capacity symbols, three times as many pairs */
    struct unicode_buffer spelling;
};
void tokenizer_bpe_free(struct tokenizer_bpe *bpe);

/* Appends the ids of a piece of at most INT32_MAX bytes. */
bool tokenizer_bpe_encode(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables,
                          const char *piece, size_t bytes, struct token_list *list,
                          struct error *err);
