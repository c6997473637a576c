/* What the files beside tokenizer.json say about it (private to tokenizer_pack.c). */
#pragma once

#include <stdbool.h>

#include "engine/text/tokenizer_build.h"

/* Sets bos, eos, the stop tokens, and prefix and suffix where add_bos_token and add_eos_token
 * overrule the post-processor. Files that are not there say nothing. */
bool tokenizer_config_read(const char *folder, struct tokenizer_parts *parts, struct error *err);
