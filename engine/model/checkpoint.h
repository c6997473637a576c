/* A Hugging Face checkpoint: a folder with config.json and safetensors, read by the table of its
 * architecture.
 *
 * Opening checks everything there is to check before work begins: that the family is known, the
 * numbers are possible, and the folder holds exactly the tensors that family and numbers ask for,
 * each of the right shape and a readable dtype.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/model/arch.h"
#include "engine/model/hparams.h"
#include "format/error.h"
#include "format/safetensors.h"

struct checkpoint {
    char *name; /* last component of the folder's path */
    const struct arch *arch;
    struct hparams hparams;
    struct safetensors tensors;
    bool tied; /* the embedding is the head: lm_head is absent or not used */
};

/* On failure nothing is left to close. */
bool checkpoint_open(struct checkpoint *checkpoint, const char *folder, struct error *err);
void checkpoint_close(struct checkpoint *checkpoint);

/* Whether this model has the weight of a row (in this layer, if the row is one of layers). */
bool checkpoint_has(const struct checkpoint *checkpoint, const struct arch_weight *row,
                    uint32_t layer);

/* Experts of a layer (1 in a dense one), their names, and their width. */
uint32_t checkpoint_experts(const struct checkpoint *checkpoint, uint32_t layer);
const struct arch_ffn_names *checkpoint_ffn_names(const struct checkpoint *checkpoint,
                                                  uint32_t layer);
uint32_t checkpoint_ffn(const struct checkpoint *checkpoint, uint32_t layer);

/* The tensor whose name the pattern gives (arch_tensor_name). Never NULL for the names that
 * checkpoint_has and checkpoint_ffn_names tell of. */
const struct safetensors_tensor *checkpoint_tensor(const struct checkpoint *checkpoint,
                                                   const char *pattern, uint32_t layer,
                                                   uint32_t expert);
