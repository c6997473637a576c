/* Conversions of tiny checkpoints as a library, and the comparison of what is stored with what the
 * checkpoint holds. */
#pragma once

#include "engine/model/conversion.h"
#include "tests/tools/tiny_checkpoint.h"

/* What a test asks for; zero-initialised: f32 if no mix is named. */
struct tiny_conversion {
    const char *mix;
    bool keep;
    struct conversion_pattern patterns[4];
    uint32_t n_patterns;
    struct conversion_options options;
    struct thread_pool *pool;
    const char *tokenizer, *chat_template; /* given to the source; or NULL */
    uint64_t tokenizer_bytes;
};

/* What the tests want to know of it. */
struct tiny_conversion_report {
    uint64_t n_items, planned_bytes, file_bytes;
    uint64_t fallbacks[TYPE_N_REASONS]; /* matrices */
};

/* From one path to another, and nothing more; work may be NULL. */
bool tiny_conversion_between(const char *from, const char *to, const struct conversion_rules *rules,
                             enum compress compress, const struct conversion_work *work,
                             struct error *err);

/* Where the result of the last conversion is. */
const char *tiny_conversion_path(void);
/* report may be NULL. */
bool tiny_conversion_run(const char *path, const struct tiny_conversion *request,
                         struct tiny_conversion_report *report, struct error *err);
/* Converts, opens and verifies the result. */
void tiny_conversion_open(struct model_file *file, const char *folder,
                          const struct tiny_conversion *request,
                          struct tiny_conversion_report *report);
/* The tensor's bytes; free them. */
void *tiny_conversion_load(const struct model_file *file, const struct tensor_record *record);

/* The Hugging Face name of a role, told here once more so that the tables are not their own
 * witness; valid until the next call. */
const char *tiny_conversion_source_name(uint32_t role, uint32_t layer);
/* NMSE of rows first, first + step, ... of a stored matrix against the checkpoint's tensor. */
double tiny_conversion_compare_rows(const void *matrix, enum dtype type, uint64_t matrix_rows,
                                    uint64_t cols, uint64_t first, uint64_t step,
                                    const float *expected, uint64_t rows);
/* Largest NMSE over all tensors of the file; checks that the file has every tensor once. */
double tiny_conversion_compare(const struct tiny_checkpoint *tiny, const struct model_file *file);
