/* A Hugging Face checkpoint as a source: what source_checkpoint.c (the folder, config.json),
 * source_checkpoint_tensors.c (which tensor is which matrix) and source_checkpoint_check.c share.
 * Private to them. */
#pragma once

#include "engine/model/source.h"
#include "format/safetensors.h"

#define MXFP4_BLOCK 32 /* values in 16 bytes */

struct checkpoint {
    struct source source; /* first, so that a pointer to it is one to the checkpoint */
    struct safetensors tensors;
    bool is_fp8;                   /* quantization_config says so */
    uint32_t tile_rows, tile_cols; /* of FP8 scales: weight_block_size */
    float **scales; /* (tensors.n_tensors): scales that are not stored as f32, or NULL */
};

/* Everything config.json and the family ask for is there, of the right shape and dtype, and nothing
 * else. */
bool checkpoint_check_tensors(struct checkpoint *checkpoint, struct error *err);

/* Whether any of the pattern's names is a tensor. */
bool checkpoint_has_tensor(const struct checkpoint *checkpoint, const char *pattern);

/* source_functions.matrix and .ffn. */
bool checkpoint_matrix(const struct source *source, const struct arch_weight *row, uint32_t layer,
                       struct source_matrix *matrix);
void checkpoint_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                    uint32_t expert, uint32_t part, struct source_matrix *matrix);

/* ---- where matrices lie ---- */

/* One slice of a tensor, or all of it. */
struct checkpoint_place {
    const char *pattern; /* names, alternatives by "|" */
    uint32_t layer, expert;
    uint64_t n_slices, slice;          /* of a stacked tensor; n_slices 0: it is not stacked */
    uint64_t rows, cols;               /* of the (slice of the) tensor: outputs, inputs */
    bool is_vector;                    /* rows is 1 and not a dimension of the tensor */
    bool input_major;                  /* stored transposed, [cols, rows], unless it is a pair */
    const char *rows_keys, *cols_keys; /* of config.json, for messages */
};

struct checkpoint_stored {
    enum source_encoding encoding;
    const struct safetensors_tensor *values;
    const struct safetensors_tensor *scales; /* FP8 and MXFP4 only */
};

/* The tensor of the first of the names that is there. */
bool checkpoint_find(const struct checkpoint *c, const struct checkpoint_place *place,
                     struct checkpoint_stored *stored);
/* Rows and columns that one scale covers; false if the scales' shape is none that suits the
 * tensor: one for all, one a row, or one a tile. */
bool checkpoint_find_tiles(const struct checkpoint *c, const struct safetensors_tensor *scales,
                           uint64_t n_slices, uint64_t rows, uint64_t cols, uint64_t *tile_rows,
                           uint64_t *tile_cols);
/* Where a row of the table lies, and one of the three matrices of a feed-forward network. */
struct checkpoint_place checkpoint_row_place(const struct checkpoint *c,
                                             const struct arch_weight *row, uint32_t layer);
struct checkpoint_place checkpoint_ffn_place(const struct checkpoint *c, const struct arch_ffn *ffn,
                                             enum arch_ffn_kind kind, uint32_t layer,
                                             uint32_t expert, uint32_t part);
/* The layout this layer is stored in: the first whose gate is there; else the first. */
const struct arch_ffn *checkpoint_find_layout(const struct checkpoint *c, enum arch_ffn_kind kind,
                                              uint32_t layer);
