/* Hyper-parameters from the keys of a GGUF file (engine/model/hparams_gguf.c). */
#pragma once

#include "engine/model/arch.h"
#include "engine/model/hparams.h"
#include "format/gguf.h"

/* The family of the file: general.architecture, and whether there are experts. NULL with a sentence
 * that names the families this version knows. */
const struct arch *hparams_find_gguf_arch(const struct gguf *gguf, struct error *err);

/* Keys are read as llama.cpp writes and reads them; where a number is told by the shape of a tensor
 * only (vocabulary, widths of old files), by that. A key that changes what is computed and that
 * this version cannot follow is refused by name. */
bool hparams_from_gguf(struct hparams *hparams, const struct arch *arch, const struct gguf *gguf,
                       struct error *err);

/* Layers behind the last that only serve multi-token prediction, and are left out. */
uint32_t hparams_gguf_draft_layers(const struct arch *arch, const struct gguf *gguf);
