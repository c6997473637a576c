/* A Hugging Face checkpoint to a .moxie file.
 *
 * Streaming: in memory are one encoded matrix or expert at a time and some rows of its source.
 * Threads share the rows of a matrix; the bytes written do not depend on their number, nor on time
 * or place: the same checkpoint and options give the same file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/threads.h"
#include "engine/model/checkpoint.h"
#include "engine/model/type_choice.h"
#include "format/dtype.h"
#include "format/error.h"
#include "format/model_writer.h"

struct conversion_options {
    enum dtype type; /* of the matrices; type_choice.h tells the exceptions */
    enum compress compress;
    const char *name;      /* of the model; NULL: the folder's */
    const char *converter; /* for the metadata: program and version */
    const void *tokenizer; /* section, made by tokenizer_pack; NULL: none */
    uint64_t tokenizer_bytes;
    const char *chat_template; /* NULL: none */
    uint64_t chat_template_bytes;
    struct thread_pool *pool; /* NULL: no threads */
    /* Bytes of the source done, of all. Called from the calling thread, at least once for every
     * 8 MiB; false stops the conversion. May be NULL. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
};

/* Matrices of the source that could not have the type their file type gives them, by type and
 * reason. */
struct conversion_fallback {
    enum dtype given;
    enum type_choice_reason reason;
    uint64_t count;
    char first[64]; /* name of the first */
};

struct conversion_report {
    uint64_t source_bytes, file_bytes;
    uint64_t tensors; /* matrices and experts written */
    struct conversion_fallback fallbacks[8];
    uint32_t n_fallbacks;
};

/* Writes the file at `path`. On failure, and when stopped, what stood there before is untouched and
 * no temporary file is left. *report may be NULL. */
bool conversion_run(const struct checkpoint *checkpoint, const char *path,
                    const struct conversion_options *options, struct conversion_report *report,
                    struct error *err);
