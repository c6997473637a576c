/* A chat's text to token ids, so that nobody can speak for somebody else: text of special tokens
 * inside a message stays text, while the template's own special tokens are recognised.
 *
 * How: a marker character that occurs in no message is put into every special-token text that a
 * message contains, before the template is rendered, and behind what could be the first half of one
 * (a template may join the parts of a content). In the rendered text only the template's special
 * tokens are whole. It is cut at those, the markers are taken out of the pieces between,
 * and those pieces are encoded as plain text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "engine/text/tokenizer.h"
#include "format/error.h"

struct chat_guard;

/* The tokenizer must outlive the guard. */
struct chat_guard *chat_guard_create(const struct tokenizer *tokenizer, struct error *err);
void chat_guard_destroy(struct chat_guard **guard);

/* A copy of JSON of strangers (messages, tools, ...) with the marker in every special token's text
 * that a string or a key holds, or that could begin at its end; json_decref it. To be called once,
 * before chat_guard_encode. NULL if no marker is left or memory runs out. */
json_t *chat_guard_protect(struct chat_guard *guard, const json_t *value, struct error *err);

/* Appends the ids of the rendered text, which it may change. */
bool chat_guard_encode(const struct chat_guard *guard, char *text, size_t bytes,
                       struct token_list *list, struct error *err);
