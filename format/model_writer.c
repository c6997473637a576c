/* Writing a .moxie file: weights as they come, then the small sections, table and header. */
#include "format/model_writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/compress.h"
#include "format/model_layout.h"
#include "format/write_file.h"

/* Bytes that grow; `data` is NULL while there are none. */
struct bytes {
    uint8_t *data;
    uint64_t used, room;
};

struct item { /* one metadata key */
    char *key;
    uint32_t type;
    uint64_t value; /* of a scalar */
    uint64_t count;
    uint8_t *pool; /* what goes to the pool: string, elements; NULL for scalars. A string array has
                      its count + 1 offsets first, counted from the end of these offsets */
    uint64_t pool_bytes;
};

struct model_writer {
    struct write_file file;
    enum compress compress;
    struct bytes items;     /* struct item */
    struct bytes tensors;   /* struct layout_tensor */
    struct bytes names;     /* the index's pool */
    struct bytes directory; /* struct layout_expert_layer */
    struct bytes sections;  /* struct layout_section */
    struct bytes tokenizer, chat_template;
    bool has_tokenizer;
};

static bool out_of_memory(const struct model_writer *w, struct error *err)
{
    return error_set(err, "out of memory while writing %s", w->file.path);
}

static void *bytes_grow(struct bytes *bytes, uint64_t more)
{
    if (more > bytes->room - bytes->used) {
        uint64_t room = (bytes->used + more) * 2;
        uint8_t *data = realloc(bytes->data, room);
        if (!data) {
            return NULL;
        }
        bytes->data = data;
        bytes->room = room;
    }
    bytes->used += more;
    return bytes->data + bytes->used - more;
}

static bool bytes_append(struct bytes *bytes, const void *data, uint64_t n)
{
    void *place = n > 0 ? bytes_grow(bytes, n) : NULL;
    if (place) {
        memcpy(place, data, n);
    }
    return place || n == 0;
}

static bool bytes_align(struct bytes *bytes, uint64_t alignment)
{
    static const uint8_t zeros[LAYOUT_TENSOR_ALIGN];
    return bytes_append(bytes, zeros, layout_align(bytes->used, alignment) - bytes->used);
}

static struct model_writer *open_writer(const char *path, enum compress compress, bool planned,
                                        struct error *err)
{
    struct model_writer *w = calloc(1, sizeof(*w));
    if (!w) {
        error_set(err, "out of memory while creating %s", path);
        return NULL;
    }
    w->compress = compress;
    if (planned ? !write_file_open_planned(&w->file, path, err)
                : !write_file_open(&w->file, path, err)) {
        free(w);
        return NULL;
    }
    static const struct layout_header blank; /* the magic comes last: half a file is none */
    if (!write_file_append(&w->file, &blank, sizeof(blank), err) ||
        !write_file_align(&w->file, LAYOUT_PAGE, err)) {
        model_writer_abort(w);
        return NULL;
    }
    return w;
}

struct model_writer *model_writer_open(const char *path, enum compress compress, struct error *err)
{
    return open_writer(path, compress, false, err);
}

struct model_writer *model_writer_open_plan(const char *path, struct error *err)
{
    return open_writer(path, COMPRESS_NONE, true, err);
}

void model_writer_abort(struct model_writer *w)
{
    if (!w) {
        return;
    }
    struct item *items = (void *)w->items.data;
    for (uint64_t i = 0; i < w->items.used / sizeof(*items); i++) {
        free(items[i].key);
        free(items[i].pool);
    }
    struct bytes *all[] = {&w->items,    &w->tensors,   &w->names,        &w->directory,
                           &w->sections, &w->tokenizer, &w->chat_template};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        free(all[i]->data);
    }
    write_file_abort(&w->file);
    free(w);
}

uint64_t model_writer_bytes(const struct model_writer *w)
{
    return w->file.bytes;
}

/* ---- metadata ---- */

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
        !bytes_append(&w->items, &item, sizeof(item))) {
        free(item.key);
        free(item.pool);
        out_of_memory(w, err);
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
static bool pool_item(struct bytes *pool, struct item *item, uint64_t *offset)
{
    if (item->type != METADATA_STRING && !bytes_align(pool, sizeof(uint64_t))) {
        return false;
    }
    *offset = pool->used;
    if (item->type == METADATA_STRING_ARRAY) {
        uint64_t *ends = (void *)item->pool;
        for (uint64_t i = 0; i <= item->count; i++) {
            ends[i] += pool->used + (item->count + 1) * sizeof(*ends);
        }
    }
    return bytes_append(pool, item->pool, item->pool_bytes);
}

/* ---- sections ---- */

/* Starts a section at the end of the file, up to which everything is written. */
static bool begin_section(struct model_writer *w, enum layout_kind kind, struct error *err)
{
    if (!write_file_align(&w->file, LAYOUT_PAGE, err)) {
        return false;
    }
    struct layout_section section = {.kind = kind, .offset = w->file.bytes};
    return bytes_append(&w->sections, &section, sizeof(section)) || out_of_memory(w, err);
}

static bool write_section(struct model_writer *w, enum layout_kind kind, const struct bytes *bytes,
                          struct error *err)
{
    if (!begin_section(w, kind, err) ||
        !write_file_append(&w->file, bytes->data, bytes->used, err)) {
        return false;
    }
    struct layout_section *section =
        (void *)(w->sections.data + w->sections.used - sizeof(*section));
    section->stored_bytes = section->raw_bytes = bytes->used;
    section->xxh3 = XXH3_64bits(bytes->data, bytes->used);
    return true;
}

/* A list section: head, records, pool. */
static bool write_list(struct model_writer *w, enum layout_kind kind, const struct bytes *records,
                       uint64_t record_bytes, const struct bytes *pool, struct error *err)
{
    struct layout_list list = {.count = records->used / record_bytes, .pool_bytes = pool->used};
    struct bytes all = {0};
    bool ok = (bytes_append(&all, &list, sizeof(list)) &&
               bytes_append(&all, records->data, records->used) &&
               bytes_append(&all, pool->data, pool->used)) ||
              out_of_memory(w, err);
    ok = ok && write_section(w, kind, &all, err);
    free(all.data);
    return ok;
}

static bool write_metadata(struct model_writer *w, struct error *err)
{
    struct item *items = (void *)w->items.data;
    uint64_t n = w->items.used / sizeof(*items);
    if (n > 0) {
        qsort(items, n, sizeof(*items), compare_items);
    }
    struct bytes records = {0}, pool = {0};
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
        ok = (ok && bytes_append(&pool, items[i].key, record.key_bytes) &&
              bytes_append(&records, &record, sizeof(record))) ||
             out_of_memory(w, err);
    }
    ok = ok && write_list(w, LAYOUT_METADATA, &records, sizeof(struct layout_metadata), &pool, err);
    free(records.data);
    free(pool.data);
    return ok;
}

bool model_writer_tokenizer(struct model_writer *w, const void *section, uint64_t bytes,
                            struct error *err)
{
    assert(!w->has_tokenizer);
    w->has_tokenizer = true;
    return bytes_append(&w->tokenizer, section, bytes) || out_of_memory(w, err);
}

bool model_writer_chat_template(struct model_writer *w, const char *text, uint64_t bytes,
                                struct error *err)
{
    assert(w->chat_template.used == 0);
    return bytes_append(&w->chat_template, text, bytes) || out_of_memory(w, err);
}

/* ---- weights ---- */

/* The smaller of the two compressed forms if it saves at least `gain`; *stored is allocated, or
 * NULL if the raw bytes are to be kept. */
static bool compress_smallest(const struct layout_tensor *record, const void *raw, uint64_t gain,
                              enum codec *codec, void **stored, uint64_t *stored_bytes)
{
    static const enum codec codecs[] = {CODEC_ZSTD, CODEC_SPLIT_ZSTD};
    uint32_t width = compress_split_width((enum dtype)record->type);
    *codec = CODEC_RAW;
    *stored = NULL;
    *stored_bytes = record->raw_bytes - gain + 1;
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        uint64_t bytes = 0;
        void *candidate = malloc(compress_bound(record->raw_bytes));
        if (!candidate ||
            !compress_encode(codecs[i], width, raw, record->raw_bytes, candidate, &bytes)) {
            free(candidate);
            free(*stored);
            return false;
        }
        if (bytes < *stored_bytes) {
            free(*stored);
            *stored = candidate;
            *stored_bytes = bytes;
            *codec = codecs[i];
        } else {
            free(candidate);
        }
    }
    return true;
}

static bool is_float(uint32_t type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16;
}

/* Writes the raw bytes of a record, compressed or not, and adds the record to the index. */
static bool write_tensor(struct model_writer *w, struct layout_tensor *record, const char *name,
                         const void *raw, struct error *err)
{
    size_t name_bytes = strlen(name);
    if (name_bytes > LAYOUT_MAX_NAME || !layout_is_name(name, name_bytes)) {
        return error_set(err,
                         "%s cannot hold the tensor name \"%.300s\"; names are 1 to %d "
                         "printable ASCII characters",
                         w->file.path, name, LAYOUT_MAX_NAME);
    }
    enum codec codec = CODEC_RAW;
    void *stored = NULL;
    uint64_t stored_bytes = 0;
    bool automatic = w->compress == COMPRESS_AUTO;
    if (w->compress == COMPRESS_ZSTD || (automatic && is_float(record->type))) {
        uint64_t gain = automatic ? record->raw_bytes / 16 : 1;
        if (!compress_smallest(record, raw, gain, &codec, &stored, &stored_bytes)) {
            return out_of_memory(w, err);
        }
    }
    uint64_t alignment = role_is_slab(record->role) ? LAYOUT_PAGE : LAYOUT_TENSOR_ALIGN;
    bool ok = write_file_align(&w->file, alignment, err);
    record->name_offset = w->names.used;
    record->name_bytes = (uint32_t)name_bytes;
    record->codec = codec;
    record->offset = w->file.bytes;
    record->stored_bytes = stored ? stored_bytes : record->raw_bytes;
    if (w->file.planned) {
        write_file_skip(&w->file, record->stored_bytes);
    } else {
        record->xxh3 = XXH3_64bits(stored ? stored : raw, record->stored_bytes);
        ok = ok && write_file_append(&w->file, stored ? stored : raw, record->stored_bytes, err);
    }
    free(stored);
    return ok && ((bytes_append(&w->names, name, name_bytes) &&
                   bytes_append(&w->tensors, record, sizeof(*record))) ||
                  out_of_memory(w, err));
}

static bool shape_fits(const struct dtype_info *type, uint64_t rows, uint64_t cols)
{
    return rows <= LAYOUT_MAX_DIMENSION && cols <= LAYOUT_MAX_DIMENSION &&
           dtype_matrix_fits(type, rows, cols);
}

bool model_writer_tensor(struct model_writer *w, const struct tensor_spec *spec, const void *matrix,
                         struct error *err)
{
    const struct dtype_info *type = dtype_info(spec->type);
    assert(type && !role_is_slab(spec->role));
    if (!shape_fits(type, spec->rows, spec->cols)) {
        return error_set(err,
                         "%s cannot hold tensor %.300s: [%" PRIu64 ", %" PRIu64
                         "] does not suit type %s, whose rows are made of blocks of %" PRIu32,
                         w->file.path, spec->name, spec->rows, spec->cols, type->name,
                         type->block_elements);
    }
    struct layout_tensor record = {
        .role = spec->role,
        .layer = spec->layer,
        .expert = MODEL_FILE_NO_EXPERT,
        .type = spec->type,
        .rows = spec->rows,
        .cols = spec->cols,
        .raw_bytes = dtype_matrix_bytes(type, spec->rows, spec->cols),
    };
    return write_tensor(w, &record, spec->name, matrix, err);
}

uint64_t model_writer_down_offset(const struct expert_spec *spec)
{
    return layout_align(dtype_matrix_bytes(dtype_info(spec->type), 2 * spec->ffn, spec->hidden),
                        LAYOUT_TENSOR_ALIGN);
}

uint64_t model_writer_slab_bytes(const struct expert_spec *spec)
{
    return model_writer_down_offset(spec) +
           dtype_matrix_bytes(dtype_info(spec->down_type), spec->hidden, spec->ffn);
}

/* Enters a slab that was written last into its layer's directory record. */
static bool enter_expert(struct model_writer *w, struct error *err)
{
    const struct layout_tensor *slab =
        (const void *)(w->tensors.data + w->tensors.used - sizeof(*slab));
    bool raw = slab->codec == CODEC_RAW;
    if (slab->expert == 0) {
        struct layout_expert_layer layer = {
            .layer = slab->layer,
            .n_experts = 1,
            .first_record = w->tensors.used / sizeof(*slab) - 1,
            .base = slab->offset,
            .slab_bytes = slab->raw_bytes,
            .stride = raw ? layout_align(slab->raw_bytes, LAYOUT_PAGE) : 0,
        };
        return bytes_append(&w->directory, &layer, sizeof(layer)) || out_of_memory(w, err);
    }
    assert(w->directory.used > 0);
    struct layout_expert_layer *layer =
        (void *)(w->directory.data + w->directory.used - sizeof(*layer));
    assert(layer->layer == slab->layer && layer->n_experts == slab->expert);
    assert(w->tensors.used / sizeof(*slab) - 1 == layer->first_record + slab->expert);
    layer->n_experts++;
    if (slab->raw_bytes != layer->slab_bytes) {
        layer->slab_bytes = 0;
    }
    if (!raw || layer->slab_bytes == 0 ||
        slab->offset != layer->base + slab->expert * layer->stride) {
        layer->stride = 0;
    }
    return true;
}

bool model_writer_expert(struct model_writer *w, const struct expert_spec *spec, const void *slab,
                         struct error *err)
{
    const struct dtype_info *type = dtype_info(spec->type);
    const struct dtype_info *down_type = dtype_info(spec->down_type);
    assert(type && down_type && !(spec->shared && spec->expert > 0));
    if (spec->ffn > LAYOUT_MAX_DIMENSION / 2 || !shape_fits(type, 2 * spec->ffn, spec->hidden) ||
        !shape_fits(down_type, spec->hidden, spec->ffn)) {
        return error_set(err,
                         "%s cannot hold expert %.300s: hidden %" PRIu64 " and ffn %" PRIu64
                         " do not suit types %s and %s, whose rows are made of blocks of %" PRIu32
                         " and %" PRIu32,
                         w->file.path, spec->name, spec->hidden, spec->ffn, type->name,
                         down_type->name, type->block_elements, down_type->block_elements);
    }
    struct layout_tensor record = {
        .role = spec->shared ? ROLE_SHARED_EXPERT : ROLE_EXPERT,
        .layer = spec->layer,
        .expert = spec->expert,
        .type = spec->type,
        .down_type = spec->down_type,
        .rows = 2 * spec->ffn,
        .cols = spec->hidden,
        .down_offset = model_writer_down_offset(spec),
        .raw_bytes = model_writer_slab_bytes(spec),
    };
    return write_tensor(w, &record, spec->name, slab, err) &&
           (spec->shared || enter_expert(w, err));
}

/* ---- the end ---- */

static int compare_layers(const void *a, const void *b)
{
    uint32_t x = ((const struct layout_expert_layer *)a)->layer;
    uint32_t y = ((const struct layout_expert_layer *)b)->layer;
    return x < y ? -1 : x > y;
}

static bool write_small_sections(struct model_writer *w, struct error *err)
{
    struct layout_section weights = {
        .kind = LAYOUT_WEIGHTS,
        .offset = LAYOUT_PAGE,
        .stored_bytes = w->file.bytes - LAYOUT_PAGE,
        .raw_bytes = w->file.bytes - LAYOUT_PAGE,
    };
    const struct bytes no_pool = {0};
    if (w->directory.used > 0) {
        qsort(w->directory.data, w->directory.used / sizeof(struct layout_expert_layer),
              sizeof(struct layout_expert_layer), compare_layers);
    }
    return (bytes_append(&w->sections, &weights, sizeof(weights)) || out_of_memory(w, err)) &&
           write_metadata(w, err) &&
           (!w->has_tokenizer || write_section(w, LAYOUT_TOKENIZER, &w->tokenizer, err)) &&
           (w->chat_template.used == 0 ||
            write_section(w, LAYOUT_CHAT_TEMPLATE, &w->chat_template, err)) &&
           write_list(w, LAYOUT_TENSOR_INDEX, &w->tensors, sizeof(struct layout_tensor), &w->names,
                      err) &&
           write_list(w, LAYOUT_EXPERT_DIRECTORY, &w->directory, sizeof(struct layout_expert_layer),
                      &no_pool, err);
}

static bool write_table_and_header(struct model_writer *w, struct error *err)
{
    if (!write_file_align(&w->file, LAYOUT_PAGE, err)) {
        return false;
    }
    struct layout_header header = {
        .magic = LAYOUT_MAGIC,
        .version = LAYOUT_VERSION,
        .file_bytes = w->file.bytes + w->sections.used,
        .table_offset = w->file.bytes,
        .n_sections = (uint32_t)(w->sections.used / sizeof(struct layout_section)),
        .section_record_bytes = sizeof(struct layout_section),
        .table_xxh3 = XXH3_64bits(w->sections.data, w->sections.used),
    };
    header.header_xxh3 = XXH3_64bits(&header, sizeof(header) - sizeof(header.header_xxh3));
    return write_file_append(&w->file, w->sections.data, w->sections.used, err) &&
           write_file_patch(&w->file, 0, &header, sizeof(header), err);
}

/* Opens the temporary file as any reader will, so that nothing is renamed that could not be opened:
 * a tensor given twice, a layer number out of range. */
static bool check_readable(struct model_writer *w, struct error *err)
{
    struct model_file file;
    struct error fault;
    if (!model_file_open(&file, w->file.temporary, &fault)) {
        return error_set(err, "%s was not written, since it could not be read: %s", w->file.path,
                         fault.text);
    }
    model_file_close(&file);
    return true;
}

bool model_writer_finish(struct model_writer *w, struct error *err)
{
    bool ok = write_small_sections(w, err) && write_table_and_header(w, err) &&
              check_readable(w, err) && write_file_commit(&w->file, err);
    model_writer_abort(w);
    return ok;
}

bool model_writer_finish_plan(struct model_writer *w, struct model_file *file, struct error *err)
{
    bool ok = write_small_sections(w, err) && write_table_and_header(w, err) &&
              model_file_open_descriptor(file, w->file.descriptor, w->file.path, err);
    model_writer_abort(w);
    return ok;
}
