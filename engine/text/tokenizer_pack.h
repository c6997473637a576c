/* tokenizer.json and its companions to the tokenizer section of a .moxie file. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

struct tokenizer_parts;

/* tokenizer_build, and opens the result once: patterns that cannot run are found here. */
bool tokenizer_pack_parts(struct tokenizer_parts *parts, void **section, uint64_t *bytes,
                          struct error *err);

/* Reads tokenizer.json (without one, tokenizer.model and added_tokens.json), tokenizer_config.json,
 * special_tokens_map.json, generation_config.json and config.json where present (bos, eos and stop
 * ids, add_bos_token), from the folder. *section is allocated (free it). Pipelines this version
 * cannot run exactly are refused by name. */
bool tokenizer_pack(const char *folder, void **section, uint64_t *bytes, struct error *err);
