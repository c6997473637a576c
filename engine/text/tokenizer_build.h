/* A tokenizer in memory, as a reader of some format understood it, to the section of a .moxie file.
 *
 * Readers (tokenizer.json, tokenizer.model, GGUF) fill struct tokenizer_parts; all texts stay
 * theirs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/error.h"
#include "format/tokenizer_section.h"

struct tokenizer_part_token {
    const char *text; /* NULL: no token has this id */
    size_t bytes;
    uint32_t flags; /* enum tokenizer_section_token_flag */
};

struct tokenizer_part_merge {
    uint32_t left, right, rank, result;
};

struct tokenizer_part_added {
    uint32_t id;
    uint32_t flags; /* enum tokenizer_section_match_flag */
    bool normalized;
};

struct tokenizer_part_step {
    uint32_t kind, flags;
    const char *text; /* NULL if it needs none */
    size_t bytes;
    const char *replacement; /* the same */
    size_t replacement_bytes;
};

struct tokenizer_part_steps {
    struct tokenizer_part_step at[TOKENIZER_SECTION_MAX_STEPS];
    uint32_t count;
};

struct tokenizer_part_ids {
    uint32_t at[TOKENIZER_SECTION_MAX_EXTRA];
    uint32_t count;
};

struct tokenizer_parts {
    uint32_t model;    /* enum tokenizer_section_model */
    uint32_t alphabet; /* enum tokenizer_section_alphabet */
    uint32_t flags;    /* enum tokenizer_section_flag */
    uint32_t bos, eos, unk;
    struct tokenizer_part_token *tokens; /* by id */
    uint32_t n_tokens;
    struct tokenizer_part_merge *merges; /* sorted in place by tokenizer_build */
    size_t n_merges;
    double *scores;                     /* by id, or NULL */
    struct tokenizer_part_added *added; /* in order of precedence */
    size_t n_added;
    struct tokenizer_part_steps normalizer, pre_tokenizer, decoder;
    struct tokenizer_part_ids prefix, suffix;
    char *charsmap; /* decoded for a step of the normalizer, or NULL */
};

/* Frees tokens, merges, scores, added and charsmap, which were taken from malloc. */
void tokenizer_parts_free(struct tokenizer_parts *parts);

/* U+2581, which spells a space where the alphabet is characters. */
#define TOKENIZER_SPACE_MARK "\xE2\x96\x81"

/* The byte that "<0x0A>" spells, or -1. */
int tokenizer_byte_token(const char *text, size_t bytes);

/* False if the largest id is beyond what a vocabulary can have, or so far beyond the tokens that
 * are named that tables as long as the ids would be nothing but gaps. */
bool tokenizer_check_ids(int64_t largest, size_t n_named, struct error *err);

/* *section is allocated (free it). False if something is too long or too many for the format. */
bool tokenizer_build(struct tokenizer_parts *parts, void **section, uint64_t *bytes,
                     struct error *err);
