/* What the forms of `moxie inspect` share: text (inspect.c), JSON (inspect_json.c), and those of
 * GGUF files (inspect_gguf.c, inspect_gguf_json.c). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/dtype.h"
#include "format/model_file.h"

#define INSPECT_MAX_TYPES 64

struct inspect_summary {
    /* By row of DTYPES; an expert's gate/up and down count for their own types. */
    uint64_t weights[INSPECT_MAX_TYPES];
    uint64_t bytes[INSPECT_MAX_TYPES]; /* decoded */
    uint64_t all_weights;
    uint64_t stored_bytes, raw_bytes;              /* of all tensors */
    uint64_t tokenizer_bytes, chat_template_bytes; /* 0: none */
    uint32_t tokens; /* of the vocabulary; 0 if the section cannot be read */
};
void inspect_summarise(const struct model_file *file, struct inspect_summary *summary);
double inspect_bits(uint64_t bytes, const struct inspect_summary *summary);

/* Values of metadata entries of fitting type. */
uint64_t inspect_u64(const struct metadata_entry *entry, uint64_t index);
double inspect_f64(const struct metadata_entry *entry, uint64_t index);
bool inspect_bool(const struct metadata_entry *entry);
bool inspect_is_array(enum metadata_type type);

/* "zstd"; the name of a role, or its number written into text. */
const char *inspect_codec(enum codec codec);
const char *inspect_role(uint32_t role, char text[16]);

/* A NUL-terminated copy in which bytes that are not UTF-8 are '?'. NULL if memory is out. */
char *inspect_text(const char *text, uint64_t bytes);
/* The same for terminals: control characters are '?', too. Free it. */
char *inspect_printable(const char *text, uint64_t bytes);

/* False if memory or the output fails. */
bool inspect_print_json(const struct model_file *file, const struct inspect_summary *summary);

/* A GGUF file, in either form (inspect_gguf.c); returns the exit code. */
int inspect_gguf(const char *path, bool json, bool all);
