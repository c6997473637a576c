/* What a GGUF file holds beside the weights, for those above that understand it (the tokenizer's
 * keys belong to engine/text). */
#pragma once

#include "engine/model/source.h"
#include "format/gguf.h"

/* The file of a source that source_open_gguf made; valid until the source is closed. */
const struct gguf *source_gguf_file(const struct source *source);
