/* tokenizer.json and its companions to the tokenizer section of a .moxie file. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"

struct tokenizer_parts;

/* tokenizer_build, and opens the result once: patterns that cannot run are found here. */
bool tokenizer_pack_parts(struct tokenizer_parts *parts, void **section, uint64_t *bytes,
                          struct error *err);

/* Reads tokenizer.json (without one, tokenizer.model), and tokenizer_config.json,
 * special_tokens_map.json, generation_config.json and config.json where present (bos, eos and stop
 * ids, add_bos_token), from the folder. *section is allocated (free it). Pipelines this version
 * cannot run exactly are refused by name. */
bool tokenizer_pack(const char *folder, void **section, uint64_t *bytes, struct error *err);

/* The chat template of the folder: chat_template.jinja, or the key in tokenizer_config.json
 * ("default" of a list). *text is allocated, or NULL if there is none. */
bool chat_template_read(const char *folder, char **text, uint64_t *bytes, struct error *err);
