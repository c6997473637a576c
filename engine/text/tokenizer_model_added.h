/* Tokens that the files beside tokenizer.model add to it (private to tokenizer_pack.c).
 *
 * tokenizer_config.json's "added_tokens_decoder" ({"32000": {"content": text, "special": ...}});
 * without one, added_tokens.json ({text: id}), where those are special that a file names so; and
 * T5's "extra_ids": <extra_id_0> and so on, counted down from behind the last piece.
 */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "engine/text/tokenizer_build.h"

/* *texts holds the texts of the added tokens: json_decref it after the parts, also on failure. */
bool tokenizer_model_added_read(const char *folder, struct tokenizer_parts *parts, json_t **texts,
                                struct error *err);
