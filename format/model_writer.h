/* Writing a .moxie file: streaming, atomic.
 *
 * The caller announces metadata, tokenizer and template first, then writes tensors one after the
 * other in the order in which they shall lie in the file; only the index is kept in memory. All
 * goes to a temporary name in the same folder; model_writer_finish writes index and header, syncs,
 * and renames. Until then, and after any failure, whatever stood at the final name is untouched.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"
#include "format/model_file.h"

struct model_writer;

enum compress {
    COMPRESS_NONE,
    COMPRESS_ZSTD, /* whichever of zstd and byte-split zstd is smaller; raw if neither gains */
    COMPRESS_AUTO, /* as ZSTD for f32, f16 and bf16 where at least 1/16 is gained; raw otherwise */
};

struct model_writer *model_writer_open(const char *path, enum compress compress, struct error *err);

/* A writer that only plans: tensors are handed to it without their bytes (NULL), and the result is
 * a model_file in memory that has everything but weights; its length is that of the file. `path` is
 * for messages. */
struct model_writer *model_writer_open_plan(const char *path, struct error *err);

/* Keys may come in any order, each once; they are sorted at the end. Texts are copied. */
bool model_writer_u64(struct model_writer *w, const char *key, uint64_t value, struct error *err);
bool model_writer_i64(struct model_writer *w, const char *key, int64_t value, struct error *err);
bool model_writer_f64(struct model_writer *w, const char *key, double value, struct error *err);
bool model_writer_bool(struct model_writer *w, const char *key, bool value, struct error *err);
bool model_writer_string(struct model_writer *w, const char *key, const char *text, uint64_t bytes,
                         struct error *err);
bool model_writer_u64_array(struct model_writer *w, const char *key, const uint64_t *values,
                            uint64_t count, struct error *err);
bool model_writer_f64_array(struct model_writer *w, const char *key, const double *values,
                            uint64_t count, struct error *err);
/* texts[i] is bytes[i] long. */
bool model_writer_string_array(struct model_writer *w, const char *key, const char *const *texts,
                               const uint64_t *bytes, uint64_t count, struct error *err);
bool model_writer_tokenizer(struct model_writer *w, const void *section, uint64_t bytes,
                            struct error *err);
bool model_writer_chat_template(struct model_writer *w, const char *text, uint64_t bytes,
                                struct error *err);

/* A matrix in the layout of format/dtype.h. */
struct tensor_spec {
    const char *name;
    enum tensor_role role;
    uint32_t layer;
    enum dtype type;
    uint64_t rows, cols;
};
bool model_writer_tensor(struct model_writer *w, const struct tensor_spec *spec, const void *matrix,
                         struct error *err);

/* The next expert of a layer; expert numbers ascend from 0 and a layer is finished before the next
 * begins. `slab` is gate/up (2 ffn rows of hidden, interleaved), then down (hidden rows of ffn) at
 * model_writer_down_offset. */
struct expert_spec {
    const char *name;
    uint32_t layer, expert;
    enum dtype type, down_type;
    uint64_t hidden, ffn;
    bool shared; /* ROLE_SHARED_EXPERT: number 0 of its own, before or after the layer's others */
};
uint64_t model_writer_down_offset(const struct expert_spec *spec);
uint64_t model_writer_slab_bytes(const struct expert_spec *spec);
bool model_writer_expert(struct model_writer *w, const struct expert_spec *spec, const void *slab,
                         struct error *err);

/* Bytes written so far. */
uint64_t model_writer_bytes(const struct model_writer *w);

/* Completes the file and frees the writer, in every case. */
bool model_writer_finish(struct model_writer *w, struct error *err);
/* The same for a writer that only plans. *file is open; whoever reads weights sets its origin. */
bool model_writer_finish_plan(struct model_writer *w, struct model_file *file, struct error *err);
/* Drops the temporary file and frees the writer. NULL is fine. */
void model_writer_abort(struct model_writer *w);
