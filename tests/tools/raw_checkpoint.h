/* Hugging Face checkpoints of raw tensors, for layouts that tiny_checkpoint.h does not have: the
 * test names every tensor, gets random bytes that are valid for the dtype, and works out for itself
 * what they mean. */
#pragma once

#include <stdint.h>

#include "tests/check.h"

struct raw_tensor {
    char name[128];
    const char *dtype; /* "F32", "BF16", "F16", "F8_E4M3", "U8" */
    uint32_t rank;
    uint64_t shape[4];
    uint64_t elements;
    uint8_t *bytes;
};

struct raw_checkpoint {
    struct check_random random;
    struct raw_tensor tensors[160];
    uint32_t n;
};

/* Adds a tensor of random values; shape ends with 0. BF16, F16 and F32 lie in +-1; F8 is any
 * number; U8 any byte from `low` up, below `high`. */
void raw_checkpoint_add(struct raw_checkpoint *checkpoint, const char *name, const char *dtype,
                        const uint64_t *shape);
void raw_checkpoint_add_bytes(struct raw_checkpoint *checkpoint, const char *name, uint32_t low,
                              uint32_t high, const uint64_t *shape);
/* The tensor of this name; fails the test if there is none. */
const struct raw_tensor *raw_checkpoint_find(const struct raw_checkpoint *checkpoint,
                                             const char *name);
/* Element i of a tensor, by formulas of the test's own. */
float raw_checkpoint_value(const struct raw_tensor *tensor, uint64_t i);

/* Makes check_temp_dir()/name with config.json and model.safetensors; returns the path. The folder
 * is removed at the end. */
const char *raw_checkpoint_write(const struct raw_checkpoint *checkpoint, const char *name,
                                 const char *config);
void raw_checkpoint_free(struct raw_checkpoint *checkpoint);
