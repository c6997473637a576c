/* A .moxie file as a source: for other types of the same model, and for export. */
#include "engine/model/source.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/model/model.h"

struct moxie_source {
    struct source source; /* first, so that a pointer to it is one to this */
    struct model_file file;
};

/* ---- matrices ---- */

/* A view of a matrix at `data` in the layout of format/dtype.h. */
static struct source_matrix view(enum dtype dtype, const uint8_t *data, uint64_t rows,
                                 uint64_t cols)
{
    const struct dtype_info *type = dtype_info(dtype);
    if (type->block_elements > 1) {
        return source_matrix_whole(SOURCE_PLANES, type, data, rows, cols);
    }
    enum source_encoding encoding = dtype == DTYPE_F32   ? SOURCE_F32
                                    : dtype == DTYPE_F16 ? SOURCE_F16
                                                         : SOURCE_BF16;
    struct source_matrix matrix = source_matrix_whole(encoding, NULL, data, rows, cols);
    matrix.row_bytes = dtype_row_stride(type, 0, cols);
    return matrix;
}

/* The stored bytes of a record: its matrices where the codec is raw. Of a compressed one they only
 * tell load_matrix which record it is; its second matrix is known by one byte more. */
static const uint8_t *stored(const struct moxie_source *m, const struct tensor_record *record)
{
    return m->file.map.data + record->offset;
}

static bool find_matrix(const struct source *source, const struct arch_weight *row, uint32_t layer,
                        struct source_matrix *matrix)
{
    const struct moxie_source *m = (const struct moxie_source *)source;
    struct tensor_record record;
    if (!model_file_find_tensor(&m->file, row->role,
                                row->flags & WEIGHT_PER_LAYER ? layer : MODEL_FILE_NO_LAYER,
                                &record)) {
        return false;
    }
    *matrix = view(record.type, stored(m, &record), record.rows, record.cols);
    return true;
}

static void find_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                     uint32_t expert, uint32_t part, struct source_matrix *matrix)
{
    const struct moxie_source *m = (const struct moxie_source *)source;
    struct tensor_record record;
    struct expert_layer directory;
    bool found;
    if (kind == FFN_SHARED) {
        found = model_file_find_tensor(&m->file, ROLE_SHARED_EXPERT, layer, &record);
    } else {
        found = model_file_find_expert_layer(&m->file, layer, &directory);
        model_file_tensor_at(&m->file, directory.first_record + expert, &record);
    }
    assert(found); /* model_bind has seen them */
    (void)found;
    const uint8_t *data = stored(m, &record);
    if (part == SOURCE_DOWN) {
        data += record.codec == CODEC_RAW ? record.down_offset : 1;
        *matrix = view(record.down_type, data, record.cols, record.rows / 2);
        return;
    }
    *matrix = view(record.type, data, record.rows, record.cols);
    matrix->rows = matrix->group_rows = record.rows / 2;
    matrix->first_row = part;
    matrix->row_step = 2;
}

/* The record whose stored bytes begin at or one byte before `offset`. */
static void find_record(const struct model_file *file, uint64_t offset,
                        struct tensor_record *record)
{
    uint64_t low = 0, high = model_file_n_tensors(file);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        model_file_tensor_at(file, middle, record);
        if (record->offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    model_file_tensor_at(file, low, record);
}

static bool load_matrix(const struct source *source, struct source_matrix *matrix, void **memory,
                        struct error *err)
{
    const struct moxie_source *m = (const struct moxie_source *)source;
    uint64_t offset = (uint64_t)(matrix->data - m->file.map.data);
    struct tensor_record record;
    find_record(&m->file, offset, &record);
    if (record.codec == CODEC_RAW) {
        return true;
    }
    uint8_t *bytes = malloc(record.raw_bytes);
    if (!bytes) {
        return error_set(err, "not enough memory to decode %.*s", (int)record.name_bytes,
                         record.name);
    }
    if (!model_file_load(&m->file, &record, bytes, err)) {
        free(bytes);
        return false;
    }
    *memory = bytes;
    matrix->data = bytes + (offset > record.offset ? record.down_offset : 0);
    return true;
}

static void release_rows(const struct source *source, const struct source_matrix *matrix,
                         uint64_t row, uint64_t n)
{
    const struct moxie_source *m = (const struct moxie_source *)source;
    const uint8_t *begin;
    uint64_t bytes, page = (uint64_t)sysconf(_SC_PAGESIZE);
    source_matrix_span(matrix, row, n, &begin, &bytes);
    if (begin < m->file.map.data || begin >= m->file.map.data + m->file.map.bytes) {
        return; /* decoded elsewhere */
    }
    uint64_t first = (uint64_t)(begin - m->file.map.data);
    uint64_t end = first + bytes;
    first -= first % page;
    madvise((void *)(m->file.map.data + first), end - first, MADV_DONTNEED);
}

static bool is_part(const struct source *source, const char *path)
{
    struct stat output, file;
    return stat(path, &output) == 0 && stat(source->path, &file) == 0 &&
           file.st_dev == output.st_dev && file.st_ino == output.st_ino;
}

static void close_file(struct source *source)
{
    struct moxie_source *m = (struct moxie_source *)source;
    model_file_close(&m->file);
    free(m);
}

static const struct source_functions functions = {
    .matrix = find_matrix,
    .ffn = find_ffn,
    .load = load_matrix,
    .release = release_rows,
    .is_part = is_part,
    .close = close_file,
};

/* ---- opening ---- */

/* Which layers are dense shows by the routers that are not there. */
static bool find_dense_layers(struct moxie_source *m, struct error *err)
{
    struct hparams *hparams = &m->source.hparams;
    hparams->n_dense_layers = 0;
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        struct tensor_record record;
        bool router = model_file_find_tensor(&m->file, ROLE_ROUTER, layer, &record);
        bool expected = hparams_layer_has_router(hparams, layer);
        if (router && !expected) {
            return error_set(err, "%s has a router in layer %" PRIu32 " where it should have none",
                             m->source.path, layer);
        }
        if (!router && expected) {
            hparams->dense_layers[hparams->n_dense_layers++] = layer;
        }
    }
    return true;
}

static bool read_head(struct moxie_source *m, struct error *err)
{
    struct source *source = &m->source;
    struct model model;
    if (!model_bind(&model, &m->file, err)) {
        return false;
    }
    source->arch = model.arch;
    source->hparams = model.hparams;
    source->tied = model.tied;
    model_free(&model);
    const char *name = "";
    uint64_t bytes = 0;
    model_file_get_string(&m->file, "name", &name, &bytes);
    source->name = strndup(name, bytes);
    if (!source->name) {
        return error_set(err, "not enough memory to open %s", source->path);
    }
    if (!model_file_tokenizer(&m->file, &source->tokenizer, &source->tokenizer_bytes)) {
        source->tokenizer = NULL;
    }
    if (!model_file_chat_template(&m->file, &source->chat_template, &source->chat_template_bytes)) {
        source->chat_template = NULL;
    }
    source->n_files = 1;
    source->n_tensors = model_file_n_tensors(&m->file);
    return find_dense_layers(m, err);
}

struct source *source_open_moxie(const char *path, struct error *err)
{
    struct moxie_source *m = calloc(1, sizeof(*m));
    if (!m) {
        error_set(err, "not enough memory to open %s", path);
        return NULL;
    }
    struct source *source = &m->source;
    source->functions = &functions;
    source->format = "moxie";
    source->path = strdup(path);
    bool ok = source->path || error_set(err, "not enough memory to open %s", path);
    ok = ok && model_file_open(&m->file, path, err) && read_head(m, err);
    if (!ok) {
        source_close(&source);
        return NULL;
    }
    return source;
}
