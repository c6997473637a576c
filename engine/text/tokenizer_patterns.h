/* The names that GGUF files give to pre-tokenizers (tokenizer.ggml.pre), and what they stand for.
 *
 * A GGUF file tells only a name; the patterns, and some of the model's behaviour, go with it. The
 * patterns are those of the checkpoints' tokenizer.json, in its syntax, so that a tokenizer read
 * from there finds its name here too. Read and written from the one table behind these functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_PATTERNS_MAX 6

enum tokenizer_patterns_flag {
    TOKENIZER_PATTERNS_IGNORE_MERGES = 1 << 0, /* a piece that is itself a token is that token */
    TOKENIZER_PATTERNS_ADD_BOS = 1 << 1,       /* unless the file says otherwise */
    TOKENIZER_PATTERNS_NFC = 1 << 2, /* the checkpoints of this name compose text (llama.cpp does
                                        not) */
};

struct tokenizer_patterns {
    const char *name;
    uint32_t flags;                            /* enum tokenizer_patterns_flag */
    const char *split[TOKENIZER_PATTERNS_MAX]; /* in order; NULL behind the last */
};

/* NULL if the name is unknown. */
const struct tokenizer_patterns *tokenizer_patterns_find(const char *name, size_t bytes);

struct tokenizer_patterns_text {
    const char *text;
    size_t bytes;
};

/* The row with these patterns that ignores merges or does not, preferably one that composes text or
 * does not; NULL if there is none. */
const struct tokenizer_patterns *
tokenizer_patterns_match(const struct tokenizer_patterns_text *split, uint32_t count,
                         bool ignore_merges, bool nfc);
