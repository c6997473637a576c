/* Normalizer steps: texts before added tokens and the model see them (private to the tokenizer).
 *
 * What Hugging Face's normalizers NFC, Prepend, Replace, Strip and Precompiled, and the one of
 * SentencePiece, do to a text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/text/unicode.h"
#include "format/error.h"
#include "format/tokenizer_section.h"

struct tokenizer_normalize_step {
    uint32_t kind;    /* enum tokenizer_section_normalizer */
    uint32_t flags;   /* those of the kind */
    const char *text; /* not empty for REPLACE and RUNS; a checked map for CHARSMAP */
    size_t text_bytes;
    const char *replacement;
    size_t replacement_bytes;
};

/* Appends what the step makes of text, which is valid UTF-8. False if memory runs out or the result
 * would be longer than a piece may be (2 GiB). */
bool tokenizer_normalize(const struct tokenizer_normalize_step *step, const char *text,
                         size_t bytes, struct unicode_buffer *out, struct error *err);
