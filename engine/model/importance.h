/* Activation statistics in memory and as a file: for each tensor of a GGUF model the sums of
 * squares of what its columns were multiplied with, and over how many tokens.
 *
 * The file is what llama.cpp (since its imatrix files are GGUF) writes and reads: general.type
 * "imatrix", imatrix.datasets, .chunk_count, .chunk_size, and for each tensor NAME two of f32,
 * NAME.in_sum2 [columns, matrices] and NAME.counts [1, matrices], matrices being the experts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/model.h"
#include "engine/model/observation.h"
#include "format/error.h"
#include "format/gguf.h"

struct importance_entry {
    char name[GGUF_MAX_NAME + 1]; /* of the tensor in a GGUF file */
    uint64_t n_values, n_counts;  /* n_values is a multiple of n_counts */
    float *sums;                  /* (n_values) */
    float *counts;                /* (n_counts) tokens */
};

struct importance {
    char *path;    /* where it was read from, or NULL */
    char *dataset; /* the text's name, for people; may be NULL */
    uint32_t chunk_count, chunk_size;
    struct importance_entry *entries; /* after importance_read sorted by name, names unique */
    uint64_t n_entries, capacity;
};

void importance_free(struct importance *importance);

/* Appends an entry with copies of the arrays. An entry of this name that is there stays. */
bool importance_add(struct importance *importance, const char *name, uint64_t n_values,
                    uint64_t n_counts, const float *sums, const float *counts, struct error *err);

/* Appends an entry for every tensor that is multiplied with this input in this layer. */
bool importance_add_input(struct importance *importance, const struct model *model,
                          enum observed_input input, uint32_t layer, uint64_t n_values,
                          uint64_t n_counts, const float *sums, const float *counts,
                          struct error *err);

bool importance_write(const struct importance *importance, const char *path, struct error *err);
/* On failure nothing is left to free. Every number is finite and not negative. */
bool importance_read(struct importance *importance, const char *path, struct error *err);

/* NULL if there is none; only after importance_read. */
const struct importance_entry *importance_find(const struct importance *importance,
                                               const char *name);
