/* SentencePiece's own file, tokenizer.model, to struct tokenizer_parts (private to
 * tokenizer_pack.c).
 *
 * The file is a Protocol Buffers message: ModelProto of sentencepiece_model.proto, of which the
 * pieces, trainer_spec and normalizer_spec count. It is read where a checkpoint has no
 * tokenizer.json.
 */
#pragma once

#include <stdbool.h>

#include "engine/text/tokenizer_build.h"

/* Texts of the parts belong to `data`. Adds BOS to a text (BPE) or EOS (unigram), as the
 * checkpoints of these kinds do, unless their tokenizer_config.json says otherwise. Free the parts
 * in every case. */
bool tokenizer_model_read(const char *data, size_t bytes, struct tokenizer_parts *parts,
                          struct error *err);

/* The steps of a SentencePiece normalizer, and the decoder that fits them. */
struct tokenizer_model_normalizer {
    const char *charsmap; /* outlives the parts; checked */
    size_t charsmap_bytes;
    bool add_dummy_prefix, remove_extra_whitespaces;
};
bool tokenizer_model_steps(const struct tokenizer_model_normalizer *normalizer,
                           struct tokenizer_parts *parts, struct error *err);
