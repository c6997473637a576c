/* The tokenizer of a GGUF file (keys tokenizer.ggml.*) to the tokenizer section of a .moxie file,
 * and back.
 *
 * Byte-level BPE ("gpt2") and SentencePiece BPE with scores ("llama"); other models are refused by
 * name. The keys: docs/gguf.md of ggml, and what llama.cpp's converters write.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"

/* Whether the file has a tokenizer at all, of whatever model. */
bool tokenizer_gguf_has(const struct gguf *gguf);

/* *section is allocated (free it). What cannot be run exactly is refused: models and
 * pre-tokenizers by name. */
bool tokenizer_gguf_pack(const struct gguf *gguf, void **section, uint64_t *bytes,
                         struct error *err);

/* Writes the keys of a section's tokenizer (all but the chat template). `vocabulary` is the rows of
 * the model's embedding, at least the tokens; rows without a token are written as "[PAD<id>]".
 * False if GGUF cannot express the tokenizer: then nothing was written. */
bool tokenizer_gguf_write(const void *section, uint64_t bytes, uint32_t vocabulary,
                          struct gguf_writer *writer, struct error *err);
