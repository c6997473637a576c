/* The words of a source: containers that hold weights only (a Hugging Face folder) or that tell
 * their tokenizer in their own way get the sections of a .moxie file here. Above engine/model,
 * which knows nothing of text. */
#pragma once

#include <stdbool.h>

#include "engine/model/source.h"
#include "format/error.h"
#include "format/gguf_writer.h"

/* Fills in tokenizer and chat_template where the source has none of its own yet, and checks that
 * every token has a row in the embedding. */
bool source_text_attach(struct source *source, struct error *err);

/* Writes the keys of the attached tokenizer, or that there is none: what gguf_export_options calls
 * (engine/model/gguf_export.h). */
bool source_text_write_gguf(void *context, const struct source *source, struct gguf_writer *writer,
                            struct error *err);
