/* The normalizer, pre_tokenizer, post_processor and decoder of tokenizer.json (private to
 * tokenizer_json.c). */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "engine/text/tokenizer_build.h"

/* Fills the steps, prefix and suffix of parts, whose tokens are known. What is not supported is
 * refused by name. */
bool tokenizer_json_pipeline_read(const json_t *root, struct tokenizer_parts *parts,
                                  struct error *err);
