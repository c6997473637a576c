/* tokenizer.json to struct tokenizer_parts (private to tokenizer_pack.c). */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "engine/text/tokenizer_build.h"

/* Texts of the parts belong to `root`. bos, eos and stop tokens are left unset: tokenizer.json does
 * not have them. Free the parts in every case. */
bool tokenizer_json_read(const json_t *root, struct tokenizer_parts *parts, struct error *err);
