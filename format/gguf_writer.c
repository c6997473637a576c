#include "format/gguf_writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void release(struct gguf_writer *writer)
{
    free(writer->pairs);
    free(writer->infos);
    free(writer->tensors);
    writer->pairs = writer->infos = NULL;
    writer->tensors = NULL;
}

bool gguf_writer_open(struct gguf_writer *writer, const char *path, struct error *err)
{
    *writer = (struct gguf_writer){0};
    return write_file_open(&writer->file, path, err);
}

/* ---- the two lists of the head ---- */

static void put(struct gguf_writer *writer, uint8_t **list, uint64_t *used, uint64_t *room,
                const void *data, uint64_t bytes)
{
    if (*room - *used < bytes) {
        uint64_t larger = 2 * *room + bytes + 4096;
        uint8_t *grown = writer->out_of_memory ? NULL : realloc(*list, larger);
        if (!grown) {
            writer->out_of_memory = true;
            return;
        }
        *list = grown;
        *room = larger;
    }
    if (bytes > 0) {
        memcpy(*list + *used, data, bytes);
    }
    *used += bytes;
}

static void put_pair(struct gguf_writer *writer, const void *data, uint64_t bytes)
{
    put(writer, &writer->pairs, &writer->pairs_bytes, &writer->pairs_room, data, bytes);
}

static void put_info(struct gguf_writer *writer, const void *data, uint64_t bytes)
{
    put(writer, &writer->infos, &writer->infos_bytes, &writer->infos_room, data, bytes);
}

static void put_key(struct gguf_writer *writer, const char *key, uint32_t type)
{
    assert(writer->array_left == 0 && writer->data_start == 0);
    uint64_t bytes = strlen(key);
    put_pair(writer, &bytes, sizeof(bytes));
    put_pair(writer, key, bytes);
    put_pair(writer, &type, sizeof(type));
    writer->n_pairs++;
}

static void put_text(struct gguf_writer *writer, const char *text, uint64_t bytes)
{
    put_pair(writer, &bytes, sizeof(bytes));
    put_pair(writer, text, bytes);
}

void gguf_writer_u32(struct gguf_writer *writer, const char *key, uint32_t value)
{
    put_key(writer, key, GGUF_U32);
    put_pair(writer, &value, sizeof(value));
}

void gguf_writer_u64(struct gguf_writer *writer, const char *key, uint64_t value)
{
    put_key(writer, key, GGUF_U64);
    put_pair(writer, &value, sizeof(value));
}

void gguf_writer_f32(struct gguf_writer *writer, const char *key, float value)
{
    put_key(writer, key, GGUF_F32);
    put_pair(writer, &value, sizeof(value));
}

void gguf_writer_bool(struct gguf_writer *writer, const char *key, bool value)
{
    uint8_t byte = value;
    put_key(writer, key, GGUF_BOOL);
    put_pair(writer, &byte, sizeof(byte));
}

void gguf_writer_string(struct gguf_writer *writer, const char *key, const char *text,
                        uint64_t bytes)
{
    put_key(writer, key, GGUF_STRING);
    put_text(writer, text, bytes);
}

void gguf_writer_array(struct gguf_writer *writer, const char *key, enum gguf_value type,
                       uint64_t n)
{
    uint32_t id = type;
    put_key(writer, key, GGUF_ARRAY);
    put_pair(writer, &id, sizeof(id));
    put_pair(writer, &n, sizeof(n));
    writer->array_type = type;
    writer->array_left = n;
}

static void put_element(struct gguf_writer *writer, enum gguf_value type, const void *data,
                        uint64_t bytes)
{
    assert(writer->array_left > 0 && writer->array_type == type);
    put_pair(writer, data, bytes);
    writer->array_left--;
}

void gguf_writer_element_u32(struct gguf_writer *writer, uint32_t value)
{
    put_element(writer, GGUF_U32, &value, sizeof(value));
}

void gguf_writer_element_i32(struct gguf_writer *writer, int32_t value)
{
    put_element(writer, GGUF_I32, &value, sizeof(value));
}

void gguf_writer_element_f32(struct gguf_writer *writer, float value)
{
    put_element(writer, GGUF_F32, &value, sizeof(value));
}

void gguf_writer_element_bool(struct gguf_writer *writer, bool value)
{
    uint8_t byte = value;
    put_element(writer, GGUF_BOOL, &byte, sizeof(byte));
}

void gguf_writer_element_string(struct gguf_writer *writer, const char *text, uint64_t bytes)
{
    assert(writer->array_left > 0 && writer->array_type == GGUF_STRING);
    put_text(writer, text, bytes);
    writer->array_left--;
}

/* ---- tensors ---- */

static uint64_t padded(uint64_t bytes)
{
    return (bytes + GGUF_DEFAULT_ALIGNMENT - 1) / GGUF_DEFAULT_ALIGNMENT * GGUF_DEFAULT_ALIGNMENT;
}

static void remember(struct gguf_writer *writer, uint64_t bytes)
{
    uint64_t n = writer->n_tensors++;
    if ((n & (n - 1)) == 0 && !writer->out_of_memory) {
        void *grown = realloc(writer->tensors, (n ? 2 * n : 1) * sizeof(*writer->tensors));
        writer->out_of_memory = !grown;
        writer->tensors = grown ? grown : writer->tensors;
    }
    if (!writer->out_of_memory) {
        writer->tensors[n] = (struct gguf_writer_tensor){writer->data_bytes, bytes};
    }
    writer->data_bytes += padded(bytes);
}

uint64_t gguf_writer_tensor(struct gguf_writer *writer, const char *name, uint32_t n_dims,
                            const uint64_t *dims, uint32_t type)
{
    uint32_t block_elements = 1, block_bytes = 0;
    uint64_t name_bytes = strlen(name), elements = 1;
    bool is_known = gguf_type_size(type, &block_elements, &block_bytes);
    assert(is_known && dims[0] % block_elements == 0);
    assert(n_dims >= 1 && n_dims <= GGUF_MAX_DIMS && name_bytes <= GGUF_MAX_NAME);
    assert(writer->array_left == 0 && writer->data_start == 0);
    put_info(writer, &name_bytes, sizeof(name_bytes));
    put_info(writer, name, name_bytes);
    put_info(writer, &n_dims, sizeof(n_dims));
    for (uint32_t i = 0; i < n_dims; i++) {
        put_info(writer, &dims[i], sizeof(dims[i]));
        elements *= dims[i];
    }
    put_info(writer, &type, sizeof(type));
    put_info(writer, &writer->data_bytes, sizeof(writer->data_bytes));
    uint64_t bytes = is_known ? elements / block_elements * block_bytes : 0;
    remember(writer, bytes);
    return bytes;
}

bool gguf_writer_begin_data(struct gguf_writer *writer, struct error *err)
{
    assert(writer->array_left == 0 && writer->data_start == 0);
    if (writer->out_of_memory) {
        return error_set(err, "out of memory while writing %s", writer->file.path);
    }
    const uint32_t version = 3;
    struct write_file *file = &writer->file;
    bool ok = write_file_append(file, "GGUF", 4, err) &&
              write_file_append(file, &version, sizeof(version), err) &&
              write_file_append(file, &writer->n_tensors, sizeof(writer->n_tensors), err) &&
              write_file_append(file, &writer->n_pairs, sizeof(writer->n_pairs), err) &&
              write_file_append(file, writer->pairs, writer->pairs_bytes, err) &&
              write_file_append(file, writer->infos, writer->infos_bytes, err) &&
              write_file_align(file, GGUF_DEFAULT_ALIGNMENT, err);
    writer->data_start = file->bytes;
    return ok;
}

bool gguf_writer_data(struct gguf_writer *writer, const void *data, uint64_t bytes,
                      struct error *err)
{
    assert(writer->data_start > 0);
    /* Tensors without elements have no data to wait for. */
    while (writer->next_tensor < writer->n_tensors &&
           writer->tensors[writer->next_tensor].bytes == 0) {
        writer->next_tensor++;
    }
    assert(writer->next_tensor < writer->n_tensors);
    const struct gguf_writer_tensor *tensor = &writer->tensors[writer->next_tensor];
    assert(bytes <= tensor->bytes - writer->next_byte);
    if (!write_file_append(&writer->file, data, bytes, err)) {
        return false;
    }
    writer->next_byte += bytes;
    if (writer->next_byte < tensor->bytes) {
        return true;
    }
    writer->next_byte = 0;
    writer->next_tensor++;
    return write_file_align(&writer->file, GGUF_DEFAULT_ALIGNMENT, err);
}

bool gguf_writer_commit(struct gguf_writer *writer, struct error *err)
{
    bool is_whole = writer->file.bytes == writer->data_start + writer->data_bytes;
    assert(is_whole || writer->file.descriptor < 0);
    release(writer);
    return write_file_commit(&writer->file, err);
}

void gguf_writer_abort(struct gguf_writer *writer)
{
    release(writer);
    write_file_abort(&writer->file);
}
