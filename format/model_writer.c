/* Writing a .moxie file: weights as they come, then the small sections, table and header. */
#include "format/model_writer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/compress.h"
#include "format/model_writer_internal.h"

bool model_writer_out_of_memory(const struct model_writer *w, struct error *err)
{
    return error_set(err, "out of memory while writing %s", w->file.path);
}

static void *grow(struct writer_bytes *bytes, uint64_t more)
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

bool writer_bytes_append(struct writer_bytes *bytes, const void *data, uint64_t n)
{
    void *place = n > 0 ? grow(bytes, n) : NULL;
    if (place) {
        memcpy(place, data, n);
    }
    return place || n == 0;
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
    model_writer_free_metadata(w);
    struct writer_bytes *all[] = {&w->items,    &w->tensors,   &w->names,        &w->directory,
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

/* ---- sections ---- */

/* Starts a section at the end of the file, up to which everything is written. */
static bool begin_section(struct model_writer *w, enum layout_kind kind, struct error *err)
{
    if (!write_file_align(&w->file, LAYOUT_PAGE, err)) {
        return false;
    }
    struct layout_section section = {.kind = kind, .offset = w->file.bytes};
    return writer_bytes_append(&w->sections, &section, sizeof(section)) ||
           model_writer_out_of_memory(w, err);
}

static bool write_section(struct model_writer *w, enum layout_kind kind,
                          const struct writer_bytes *bytes, struct error *err)
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
bool model_writer_list(struct model_writer *w, enum layout_kind kind,
                       const struct writer_bytes *records, uint64_t record_bytes,
                       const struct writer_bytes *pool, struct error *err)
{
    struct layout_list list = {.count = records->used / record_bytes, .pool_bytes = pool->used};
    struct writer_bytes all = {0};
    bool ok = (writer_bytes_append(&all, &list, sizeof(list)) &&
               writer_bytes_append(&all, records->data, records->used) &&
               writer_bytes_append(&all, pool->data, pool->used)) ||
              model_writer_out_of_memory(w, err);
    ok = ok && write_section(w, kind, &all, err);
    free(all.data);
    return ok;
}

bool model_writer_tokenizer(struct model_writer *w, const void *section, uint64_t bytes,
                            struct error *err)
{
    assert(!w->has_tokenizer);
    w->has_tokenizer = true;
    return writer_bytes_append(&w->tokenizer, section, bytes) || model_writer_out_of_memory(w, err);
}

bool model_writer_chat_template(struct model_writer *w, const char *text, uint64_t bytes,
                                struct error *err)
{
    assert(w->chat_template.used == 0);
    return writer_bytes_append(&w->chat_template, text, bytes) ||
           model_writer_out_of_memory(w, err);
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
            return model_writer_out_of_memory(w, err);
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
    return ok && ((writer_bytes_append(&w->names, name, name_bytes) &&
                   writer_bytes_append(&w->tensors, record, sizeof(*record))) ||
                  model_writer_out_of_memory(w, err));
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
        return writer_bytes_append(&w->directory, &layer, sizeof(layer)) ||
               model_writer_out_of_memory(w, err);
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
    const struct writer_bytes no_pool = {0};
    if (w->directory.used > 0) {
        qsort(w->directory.data, w->directory.used / sizeof(struct layout_expert_layer),
              sizeof(struct layout_expert_layer), compare_layers);
    }
    return (writer_bytes_append(&w->sections, &weights, sizeof(weights)) ||
            model_writer_out_of_memory(w, err)) &&
           model_writer_metadata(w, err) &&
           (!w->has_tokenizer || write_section(w, LAYOUT_TOKENIZER, &w->tokenizer, err)) &&
           (w->chat_template.used == 0 ||
            write_section(w, LAYOUT_CHAT_TEMPLATE, &w->chat_template, err)) &&
           model_writer_list(w, LAYOUT_TENSOR_INDEX, &w->tensors, sizeof(struct layout_tensor),
                             &w->names, err) &&
           model_writer_list(w, LAYOUT_EXPERT_DIRECTORY, &w->directory,
                             sizeof(struct layout_expert_layer), &no_pool, err);
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
