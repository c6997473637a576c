/* From a conversation to a prompt: the variables of a chat, with the special tokens of the
 * tokenizer added, through a template, to text or to token ids.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "format/error.h"

/* Variables as engine/text/chat_messages.h makes them. The tokenizer may be NULL: the template then
 * finds bos_token and eos_token undefined, as where the tokenizer has none. *text is allocated. */
bool chat_prompt_text(const struct chat_template *template, const struct tokenizer *tokenizer,
                      const json_t *variables, char **text, size_t *bytes, struct error *err);

/* The ids of that text, where only the template's own text can become special tokens
 * (engine/text/chat_tokens.h). */
bool chat_prompt_tokens(const struct chat_template *template, const struct tokenizer *tokenizer,
                        const json_t *variables, struct token_list *list, struct error *err);
