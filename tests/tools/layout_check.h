/* Checkpoints of raw tensors, converted and compared value by value with what a test works out from
 * those tensors. What fails, fails the test. */
#pragma once

#include <stdint.h>

#include "format/model_file.h"
#include "tests/tools/raw_checkpoint.h"

/* The dims of a raw tensor, and where those of the first layer are. */
#define SHAPE(...) ((const uint64_t[]){__VA_ARGS__, 0})
#define P "model.layers.0."

/* What element (row, col) of a matrix should be. */
struct expectation {
    const struct raw_checkpoint *raw;
    uint32_t layer, expert;
    float (*value)(const struct expectation *e, uint64_t row, uint64_t col);
};

/* A config.json made of a format that has one %s. The text lives until the next call. */
const char *layout_check_config(const char *format, const char *more);
/* Converts and opens; mix NULL keeps the types. */
void layout_check_convert(struct model_file *file, const char *folder, const char *mix);
/* The folder is refused, and the sentence says this. */
void layout_check_refused(const char *folder, const char *sentence);
/* Element `index` of the raw tensor that the format, given layer and expert, names. */
float layout_check_value(const struct expectation *e, const char *format, uint64_t index);
void layout_check_matrix(const struct model_file *file, const struct raw_checkpoint *raw,
                         uint32_t role, uint32_t layer, uint64_t rows, uint64_t cols,
                         float (*value)(const struct expectation *, uint64_t, uint64_t));
/* The bytes of a tensor or slab; free them. */
uint8_t *layout_check_load(const struct model_file *file, const struct tensor_record *record);
/* One expert: gate, up, down. */
void layout_check_slab(const struct model_file *file, const struct raw_checkpoint *raw,
                       const struct tensor_record *record, uint32_t expert,
                       float (*const value[3])(const struct expectation *, uint64_t, uint64_t));
/* All n experts of a layer. */
void layout_check_experts(const struct model_file *file, const struct raw_checkpoint *raw,
                          uint32_t layer, uint32_t n,
                          float (*const value[3])(const struct expectation *, uint64_t, uint64_t));
