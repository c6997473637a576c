/* Tokens of an answer as JSON lines: one object a token, as soon as its text is certain.
 *
 *   {"id": 12095, "text": " Paris", "probability": 0.93, "top": [{"id": ..., "text": ...,
 *    "probability": ...}, ...]}
 *
 * The texts of all tokens together are the answer, in valid UTF-8: a character of several tokens is
 * in the last of them, and the earlier ones have the text "". Probabilities are the model's own, at
 * temperature 1 and before any choice of the sampler.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/moxie.h"

struct token_json;

/* `alternatives`: entries of "top". NULL if memory runs out. */
struct token_json *token_json_create(const struct moxie_model *model, uint32_t alternatives,
                                     FILE *out);
void token_json_destroy(struct token_json **lines);

/* A token that was chosen from the session's logits, and that brings `bytes` of text. False if
 * memory runs out. */
bool token_json_add(struct token_json *lines, const struct moxie_session *session, uint32_t id,
                    size_t bytes);
/* The last token brings some more. */
void token_json_extend(struct token_json *lines, size_t bytes);
/* `text` is the answer as far as it is certain, all of it since the beginning: prints the tokens
 * whose text is in it as a whole, but not the last token if it is `open` (token_json_extend may
 * follow). At the `end` of the answer a token whose text begins in it is printed with the part that
 * is in it, and the others are dropped. */
void token_json_print(struct token_json *lines, const char *text, size_t n, bool open, bool end);
