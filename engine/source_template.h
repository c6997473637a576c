/* The chat template of a model file without the model: of families that cannot be run and of files
 * without weights as well. Beside engine/source_words.h, which has the tokenizer.
 */
#pragma once

#include <stdint.h>

#include "format/error.h"

struct source_template {
    char *text; /* NULL: the file has none */
    uint64_t bytes;
    const char *architecture; /* as the engine names it; "" if it does not know the family */
};

/* A .moxie file, a GGUF file (of a split one the first) or a Hugging Face folder. */
bool source_template_open(struct source_template *found, const char *path, struct error *err);
void source_template_close(struct source_template *found);
