/* The metadata of a .moxie file while it is written: items as they come, sorted at the end. */
#include <stdlib.h>
#include <string.h>

#include "format/model_writer_internal.h"

struct item { /* one metadata key */
    char *key;
    uint32_t type;
    uint64_t value; /* of a scalar */
    uint64_t count;
    uint8_t *pool; /* what goes to the pool: string, elements; NULL for scalars. A string array has
                      its count + 1 offsets first, counted from the end of these offsets */
    uint64_t pool_bytes;
};

static bool align(struct writer_bytes *bytes, uint64_t alignment)
{
    static const uint8_t zeros[LAYOUT_TENSOR_ALIGN];
    return writer_bytes_append(bytes, zeros, layout_align(bytes->used, alignment) - bytes->used);
}

/* A new item with room for pool_bytes; NULL (and a sentence) if the key cannot be stored. */
static struct item *add_item(struct model_writer *w, const char *key, uint32_t type, uint64_t count,
                             uint64_t pool_bytes, struct error *err)
{
    size_t key_bytes = strlen(key);
    if (key_bytes > LAYOUT_MAX_KEY || !layout_is_name(key, key_bytes)) {
        error_set(err,
                  "%s cannot hold the metadata key \"%.300s\"; keys are 1 to %d printable "
                  "ASCII characters",
                  w->file.path, key, LAYOUT_MAX_KEY);
        return NULL;
    }
    struct item item = {.key = strdup(key), .type = type, .count = count, .pool_bytes = pool_bytes};
    item.pool = pool_bytes > 0 ? malloc(pool_bytes) : NULL;
    if (!item.key || (pool_bytes > 0 && !item.pool) ||
        !writer_bytes_append(&w->items, &item, sizeof(item))) {
        free(item.key);
        free(item.pool);
        model_writer_out_of_memory(w, err);
        return NULL;
    }
    return (struct item *)(void *)(w->items.data + w->items.used - sizeof(item));
}

static bool add_scalar(struct model_writer *w, const char *key, uint32_t type, uint64_t value,
                       struct error *err)
{
    struct item *item = add_item(w, key, type, 1, 0, err);
    if (item) {
        item->value = value;
    }
    return item != NULL;
}

static bool add_elements(struct model_writer *w, const char *key, uint32_t type,
                         const void *elements, uint64_t count, uint64_t element_bytes,
                         struct error *err)
{
    struct item *item = add_item(w, key, type, count, count * element_bytes, err);
    if (item && item->pool) {
        memcpy(item->pool, elements, item->pool_bytes);
    }
    return item != NULL;
}

bool model_writer_u64(struct model_writer *w, const char *key, uint64_t value, struct error *err)
{
    return add_scalar(w, key, METADATA_U64, value, err);
}

bool model_writer_i64(struct model_writer *w, const char *key, int64_t value, struct error *err)
{
    return add_scalar(w, key, METADATA_I64, (uint64_t)value, err);
}

bool model_writer_f64(struct model_writer *w, const char *key, double value, struct error *err)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return add_scalar(w, key, METADATA_F64, bits, err);
}

bool model_writer_bool(struct model_writer *w, const char *key, bool value, struct error *err)
{
    return add_scalar(w, key, METADATA_BOOL, value, err);
}

bool model_writer_string(struct model_writer *w, const char *key, const char *text, uint64_t bytes,
                         struct error *err)
{
    return add_elements(w, key, METADATA_STRING, text, bytes, 1, err);
}

bool model_writer_u64_array(struct model_writer *w, const char *key, const uint64_t *values,
                            uint64_t count, struct error *err)
{
    return add_elements(w, key, METADATA_U64_ARRAY, values, count, sizeof(*values), err);
}

bool model_writer_f64_array(struct model_writer *w, const char *key, const double *values,
                            uint64_t count, struct error *err)
{
    return add_elements(w, key, METADATA_F64_ARRAY, values, count, sizeof(*values), err);
}

bool model_writer_string_array(struct model_writer *w, const char *key, const char *const *texts,
                               const uint64_t *bytes, uint64_t count, struct error *err)
{
    uint64_t head = (count + 1) * sizeof(uint64_t), all = head;
    for (uint64_t i = 0; i < count; i++) {
        all += bytes[i];
    }
    struct item *item = add_item(w, key, METADATA_STRING_ARRAY, count, all, err);
    if (!item) {
        return false;
    }
    uint64_t *ends = (void *)item->pool;
    ends[0] = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (bytes[i] > 0) {
            memcpy(item->pool + head + ends[i], texts[i], bytes[i]);
        }
        ends[i + 1] = ends[i] + bytes[i];
    }
    return true;
}

static int compare_items(const void *a, const void *b)
{
    /* Keys have no byte above 0x7E, so this is the order of the specification. */
    return strcmp(((const struct item *)a)->key, ((const struct item *)b)->key);
}

/* Appends what the item keeps in the pool, and returns its offset there. */
static bool pool_item(struct writer_bytes *pool, struct item *item, uint64_t *offset)
{
    if (item->type != METADATA_STRING && !align(pool, sizeof(uint64_t))) {
        return false;
    }
    *offset = pool->used;
    if (item->type == METADATA_STRING_ARRAY) {
        uint64_t *ends = (void *)item->pool;
        for (uint64_t i = 0; i <= item->count; i++) {
            ends[i] += pool->used + (item->count + 1) * sizeof(*ends);
        }
    }
    return writer_bytes_append(pool, item->pool, item->pool_bytes);
}

bool model_writer_metadata(struct model_writer *w, struct error *err)
{
    struct item *items = (void *)w->items.data;
    uint64_t n = w->items.used / sizeof(*items);
    if (n > 0) {
        qsort(items, n, sizeof(*items), compare_items);
    }
    struct writer_bytes records = {0}, pool = {0};
    bool ok = true;
    for (uint64_t i = 0; i < n && ok; i++) {
        if (i > 0 && strcmp(items[i - 1].key, items[i].key) == 0) {
            ok = error_set(err, "%s was not written: the metadata key %s is given twice",
                           w->file.path, items[i].key);
            break;
        }
        struct layout_metadata record = {
            .key_bytes = (uint32_t)strlen(items[i].key),
            .type = items[i].type,
            .value = items[i].value,
            .count = items[i].count,
        };
        bool scalar = items[i].type >= METADATA_U64 && items[i].type <= METADATA_BOOL;
        ok = scalar || pool_item(&pool, &items[i], &record.value);
        record.key_offset = pool.used;
        ok = (ok && writer_bytes_append(&pool, items[i].key, record.key_bytes) &&
              writer_bytes_append(&records, &record, sizeof(record))) ||
             model_writer_out_of_memory(w, err);
    }
    ok = ok && model_writer_list(w, LAYOUT_METADATA, &records, sizeof(struct layout_metadata),
                                 &pool, err);
    free(records.data);
    free(pool.data);
    return ok;
}

void model_writer_free_metadata(struct model_writer *w)
{
    struct item *items = (void *)w->items.data;
    for (uint64_t i = 0; i < w->items.used / sizeof(*items); i++) {
        free(items[i].key);
        free(items[i].pool);
    }
}
