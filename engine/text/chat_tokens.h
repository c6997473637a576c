/* A chat's text to token ids, so that nobody can speak for somebody else: text of special tokens
 * inside a message stays text, while the template's own special tokens are recognised.
 *
 * How: a marker character that occurs in no message is put into every special-token text that a
 * message contains, before the template is rendered. In the rendered text only the template's
 * special tokens are whole. It is cut at those, the markers are taken out of the pieces between,
 * and those pieces are encoded as plain text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/text/tokenizer.h"
#include "format/error.h"

struct chat_guard;

/* The tokenizer must outlive the guard. */
struct chat_guard *chat_guard_create(const struct tokenizer *tokenizer, struct error *err);
void chat_guard_destroy(struct chat_guard **guard);

/* Takes note of the markers a message already contains; to be called for every message before the
 * first is protected. False if no marker is left. */
bool chat_guard_look(struct chat_guard *guard, const char *content, struct error *err);

/* A copy of the content with the marker inside every special token's text (most often none); free
 * it. */
char *chat_guard_protect(const struct chat_guard *guard, const char *content, struct error *err);

/* Appends the ids of the rendered text. */
bool chat_guard_encode(const struct chat_guard *guard, const char *text, size_t bytes,
                       struct token_list *list, struct error *err);
