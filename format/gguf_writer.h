/* Writing a GGUF file, version 3, from front to back: keys, then the announcement of every tensor,
 * then their data in the order announced. The file appears whole or not at all
 * (format/write_file.h), and memory is needed for the head only.
 *
 *     gguf_writer_open
 *     gguf_writer_u32, ..., gguf_writer_array + elements      any number, keys unique
 *     gguf_writer_tensor                                       any number, names unique
 *     gguf_writer_begin_data
 *     gguf_writer_data                                         in pieces of any size
 *     gguf_writer_commit
 *
 * What cannot fail for reasons outside the program (order, sizes) is asserted; memory and disk may
 * run out, which the first of gguf_writer_begin_data, _data and _commit to notice tells.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "format/error.h"
#include "format/gguf.h"
#include "format/write_file.h"

struct gguf_writer_tensor {
    uint64_t offset, bytes; /* relative to the data */
};

struct gguf_writer {
    struct write_file file;
    uint8_t *pairs, *infos; /* the two lists of the head, as they will stand in the file */
    uint64_t pairs_bytes, infos_bytes, pairs_room, infos_room;
    uint64_t n_pairs, n_tensors;
    uint64_t array_left; /* elements of the last array that are still to come */
    enum gguf_value array_type;
    struct gguf_writer_tensor *tensors;
    uint64_t data_bytes;  /* of all tensors, padded */
    uint64_t data_start;  /* in the file */
    uint64_t next_tensor; /* whose data comes next */
    uint64_t next_byte;   /* of it */
    bool out_of_memory;
};

bool gguf_writer_open(struct gguf_writer *writer, const char *path, struct error *err);

void gguf_writer_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_writer_u64(struct gguf_writer *writer, const char *key, uint64_t value);
void gguf_writer_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_writer_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_writer_string(struct gguf_writer *writer, const char *key, const char *text,
                        uint64_t bytes);
/* An array of n elements of a type; then exactly n calls of the function of that type. */
void gguf_writer_array(struct gguf_writer *writer, const char *key, enum gguf_value type,
                       uint64_t n);
void gguf_writer_element_u32(struct gguf_writer *writer, uint32_t value);
void gguf_writer_element_i32(struct gguf_writer *writer, int32_t value);
void gguf_writer_element_f32(struct gguf_writer *writer, float value);
void gguf_writer_element_bool(struct gguf_writer *writer, bool value);
void gguf_writer_element_string(struct gguf_writer *writer, const char *text, uint64_t bytes);

/* Announces a tensor; `type` is one of known size. dims: the contiguous one first, up to 4.
 * Returns the bytes of its data. */
uint64_t gguf_writer_tensor(struct gguf_writer *writer, const char *name, uint32_t n_dims,
                            const uint64_t *dims, uint32_t type);
/* Ends the head; from here on only data. */
bool gguf_writer_begin_data(struct gguf_writer *writer, struct error *err);
/* The next bytes of the data of the tensor that is not yet complete; never across its end. */
bool gguf_writer_data(struct gguf_writer *writer, const void *data, uint64_t bytes,
                      struct error *err);
/* After commit or abort the structure is closed. */
bool gguf_writer_commit(struct gguf_writer *writer, struct error *err);
void gguf_writer_abort(struct gguf_writer *writer);
