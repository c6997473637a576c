/* The tensors of an exported GGUF file: planned first (names, shapes, types), then written one
 * after the other, row by row. */
#include "engine/model/gguf_export.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/quant_blocks.h"

#define PIECE_BYTES (4u << 20) /* written at a time, and at least one row */
#define MAX_PARTS 2            /* rows of the table that one tensor holds */

struct export_tensor {
    char name[GGUF_MAX_NAME + 1];
    uint32_t n_dims;
    uint64_t dims[3];
    enum dtype type;
    uint32_t layer;
    /* Rows of the table (several: each a part of the tensor's rows) ... */
    const struct arch_weight *parts[MAX_PARTS];
    const struct arch_place *places[MAX_PARTS];
    uint32_t n_parts;
    /* ... or one matrix of `experts` feed-forward networks, or (neither) RoPE's divisors. */
    enum arch_ffn_kind kind;
    uint32_t experts, ffn_part;
};

struct export
{
    const struct source *source;
    const struct gguf_export_options *options;
    struct export_tensor *tensors;
    uint64_t n_tensors;
    struct gguf_writer writer;
    uint8_t *piece; /* of blocks, on their way to the file */
    uint64_t piece_bytes, piece_room;
    uint8_t *planes; /* one row */
    float *values;   /* one row */
    uint64_t done, total;
};

/* ---- plan ---- */

static struct export_tensor *add_tensor(struct export *e, struct error *err)
{
    uint64_t n = e->n_tensors;
    if ((n & (n - 1)) == 0) {
        void *grown = realloc(e->tensors, (n ? 2 * n : 1) * sizeof(*e->tensors));
        if (!grown) {
            error_set(err, "out of memory while exporting %s", e->source->path);
            return NULL;
        }
        e->tensors = grown;
    }
    e->tensors[n] = (struct export_tensor){0};
    e->n_tensors++;
    return &e->tensors[n];
}

/* The name this model's file has for a row: of alternatives the first, but where q is made in one
 * step ("attn_q_b|attn_q") the last. */
static bool row_name(const struct source *source, const struct arch_weight *row, uint32_t layer,
                     char name[GGUF_MAX_NAME + 1])
{
    bool direct_q = (row->role == ROLE_LATENT_Q_NOPE || row->role == ROLE_LATENT_Q_ROPE) &&
                    source->hparams.q_rank == 0;
    return row->gguf[0].name &&
           arch_tensor_name(name, GGUF_MAX_NAME + 1, row->gguf[0].name, direct_q ? 1 : 0, layer, 0);
}

static struct export_tensor *find_tensor(struct export *e, const char *name)
{
    /* Parts of a tensor follow one another in the table. */
    for (uint64_t i = e->n_tensors; i-- > 0 && i + 4 >= e->n_tensors;) {
        if (strcmp(e->tensors[i].name, name) == 0) {
            return &e->tensors[i];
        }
    }
    return NULL;
}

static void set_shape(const struct source *source, const struct arch_weight *row,
                      struct export_tensor *tensor)
{
    const struct hparams *h = &source->hparams;
    uint64_t rows, cols;
    source_part_shape(source, row->gguf[0].part, arch_dim_value(row->rows, h),
                      arch_dim_value(row->cols, h), &rows, &cols);
    tensor->dims[0] = cols;
    tensor->dims[1] = rows;
    tensor->n_dims = row->rows == DIM_ONE ? 1 : 2;
    if (row->role == ROLE_LATENT_K_B || row->role == ROLE_LATENT_V_B) {
        tensor->dims[1] = rows / h->heads;
        tensor->dims[2] = h->heads;
        tensor->n_dims = 3;
    }
}

static bool plan_row(struct export *e, const struct arch_weight *row, uint32_t layer,
                     struct error *err)
{
    struct source_matrix matrix;
    char name[GGUF_MAX_NAME + 1];
    if (!source_has(e->source, row, layer) || !row_name(e->source, row, layer, name) ||
        !e->source->functions->matrix(e->source, row, layer, &matrix)) {
        return true;
    }
    enum dtype type = source_matrix_exact(&matrix);
    bool keep = (row->flags & WEIGHT_KEEP_F32) || row->rows == DIM_ONE;
    type = keep ? DTYPE_F32 : type;
    struct export_tensor *tensor = find_tensor(e, name);
    if (tensor && tensor->type != type) {
        return error_set(err,
                         "%s: the parts of %s have types %s and %s, which GGUF cannot express; "
                         "convert with one type for both",
                         e->source->path, name, dtype_name(tensor->type), dtype_name(type));
    }
    if (!tensor) {
        tensor = add_tensor(e, err);
        if (!tensor) {
            return false;
        }
        memcpy(tensor->name, name, sizeof(name));
        tensor->type = type;
        tensor->layer = layer;
        set_shape(e->source, row, tensor);
    }
    assert(tensor->n_parts < MAX_PARTS);
    tensor->places[tensor->n_parts] = &row->gguf[0];
    tensor->parts[tensor->n_parts++] = row;
    return true;
}

static bool plan_ffn_part(struct export *e, enum arch_ffn_kind kind, uint32_t layer, uint32_t part,
                          struct error *err)
{
    const struct source *source = e->source;
    const struct arch_ffn *ffn = &source->arch->gguf_ffn[kind][0];
    const char *const patterns[SOURCE_PARTS] = {ffn->gate, ffn->up, ffn->down};
    struct export_tensor *tensor = add_tensor(e, err);
    if (!tensor) {
        return false;
    }
    tensor->kind = kind;
    tensor->layer = layer;
    tensor->ffn_part = part;
    tensor->experts = kind == FFN_ROUTED ? source->hparams.experts : 1;
    bool fits = ffn->layout != FFN_NONE &&
                arch_tensor_name(tensor->name, sizeof(tensor->name), patterns[part], 0, layer, 0);
    assert(fits && ffn->layout == (kind == FFN_ROUTED ? FFN_STACKED : FFN_SEPARATE));
    (void)fits;
    for (uint32_t expert = 0; expert < tensor->experts; expert++) {
        struct source_matrix matrix;
        source->functions->ffn(source, kind, layer, expert, part, &matrix);
        enum dtype type = source_matrix_exact(&matrix);
        if (expert > 0 && type != tensor->type) {
            return error_set(err,
                             "%s: experts of layer %" PRIu32
                             " have types %s and %s, which GGUF cannot express; quantise it with "
                             "one type for all experts",
                             source->path, layer, dtype_name(tensor->type), dtype_name(type));
        }
        tensor->type = type;
        tensor->dims[0] = matrix.cols;
        tensor->dims[1] = matrix.rows;
    }
    tensor->dims[2] = tensor->experts;
    tensor->n_dims = kind == FFN_ROUTED ? 3 : 2;
    return true;
}

static bool plan_ffn(struct export *e, enum arch_ffn_kind kind, uint32_t layer, struct error *err)
{
    for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
        if (!plan_ffn_part(e, kind, layer, part, err)) {
            return false;
        }
    }
    return true;
}

/* llama3 scaling is a tensor of divisors in GGUF. */
static bool plan_divisors(struct export *e, struct error *err)
{
    const struct hparams *h = &e->source->hparams;
    if (h->rope_scaling != ROPE_SCALING_LLAMA3) {
        return true;
    }
    struct export_tensor *tensor = add_tensor(e, err);
    if (!tensor) {
        return false;
    }
    strcpy(tensor->name, "rope_freqs.weight");
    tensor->type = DTYPE_F32;
    tensor->n_dims = 1;
    tensor->dims[0] = h->rope_dim / 2;
    return true;
}

static bool plan(struct export *e, struct error *err)
{
    const struct source *source = e->source;
    const struct arch *arch = source->arch;
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        const struct arch_weight *row = &arch->weights[i];
        if (!(row->flags & WEIGHT_PER_LAYER) && !plan_row(e, row, 0, err)) {
            return false;
        }
    }
    if (!plan_divisors(e, err)) {
        return false;
    }
    for (uint32_t layer = 0; layer < source->hparams.layers; layer++) {
        for (uint32_t i = 0; i < arch->n_weights; i++) {
            const struct arch_weight *row = &arch->weights[i];
            if ((row->flags & WEIGHT_PER_LAYER) && !plan_row(e, row, layer, err)) {
                return false;
            }
        }
        if (!plan_ffn(e, source_ffn_kind(source, layer), layer, err) ||
            (source_has_shared(source, layer) && !plan_ffn(e, FFN_SHARED, layer, err))) {
            return false;
        }
    }
    return true;
}

/* ---- rows ---- */

static bool flush(struct export *e, struct error *err)
{
    if (e->piece_bytes > 0 && !gguf_writer_data(&e->writer, e->piece, e->piece_bytes, err)) {
        return false;
    }
    e->done += e->piece_bytes;
    e->piece_bytes = 0;
    const struct gguf_export_options *options = e->options;
    if (options->progress && !options->progress(options->progress_context, e->done, e->total)) {
        return error_set(err, "stopped; %s was not written", e->writer.file.path);
    }
    return true;
}

/* One row of a readable matrix as blocks of the tensor's type. */
static bool put_row(struct export *e, const struct source_matrix *matrix, uint64_t row,
                    enum dtype dtype, struct error *err)
{
    const struct dtype_info *type = dtype_info(dtype);
    uint64_t bytes = matrix->cols / type->block_elements * type->ggml_block_bytes;
    if (e->piece_room - e->piece_bytes < bytes && !flush(e, err)) {
        return false;
    }
    uint8_t *to = e->piece + e->piece_bytes;
    if (source_matrix_exact(matrix) == dtype) {
        const uint8_t *planes[DTYPE_MAX_PLANES] = {0};
        source_matrix_copy(matrix, row, e->planes, 1, 0);
        for (uint32_t p = 0; p < type->n_planes; p++) {
            planes[p] = e->planes + dtype_plane_offset(type, p, 1, matrix->cols);
        }
        quant_planes_to_blocks(type, planes, matrix->cols, to);
    } else {
        assert(dtype == DTYPE_F32);
        source_matrix_read(matrix, row, e->values);
        memcpy(to, e->values, bytes);
    }
    e->piece_bytes += bytes;
    return true;
}

/* The rows of a part of a tensor, as the tensor has them: the reverse of source_part_select. */
struct part_rows {
    struct source_matrix matrix;
    void *memory;                /* of source_load */
    struct source_matrix stored; /* the selection */
};

/* Which row of the part is row `stored` of the tensor; false if it is not of this part. */
static bool find_row(const struct part_rows *part, uint64_t stored, uint64_t *row)
{
    const struct source_matrix *m = &part->stored;
    if (stored < m->first_row) {
        return false;
    }
    uint64_t at = stored - m->first_row;
    uint64_t stride = m->group_rows < m->rows ? m->group_stride : at + 1; /* one group */
    uint64_t group = at / stride, i = at % stride;
    if (i >= m->group_rows) {
        return false;
    }
    if (m->half_split) {
        i = i / 2 + i % 2 * (m->group_rows / 2);
    }
    *row = group * m->group_rows + i;
    return *row < m->rows;
}

static bool load_part(const struct export *e, const struct export_tensor *tensor, uint32_t i,
                      struct part_rows *part, struct error *err)
{
    const struct source *source = e->source;
    const struct arch_weight *row = tensor->parts[i];
    uint64_t rows = arch_dim_value(row->rows, &source->hparams);
    uint64_t cols = arch_dim_value(row->cols, &source->hparams), stored_rows, stored_cols;
    *part = (struct part_rows){0};
    source_part_shape(source, tensor->places[i]->part, rows, cols, &stored_rows, &stored_cols);
    part->stored = source_matrix_whole(SOURCE_F32, NULL, NULL, stored_rows, stored_cols);
    source_part_select(source, tensor->places[i]->part, rows, cols, &part->stored);
    assert(!part->stored.transposed);
    return source->functions->matrix(source, row, tensor->layer, &part->matrix) &&
           source_load(source, &part->matrix, &part->memory, err);
}

static bool write_parts(struct export *e, const struct export_tensor *tensor, struct error *err)
{
    struct part_rows parts[MAX_PARTS] = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < tensor->n_parts; i++) {
        ok = load_part(e, tensor, i, &parts[i], err);
    }
    uint64_t rows = tensor->n_dims == 1 ? 1 : tensor->dims[1];
    rows *= tensor->n_dims == 3 ? tensor->dims[2] : 1;
    for (uint64_t stored = 0; ok && stored < rows; stored++) {
        uint64_t row = 0;
        uint32_t i = 0;
        while (i + 1 < tensor->n_parts && !find_row(&parts[i], stored, &row)) {
            i++;
        }
        bool found = find_row(&parts[i], stored, &row);
        assert(found);
        (void)found;
        ok = put_row(e, &parts[i].matrix, row, tensor->type, err);
    }
    for (uint32_t i = 0; i < tensor->n_parts; i++) {
        if (ok && !parts[i].memory) {
            e->source->functions->release(e->source, &parts[i].matrix, 0, parts[i].matrix.rows);
        }
        free(parts[i].memory);
    }
    return ok && flush(e, err);
}

static bool write_ffn(struct export *e, const struct export_tensor *tensor, struct error *err)
{
    const struct source *source = e->source;
    for (uint32_t expert = 0; expert < tensor->experts; expert++) {
        struct source_matrix matrix;
        void *memory;
        source->functions->ffn(source, tensor->kind, tensor->layer, expert, tensor->ffn_part,
                               &matrix);
        bool ok = source_load(source, &matrix, &memory, err);
        for (uint64_t row = 0; ok && row < matrix.rows; row++) {
            ok = put_row(e, &matrix, row, tensor->type, err);
        }
        if (ok && !memory) {
            source->functions->release(source, &matrix, 0, matrix.rows);
        }
        free(memory);
        if (!ok) {
            return false;
        }
    }
    return flush(e, err);
}

static bool write_divisors(struct export *e, struct error *err)
{
    gguf_export_rope_divisors(&e->source->hparams, e->values);
    memcpy(e->piece, e->values, e->source->hparams.rope_dim / 2 * sizeof(float));
    e->piece_bytes = e->source->hparams.rope_dim / 2 * sizeof(float);
    return flush(e, err);
}

/* ---- the file ---- */

static bool write_head(struct export *e, struct error *err)
{
    uint64_t bytes_of[DTYPE_U32] = {0};
    bool quantised = false;
    enum dtype most = DTYPE_F32;
    for (uint64_t i = 0; i < e->n_tensors; i++) {
        const struct export_tensor *tensor = &e->tensors[i];
        uint64_t weights = tensor->dims[0];
        for (uint32_t d = 1; d < tensor->n_dims; d++) {
            weights *= tensor->dims[d];
        }
        bytes_of[tensor->type] += weights;
        most = bytes_of[tensor->type] > bytes_of[most] ? tensor->type : most;
        quantised = quantised || dtype_info(tensor->type)->block_elements > 1;
    }
    gguf_export_keys(e->source, most, quantised, &e->writer);
    if (!e->options->write_tokenizer) {
        gguf_writer_string(&e->writer, "tokenizer.ggml.model", "none", 4);
    } else if (!e->options->write_tokenizer(e->options->tokenizer_context, e->source, &e->writer,
                                            err)) {
        return false;
    }
    for (uint64_t i = 0; i < e->n_tensors; i++) {
        const struct export_tensor *tensor = &e->tensors[i];
        e->total += gguf_writer_tensor(&e->writer, tensor->name, tensor->n_dims, tensor->dims,
                                       tensor->type);
    }
    return gguf_writer_begin_data(&e->writer, err);
}

/* Room for one row of any tensor. */
static bool allocate(struct export *e, struct error *err)
{
    uint64_t planes = 0, values = 0, piece = PIECE_BYTES;
    for (uint64_t i = 0; i < e->n_tensors; i++) {
        const struct export_tensor *tensor = &e->tensors[i];
        uint64_t bytes = dtype_matrix_bytes(dtype_info(tensor->type), 1, tensor->dims[0]);
        planes = bytes > planes ? bytes : planes;
        values = tensor->dims[0] > values ? tensor->dims[0] : values;
        piece = bytes > piece ? bytes : piece;
    }
    e->planes = aligned_alloc(DTYPE_ROW_ALIGN, planes);
    e->values = malloc(values * sizeof(float));
    e->piece = malloc(piece);
    e->piece_room = piece;
    return (e->planes && e->values && e->piece) ||
           error_set(err, "out of memory while exporting %s", e->source->path);
}

static bool write_all(struct export *e, struct error *err)
{
    if (!write_head(e, err)) {
        return false;
    }
    for (uint64_t i = 0; i < e->n_tensors; i++) {
        const struct export_tensor *tensor = &e->tensors[i];
        bool ok = tensor->n_parts > 0   ? write_parts(e, tensor, err)
                  : tensor->experts > 0 ? write_ffn(e, tensor, err)
                                        : write_divisors(e, err);
        if (!ok) {
            return false;
        }
    }
    return true;
}

bool gguf_export_run(const struct source *source, const char *path,
                     const struct gguf_export_options *options, struct gguf_export_report *report,
                     struct error *err)
{
    struct export e = {.source = source, .options = options};
    if (source->functions->is_part(source, path)) {
        return error_set(err, "%s is a file of the model itself; choose another name", path);
    }
    bool ok = gguf_export_check(source, err) && plan(&e, err) && allocate(&e, err) &&
              gguf_writer_open(&e.writer, path, err);
    if (ok) {
        ok = write_all(&e, err);
        report->n_tensors = e.n_tensors;
        report->weight_bytes = e.total;
        report->file_bytes = e.writer.file.bytes;
        if (ok) {
            ok = gguf_writer_commit(&e.writer, err);
        } else {
            gguf_writer_abort(&e.writer);
        }
    }
    free(e.tensors);
    free(e.piece);
    free(e.planes);
    free(e.values);
    return ok;
}
