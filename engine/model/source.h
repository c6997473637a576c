/* A model as a file on disk has it, whatever the container: what conversion, running a file without
 * converting it, and export read from.
 *
 * Opening checks everything before work begins: that the family is known, the numbers are possible,
 * and that exactly the tensors are there that family and numbers ask for, each of the right shape.
 * Nothing but heads is read then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/arch.h"
#include "engine/model/hparams.h"
#include "format/error.h"
#include "format/source_matrix.h"

struct source_functions;

struct source {
    const struct source_functions *functions;
    char *name;         /* of the model, for people; freed by source_close */
    char *path;         /* as given; freed by source_close */
    const char *format; /* "safetensors", "gguf", "moxie" */
    const struct arch *arch;
    struct hparams hparams;
    bool tied;                   /* the embedding is the head */
    uint64_t n_files, n_tensors; /* for the metadata of what is made from it */
    uint64_t n_unlisted;         /* tensors in the files that an index leaves out */
    /* What goes beside the weights: a section of a .moxie file and a template, valid until
     * source_close; NULL: none. */
    const void *tokenizer;
    uint64_t tokenizer_bytes;
    const char *chat_template;
    uint64_t chat_template_bytes;
    /* Freed by source_close: where somebody else made them (engine/source_text.h). */
    void *owned_tokenizer;
    char *owned_chat_template;
};

enum source_part { SOURCE_GATE, SOURCE_UP, SOURCE_DOWN, SOURCE_PARTS };

/* What a container does. Any number of threads may call matrix, ffn and load at once. */
struct source_functions {
    /* The matrix of a row of arch->weights for which source_has is true; false if the container has
     * none, which only a row with WEIGHT_OPTIONAL may. */
    bool (*matrix)(const struct source *source, const struct arch_weight *row, uint32_t layer,
                   struct source_matrix *matrix);
    /* One of the three matrices of a feed-forward network (enum source_part). */
    void (*ffn)(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                uint32_t expert, uint32_t part, struct source_matrix *matrix);
    /* For containers whose matrices are not always readable in place (compressed ones); NULL: they
     * are. Call source_load. */
    bool (*load)(const struct source *source, struct source_matrix *matrix, void **memory,
                 struct error *err);
    /* Pages that hold these rows are not needed again soon. */
    void (*release)(const struct source *source, const struct source_matrix *matrix, uint64_t row,
                    uint64_t n);
    /* Whether writing to this path would overwrite a file of the source. */
    bool (*is_part)(const struct source *source, const char *path);
    /* Frees what is the container's own, and the struct. */
    void (*close)(struct source *source);
};

/* By what is at the path: a folder (Hugging Face), a GGUF file (of a split one the first), a .moxie
 * file. NULL on failure. */
struct source *source_open(const char *path, struct error *err);
void source_close(struct source **source);
/* Whether the path is something other than a .moxie file that source_open can read: a folder or a
 * GGUF file. False if nothing is there. */
bool source_is_foreign(const char *path);

struct source *source_open_checkpoint(const char *folder, struct error *err);
struct source *source_open_gguf(const char *path, struct error *err);
struct source *source_open_moxie(const char *path, struct error *err);

/* Makes a matrix that matrix() or ffn() gave readable. *memory holds it: free() it when done (NULL
 * if nothing had to be made). Only encoding, type and shape of a matrix may be used before. */
bool source_load(const struct source *source, struct source_matrix *matrix, void **memory,
                 struct error *err);

/* Facts that all containers share, from arch and hparams. */
bool source_has(const struct source *source, const struct arch_weight *row, uint32_t layer);
enum arch_ffn_kind source_ffn_kind(const struct source *source, uint32_t layer); /* not shared */
uint32_t source_experts(const struct source *source, uint32_t layer); /* 1 in a dense layer */
uint32_t source_ffn_width(const struct source *source, enum arch_ffn_kind kind);
bool source_has_shared(const struct source *source, uint32_t layer);

/* For containers: the selection that a part of a tensor is. `matrix` is a view of the whole stored
 * tensor (source_matrix_whole) and becomes `rows` x `cols` of it. source_part_shape gives the shape
 * the stored tensor must have. */
void source_part_shape(const struct source *source, enum arch_part part, uint64_t rows,
                       uint64_t cols, uint64_t *stored_rows, uint64_t *stored_cols);
void source_part_select(const struct source *source, enum arch_part part, uint64_t rows,
                        uint64_t cols, struct source_matrix *matrix);

/* The bytes of the file that rows [row, row + n) are made of: from *begin, *bytes long (more where
 * rows of other matrices lie between). */
void source_matrix_span(const struct source_matrix *matrix, uint64_t row, uint64_t n,
                        const uint8_t **begin, uint64_t *bytes);
