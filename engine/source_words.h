/* The words of a model file without the model: its tokenizer, and nothing else is looked at.
 *
 * For programs that only turn text into token ids: files with a vocabulary and no weights, and
 * models of families that cannot be run, do as well. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"
#include "format/model_file.h"

struct source_words {
    const void *section; /* the tokenizer section of a .moxie file */
    uint64_t bytes;
    struct model_file file; /* holds it, unless `owned` does */
    bool file_open;
    void *owned;
};

/* A .moxie file, a GGUF file (of a split one the first) or a Hugging Face folder. False, with
 * nothing to close, also if it has no tokenizer. */
bool source_words_open(struct source_words *words, const char *path, struct error *err);
void source_words_close(struct source_words *words);
