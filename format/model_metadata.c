/* The metadata section of a .moxie file: sorted records over a pool, searched in place. */
#include <inttypes.h>
#include <string.h>

#include "format/model_tables.h"

static int compare_keys(const uint8_t *a, uint64_t a_bytes, const uint8_t *b, uint64_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    if (order != 0) {
        return order;
    }
    return a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

/* Whether count elements of 8 bytes at `offset` lie in the pool, aligned. */
static bool elements_fit(uint64_t offset, uint64_t count, uint64_t pool_bytes)
{
    return offset % 8 == 0 && offset <= pool_bytes && count <= (pool_bytes - offset) / 8;
}

static bool value_is_sound(const struct layout_metadata *record, const uint8_t *pool,
                           uint64_t pool_bytes)
{
    switch (record->type) {
    case METADATA_U64:
    case METADATA_I64:
    case METADATA_F64:
        return record->count == 1;
    case METADATA_BOOL:
        return record->count == 1 && record->value <= 1;
    case METADATA_STRING:
        return record->value <= pool_bytes && record->count <= pool_bytes - record->value;
    case METADATA_U64_ARRAY:
    case METADATA_F64_ARRAY:
        return elements_fit(record->value, record->count, pool_bytes);
    case METADATA_STRING_ARRAY:
        break;
    default:
        return false;
    }
    if (record->count >= pool_bytes ||
        !elements_fit(record->value, record->count + 1, pool_bytes)) {
        return false;
    }
    const void *start = pool + record->value;
    const uint64_t *ends = start;
    for (uint64_t i = 0; i < record->count; i++) {
        if (ends[i] > ends[i + 1]) {
            return false;
        }
    }
    return ends[record->count] <= pool_bytes;
}

bool model_metadata_open(struct model_file *file, struct error *err)
{
    struct model_file_tables *tables = file->tables;
    const struct layout_list *list = model_file_list(
        file, LAYOUT_METADATA, sizeof(struct layout_metadata), LAYOUT_MAX_METADATA, err);
    if (!list) {
        return false;
    }
    const void *records = list + 1;
    tables->metadata = records;
    tables->n_metadata = list->count;
    tables->metadata_pool = (const uint8_t *)(tables->metadata + list->count);
    const struct layout_metadata *previous = NULL;
    for (uint64_t i = 0; i < list->count; i++) {
        const struct layout_metadata *record = &tables->metadata[i];
        const uint8_t *pool = tables->metadata_pool;
        if (record->key_bytes > LAYOUT_MAX_KEY || record->key_offset > list->pool_bytes ||
            record->key_bytes > list->pool_bytes - record->key_offset ||
            !layout_is_name((const char *)pool + record->key_offset, record->key_bytes)) {
            return error_set(err, "%s is damaged: metadata key %" PRIu64 " is not a text in it",
                             file->map.path, i);
        }
        const uint8_t *key = pool + record->key_offset;
        if (previous && compare_keys(pool + previous->key_offset, previous->key_bytes, key,
                                     record->key_bytes) >= 0) {
            return error_set(err, "%s is damaged: its metadata keys are not in order at %.*s",
                             file->map.path, (int)record->key_bytes, (const char *)key);
        }
        if (!value_is_sound(record, pool, list->pool_bytes)) {
            return error_set(err,
                             "%s is damaged: the value of its metadata key %.*s makes no sense",
                             file->map.path, (int)record->key_bytes, (const char *)key);
        }
        previous = record;
    }
    return true;
}

/* The record of a key if it has one of two types, else NULL. */
static const struct layout_metadata *find(const struct model_file *file, const char *key,
                                          uint32_t type, uint32_t other_type)
{
    const struct model_file_tables *tables = file->tables;
    uint64_t key_bytes = strlen(key), low = 0, high = tables->n_metadata;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct layout_metadata *record = &tables->metadata[middle];
        int order = compare_keys(tables->metadata_pool + record->key_offset, record->key_bytes,
                                 (const uint8_t *)key, key_bytes);
        if (order == 0) {
            return record->type == type || record->type == other_type ? record : NULL;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static const void *pool_at(const struct model_file *file, uint64_t offset)
{
    return file->tables->metadata_pool + offset;
}

bool model_file_get_u64(const struct model_file *file, const char *key, uint64_t *value)
{
    const struct layout_metadata *record = find(file, key, METADATA_U64, METADATA_I64);
    if (!record || (record->type == METADATA_I64 && record->value > INT64_MAX)) {
        return false;
    }
    *value = record->value;
    return true;
}

bool model_file_get_f64(const struct model_file *file, const char *key, double *value)
{
    const struct layout_metadata *record = find(file, key, METADATA_F64, METADATA_F64);
    if (!record) {
        return false;
    }
    memcpy(value, &record->value, sizeof(*value));
    return true;
}

bool model_file_get_bool(const struct model_file *file, const char *key, bool *value)
{
    const struct layout_metadata *record = find(file, key, METADATA_BOOL, METADATA_BOOL);
    if (!record) {
        return false;
    }
    *value = record->value == 1;
    return true;
}

bool model_file_get_string(const struct model_file *file, const char *key, const char **text,
                           uint64_t *bytes)
{
    const struct layout_metadata *record = find(file, key, METADATA_STRING, METADATA_STRING);
    if (!record) {
        return false;
    }
    *text = pool_at(file, record->value);
    *bytes = record->count;
    return true;
}

bool model_file_get_u64_array(const struct model_file *file, const char *key,
                              const uint64_t **values, uint64_t *count)
{
    const struct layout_metadata *record = find(file, key, METADATA_U64_ARRAY, METADATA_U64_ARRAY);
    if (!record) {
        return false;
    }
    *values = pool_at(file, record->value);
    *count = record->count;
    return true;
}

bool model_file_get_f64_array(const struct model_file *file, const char *key, const double **values,
                              uint64_t *count)
{
    const struct layout_metadata *record = find(file, key, METADATA_F64_ARRAY, METADATA_F64_ARRAY);
    if (!record) {
        return false;
    }
    *values = pool_at(file, record->value);
    *count = record->count;
    return true;
}

uint64_t model_file_n_metadata(const struct model_file *file)
{
    return file->tables->n_metadata;
}

void model_file_metadata_at(const struct model_file *file, uint64_t index,
                            struct metadata_entry *entry)
{
    assert(index < file->tables->n_metadata);
    const struct layout_metadata *record = &file->tables->metadata[index];
    *entry = (struct metadata_entry){
        .key = pool_at(file, record->key_offset),
        .key_bytes = record->key_bytes,
        .type = (enum metadata_type)record->type,
        .count = record->count,
    };
    bool scalar = record->type >= METADATA_U64 && record->type <= METADATA_BOOL;
    entry->value = scalar ? &record->value : pool_at(file, record->value);
}

void model_file_string_at(const struct model_file *file, const struct metadata_entry *entry,
                          uint64_t index, const char **text, uint64_t *bytes)
{
    assert(entry->type == METADATA_STRING_ARRAY && index < entry->count);
    const uint64_t *ends = entry->value;
    *text = pool_at(file, ends[index]);
    *bytes = ends[index + 1] - ends[index];
}
