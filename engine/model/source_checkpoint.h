/* A Hugging Face checkpoint as a source: what source_checkpoint.c (the folder, config.json) and
 * source_checkpoint_tensors.c (which tensor is which matrix) share. Private to them. */
#pragma once

#include "engine/model/source.h"
#include "format/safetensors.h"

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
