/* The head of one GGUF file: pairs and tensors, checked (format/gguf_head.c; for format/gguf*.c).
 */
#pragma once

#include "format/gguf.h"

/* Appends the pairs and tensors of the mapped file `file` (an index into gguf->files) to the lists.
 * Pairs are appended only if keep_pairs; gguf->pairs_by_key is built then. The caller closes what
 * was appended, also after a failure. `split` gets the split keys. */
struct gguf_split {
    bool present;
    uint64_t number, count, tensors; /* split.no, split.count, split.tensors.count */
};
bool gguf_read_head(struct gguf *gguf, uint32_t file, bool keep_pairs, struct gguf_split *split,
                    struct error *err);

/* Sorts the tensors by name; false with a sentence if two have the same. */
bool gguf_index_tensors(struct gguf *gguf, struct error *err);
