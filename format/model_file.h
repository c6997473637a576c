/* Reading a .moxie file (format/README.md is the specification).
 *
 * The file is mapped read-only and used in place: opening reads the header, the section table, the
 * metadata, the tensor index and the expert directory, checks every range in them, and touches no
 * weight. Everything in the file is untrusted. Pointers handed out point into the mapping and live
 * until model_file_close.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/dtype.h"
#include "format/error.h"
#include "format/map.h"
#include "format/roles.h"

#define MODEL_FILE_NO_LAYER UINT32_MAX
#define MODEL_FILE_NO_EXPERT UINT32_MAX

enum codec {
    CODEC_RAW = 0,
    CODEC_ZSTD = 1,
    CODEC_SPLIT_ZSTD = 2, /* byte k of every element (4 bytes in f32, else 2) together, then zstd */
};

/* One entry of the tensor index: a matrix, or one expert's slab. */
struct tensor_record {
    uint64_t index;   /* for model_file_tensor_at */
    const char *name; /* not NUL-terminated */
    uint32_t name_bytes;
    uint32_t role;   /* enum tensor_role, or a number this program does not know */
    uint32_t layer;  /* MODEL_FILE_NO_LAYER for tensors outside the layers */
    uint32_t expert; /* MODEL_FILE_NO_EXPERT unless it is a slab */
    /* A matrix: its type and shape. A slab: `type` and [rows, cols] = [2 ffn, hidden] of gate/up
     * with rows interleaved (gate 0, up 0, gate 1, ...), `down_type` and [hidden, ffn] of down,
     * which starts `down_offset` bytes into the slab. */
    enum dtype type;
    enum dtype down_type;
    uint64_t rows, cols;
    uint64_t down_offset;
    enum codec codec;
    uint64_t offset;       /* of the stored bytes, from the start of the file */
    uint64_t stored_bytes; /* as they lie in the file */
    uint64_t raw_bytes; /* decoded: what dtype_matrix_bytes says, for a slab down_offset + down */
    uint64_t xxh3;      /* of the stored bytes */
};

/* One entry of the expert directory: the feed-forward part of one layer. A dense layer is one
 * expert without a router. */
struct expert_layer {
    uint32_t layer;
    uint32_t n_experts;
    uint64_t first_record; /* index of expert 0 in the tensor index; the others follow in order */
    uint64_t base;         /* file offset of expert 0's slab */
    uint64_t slab_bytes;   /* raw bytes of every slab, 0 if they differ */
    uint64_t stride;       /* from one slab to the next in the file, 0 if irregular */
};

/* Where the weights of a file come from that has none itself (model_writer_finish_plan). */
struct model_file_origin {
    /* Makes the record of this number in the index; `destination` is its raw_bytes long. */
    bool (*load)(void *context, uint64_t record, void *destination, struct error *err);
    void (*close)(void *context); /* when the file is closed */
    void *context;
};

struct model_file {
    struct map map;
    struct model_file_origin origin;  /* load NULL: the weights are in the file */
    struct model_file_tables *tables; /* parsed sections; private to model_file.c */
};

/* On failure the file is closed and err says what is wrong with it. */
bool model_file_open(struct model_file *file, const char *path, struct error *err);
/* The same of an open descriptor, which stays the caller's; `path` is for messages. */
bool model_file_open_descriptor(struct model_file *file, int descriptor, const char *path,
                                struct error *err);
void model_file_close(struct model_file *file);

/* Typed metadata by key (binary search). False if the key is absent or has another type; an integer
 * key may be stored signed or unsigned. Strings and arrays point into the mapping; strings are not
 * NUL-terminated. */
bool model_file_get_u64(const struct model_file *file, const char *key, uint64_t *value);
bool model_file_get_f64(const struct model_file *file, const char *key, double *value);
bool model_file_get_bool(const struct model_file *file, const char *key, bool *value);
bool model_file_get_string(const struct model_file *file, const char *key, const char **text,
                           uint64_t *bytes);
bool model_file_get_u64_array(const struct model_file *file, const char *key,
                              const uint64_t **values, uint64_t *count);
bool model_file_get_f64_array(const struct model_file *file, const char *key, const double **values,
                              uint64_t *count);

/* Metadata by position, for inspect. */
enum metadata_type {
    METADATA_U64 = 1,
    METADATA_I64 = 2,
    METADATA_F64 = 3,
    METADATA_BOOL = 4,
    METADATA_STRING = 5,
    METADATA_U64_ARRAY = 6,
    METADATA_F64_ARRAY = 7,
    METADATA_STRING_ARRAY = 8,
};
struct metadata_entry {
    const char *key; /* not NUL-terminated */
    uint32_t key_bytes;
    enum metadata_type type;
    const void *value; /* scalar, string bytes, or array elements */
    uint64_t count;    /* bytes of a string, elements of an array, 1 for scalars */
};
uint64_t model_file_n_metadata(const struct model_file *file);
void model_file_metadata_at(const struct model_file *file, uint64_t index,
                            struct metadata_entry *entry);
/* Element of a METADATA_STRING_ARRAY. */
void model_file_string_at(const struct model_file *file, const struct metadata_entry *entry,
                          uint64_t index, const char **text, uint64_t *bytes);

/* The tokenizer section and the chat template; false if the file has none. */
bool model_file_tokenizer(const struct model_file *file, const void **section, uint64_t *bytes);
bool model_file_chat_template(const struct model_file *file, const char **text, uint64_t *bytes);

uint64_t model_file_n_tensors(const struct model_file *file);
void model_file_tensor_at(const struct model_file *file, uint64_t index,
                          struct tensor_record *record);
/* The one matrix with this role in this layer, or the layer's shared expert; false if there is
 * none. Not for the other experts. */
bool model_file_find_tensor(const struct model_file *file, uint32_t role, uint32_t layer,
                            struct tensor_record *record);

uint32_t model_file_n_expert_layers(const struct model_file *file);
void model_file_expert_layer_at(const struct model_file *file, uint32_t index,
                                struct expert_layer *layer);
/* False if the layer has no entry. */
bool model_file_find_expert_layer(const struct model_file *file, uint32_t layer,
                                  struct expert_layer *found);

/* The stored bytes in place if the codec is raw and the weights are in the file, else NULL. */
const void *model_file_raw(const struct model_file *file, const struct tensor_record *record);
/* Decodes into `destination` (record->raw_bytes long), whatever the codec and the origin. */
bool model_file_load(const struct model_file *file, const struct tensor_record *record,
                     void *destination, struct error *err);

/* Reads every byte of the file: all checksums, the padding, and that compressed tensors decode to
 * their length. Not for files with an origin. False at the first fault, which err names by section
 * or tensor. `progress` may be NULL; it is called with bytes done and bytes in all. */
bool model_file_verify(const struct model_file *file, void (*progress)(void *, uint64_t, uint64_t),
                       void *context, struct error *err);
