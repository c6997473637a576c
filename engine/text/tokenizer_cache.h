/* Pieces of a text that were encoded already (private to the tokenizer): words come again.
 *
 * A piece's ids depend on nothing but the piece, so a long text remembers some of its short pieces.
 * One place per hash: a new piece replaces the one that was there. Belongs to one call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/text/tokenizer.h"

/* Texts shorter than this are encoded without. */
#define TOKENIZER_CACHE_MIN_TEXT 4096u

struct tokenizer_cache;

/* NULL if memory runs out, which is no error: every function takes NULL. */
struct tokenizer_cache *tokenizer_cache_create(void);
void tokenizer_cache_destroy(struct tokenizer_cache **cache);

/* Appends the ids of a known piece. *found tells whether it was known; false if memory runs out. */
bool tokenizer_cache_append(const struct tokenizer_cache *cache, const char *piece, size_t bytes,
                            struct token_list *list, bool *found, struct error *err);

/* Remembers the ids of a piece, if both are short. */
void tokenizer_cache_add(struct tokenizer_cache *cache, const char *piece, size_t bytes,
                         const uint32_t *ids, size_t count);
