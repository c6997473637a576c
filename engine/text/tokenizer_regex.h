/* The patterns of pre-tokenizers: Oniguruma syntax, as tokenizer.json writes it, run by PCRE2.
 *
 * Both pattern and text are untrusted. The pattern is translated: what the two engines read alike
 * passes, what they read differently is rewritten, and everything else is refused by name. Matching
 * looks at the text through a window that grows only as far as a match needs it, and pays for what
 * it looks at from a budget proportional to the text, so that no pair of pattern and text hangs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "format/error.h"

struct tokenizer_regex;

/* pattern is valid UTF-8. A compiled pattern may be used by many threads. */
struct tokenizer_regex *tokenizer_regex_create(const char *pattern, size_t bytes,
                                               struct error *err);
void tokenizer_regex_destroy(struct tokenizer_regex **regex);

/* What one search after another needs: one per thread. */
struct tokenizer_regex_search;
/* `bytes`, the length of the text times the number of patterns that run over it, sets the budget.
 */
struct tokenizer_regex_search *tokenizer_regex_search_create(size_t bytes, struct error *err);
void tokenizer_regex_search_destroy(struct tokenizer_regex_search **search);

struct tokenizer_regex_match {
    size_t begin, end;
    bool found;
};

/* The leftmost match in text[0..bytes) that begins at `from` or later; text before `from` is seen
 * by lookbehind. text is valid UTF-8, from <= bytes. False if the budget or memory runs out. */
bool tokenizer_regex_find(const struct tokenizer_regex *regex,
                          struct tokenizer_regex_search *search, const char *text, size_t bytes,
                          size_t from, struct tokenizer_regex_match *match, struct error *err);
