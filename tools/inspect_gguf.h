/* What the two forms of `moxie inspect` share for GGUF files: text (inspect_gguf.c) and JSON
 * (inspect_gguf_json.c). */
#pragma once

#include "format/error.h"
#include "format/gguf.h"

#define INSPECT_GGUF_MAX_TYPES 64

struct inspect_gguf_summary {
    struct {
        uint32_t type;
        uint64_t weights, bytes, tensors;
    } types[INSPECT_GGUF_MAX_TYPES]; /* in the order of their first tensor; more are not counted */
    uint32_t n_types;
    uint64_t weights, bytes; /* of all tensors */
    uint64_t file_bytes;     /* of all parts */
    bool runs;               /* whether this version can run it; else why_not */
    struct error why_not;
};

/* Everything as one JSON object; of long arrays the beginning, unless all. False if memory or the
 * output fails. */
bool inspect_gguf_print_json(const struct gguf *gguf, const struct inspect_gguf_summary *summary,
                             bool all);
