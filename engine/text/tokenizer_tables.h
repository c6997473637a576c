/* The tokenizer section, checked, as pointers into it (private to the tokenizer). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"
#include "format/tokenizer_section.h"

struct tokenizer_ids {
    const uint32_t *at;
    uint32_t count;
};

struct tokenizer_matches {
    const struct tokenizer_section_match *at;
    uint32_t count;
};

struct tokenizer_steps {
    const struct tokenizer_section_step *at;
    uint32_t count;
};

struct tokenizer_tables {
    const struct tokenizer_section *header;
    const char *pool;
    const struct tokenizer_section_token *tokens;
    uint32_t n_tokens;
    struct tokenizer_ids sorted;
    const uint32_t *byte_tokens;  /* NULL: characters without byte fallback */
    const uint32_t *merge_starts; /* NULL if there are no merges */
    const struct tokenizer_section_merge *merges;
    const double *scores; /* by id, or NULL */
    uint32_t ascii[128];  /* for characters: ids of the vocabulary's ASCII characters, or NO_ID */
    struct tokenizer_matches raw_matches, normalized_matches;
    struct tokenizer_steps normalizer, pre_tokenizer, decoder;
    struct tokenizer_ids prefix, suffix;
};

/* Checks every offset, count, id, order and text of the section; `tables` points into it. */
bool tokenizer_tables_open(struct tokenizer_tables *tables, const void *section, uint64_t bytes,
                           struct error *err);

/* The id of a text in the model's vocabulary, or TOKENIZER_SECTION_NO_ID. */
uint32_t tokenizer_tables_find(const struct tokenizer_tables *tables, const char *text,
                               size_t bytes);

/* The merge of two ids, or NULL. */
const struct tokenizer_section_merge *tokenizer_tables_merge(const struct tokenizer_tables *tables,
                                                             uint32_t left, uint32_t right);
