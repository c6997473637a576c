/* A model of any source as a GGUF file that llama.cpp loads: its names and keys, experts stacked in
 * three dimensions, the rows of q and k where that family's files have them, latent attention in
 * its two tensors. Weights are taken over bit for bit; norms, biases and routers are f32.
 *
 * What GGUF (or llama.cpp's reading of it) cannot express is refused with a sentence.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/source.h"
#include "format/error.h"
#include "format/gguf_writer.h"

struct gguf_export_options {
    /* Writes the keys of the tokenizer (which this floor does not know); NULL: none are written,
     * and the file says that it has no vocabulary. */
    bool (*write_tokenizer)(void *context, const struct source *source, struct gguf_writer *writer,
                            struct error *err);
    void *tokenizer_context;
    /* Bytes done of all; false stops. NULL: not told. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
};

struct gguf_export_report {
    uint64_t n_tensors, weight_bytes, file_bytes;
};

/* The file appears whole or not at all. */
bool gguf_export_run(const struct source *source, const char *path,
                     const struct gguf_export_options *options, struct gguf_export_report *report,
                     struct error *err);

/* ---- for gguf_export*.c ---- */

/* Whether the numbers can be told in this family's keys. */
bool gguf_export_check(const struct source *source, struct error *err);
/* The family's keys; `type` is what most weights have, `quantised` whether any are. */
void gguf_export_keys(const struct source *source, enum dtype type, bool quantised,
                      struct gguf_writer *writer);
/* The divisors of RoPE's frequencies that llama3 scaling means: rope_dim / 2 values. */
void gguf_export_rope_divisors(const struct hparams *hparams, float *divisors);
