/* Reading GGUF, versions 2 and 3, one file or a split one.
 *
 * A file is a header, pairs of key and value, records of tensors, and the tensors' data, all
 * little-endian (the format's own description, docs/gguf.md of ggml, and the checks of its reader).
 * A model may be split into files PREFIX-00001-of-00003.gguf, each a whole GGUF file; the first one
 * has the pairs. Files are mapped; opening touches nothing but the heads. Every file is untrusted:
 * what is found here has been checked; keys and names are UTF-8 without control characters, the
 * bytes of string values are anything.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"
#include "format/map.h"

#define GGUF_DEFAULT_ALIGNMENT 32

/* X(NAME, id, "name", bytes of a value; 0: the value tells) */
#define GGUF_VALUES(X) \
    X(U8, 0, "u8", 1) \
    X(I8, 1, "i8", 1) \
    X(U16, 2, "u16", 2) \
    X(I16, 3, "i16", 2) \
    X(U32, 4, "u32", 4) \
    X(I32, 5, "i32", 4) \
    X(F32, 6, "f32", 4) \
    X(BOOL, 7, "bool", 1) \
    X(STRING, 8, "string", 0) \
    X(ARRAY, 9, "array", 0) \
    X(U64, 10, "u64", 8) \
    X(I64, 11, "i64", 8) \
    X(F64, 12, "f64", 8)
enum gguf_value {
#define X(NAME, id, name, bytes) GGUF_##NAME = id,
    GGUF_VALUES(X)
#undef X
};
const char *gguf_value_name(enum gguf_value value);

struct gguf_pair {
    const char *key; /* in the mapping, not terminated */
    uint64_t key_bytes;
    enum gguf_value type; /* of the value, or of an array's elements; never GGUF_ARRAY */
    bool is_array;
    uint64_t count;       /* elements; 1 unless is_array */
    const uint8_t *value; /* packed elements, not aligned; strings each behind a u64 length */
    uint64_t value_bytes;
};

#define GGUF_MAX_DIMS 4
#define GGUF_MAX_NAME 63 /* bytes of a tensor's name: ggml's limit */

struct gguf_tensor {
    const char *name; /* in the mapping, not terminated */
    uint32_t name_bytes;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* the contiguous one first; 1 beyond n_dims */
    uint32_t type;                /* ggml's number; gguf_type_name, dtype_info */
    uint32_t file;                /* index into files */
    const uint8_t *data;          /* in the mapping, not aligned to more than the file is */
    uint64_t bytes;               /* of a type of unknown size: up to the next tensor */
};

struct gguf {
    uint32_t version; /* of the first file */
    struct map *files;
    uint32_t n_files;
    struct gguf_pair *pairs; /* of the first file, in its order */
    uint64_t n_pairs;
    struct gguf_tensor *tensors; /* of all files, in their order; names unique */
    uint64_t n_tensors;
    uint32_t *pairs_by_key, *tensors_by_name; /* sorted */
};

/* Whether a file starts like a GGUF file; false also if it cannot be read. */
bool gguf_is_file(const char *path);

/* On failure nothing is left to close. Of a split file the first part is to be named. */
bool gguf_open(struct gguf *gguf, const char *path, struct error *err);
void gguf_close(struct gguf *gguf);

/* NULL if there is none of this name. */
const struct gguf_pair *gguf_find_pair(const struct gguf *gguf, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, const char *name);

/* Element `index` of an array, or the value itself (index 0): false if the pair is NULL, the index
 * lies outside, or the value is of another kind. u64: any integer type that is not negative; i64:
 * any integer type that fits; f64: floats and integers. Strings of arrays are found by walking. */
bool gguf_value_u64(const struct gguf_pair *pair, uint64_t index, uint64_t *value);
bool gguf_value_i64(const struct gguf_pair *pair, uint64_t index, int64_t *value);
bool gguf_value_f64(const struct gguf_pair *pair, uint64_t index, double *value);
bool gguf_value_bool(const struct gguf_pair *pair, uint64_t index, bool *value);
bool gguf_value_string(const struct gguf_pair *pair, const char **text, uint64_t *bytes);

/* Walks the strings of a pair (array or single) in order:
 *     for (struct gguf_strings walk = gguf_strings(pair); gguf_next_string(&walk, &text, &bytes);)
 * A pair of another type, or NULL, has none. */
struct gguf_strings {
    const uint8_t *next;
    uint64_t left;
};
struct gguf_strings gguf_strings(const struct gguf_pair *pair);
bool gguf_next_string(struct gguf_strings *walk, const char **text, uint64_t *bytes);

/* "q4_k"; "type 999" for unknown ones, written to text. */
const char *gguf_type_name(uint32_t type, char text[24]);
/* Elements and bytes of a block; false if the size of the type is unknown. */
bool gguf_type_size(uint32_t type, uint32_t *block_elements, uint32_t *block_bytes);

/* Tells the system that these bytes (all of one file of the mapping) are not needed again soon, so
 * that a file larger than memory can be read through. */
void gguf_release(const struct gguf *gguf, const uint8_t *data, uint64_t bytes);
