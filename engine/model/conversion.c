#include "engine/model/conversion.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/f16.h"
#include "format/quant.h"

/* Source bytes between two calls of progress, and between two releases of the source's pages. */
#define STRETCH_BYTES (8u << 20)
/* Elements a thread takes at a time: some tens of microseconds of work. */
#define GRAIN_ELEMENTS 16384

struct conversion {
    const struct checkpoint *checkpoint;
    const struct conversion_options *options;
    const char *path;
    struct model_writer *writer;
    struct conversion_report *report;
    float *rows; /* (threads, row_capacity) */
    uint64_t row_capacity;
    uint64_t done, total;
    struct error *err;
};

/* ---- loops over the rows of a source tensor ---- */

/* Rows of a source, and where they go: row r becomes row first_row + r * row_step of the matrix. */
struct rows_job {
    struct conversion *conversion;
    const struct safetensors_tensor *source;
    uint64_t cols;
    const struct dtype_info *type;
    uint8_t *matrix;
    uint64_t matrix_rows, first_row, row_step;
    uint64_t begin;         /* first source row of this stretch */
    atomic_bool not_finite; /* a NaN or infinity was seen */
    atomic_bool exceeds_f16;
};

static bool all_finite(const float *values, uint64_t n)
{
    uint32_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        bad |= (f32_to_bits(values[i]) & 0x7F800000u) == 0x7F800000u;
    }
    return bad == 0;
}

/* 65520 is the first number that rounds to infinity. */
static bool exceeds_f16(const float *values, uint64_t n)
{
    uint32_t bad = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t magnitude = f32_to_bits(values[i]) & 0x7FFFFFFFu;
        bad |= magnitude >= 0x477FF000u && magnitude < 0x7F800000u;
    }
    return bad != 0;
}

static void encode_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct rows_job *job = context;
    float *values = job->conversion->rows + thread * job->conversion->row_capacity;
    bool quantised = job->type->block_elements > 1;
    for (uint64_t i = begin; i < end; i++) {
        uint64_t row = job->begin + i;
        safetensors_read(job->source, row * job->cols, job->cols, values);
        if (quantised && !all_finite(values, job->cols)) {
            atomic_store(&job->not_finite, true);
        }
        quant_encode_matrix_row(job->type, values, job->matrix, job->matrix_rows, job->cols,
                                job->first_row + row * job->row_step);
    }
}

static void scan_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct rows_job *job = context;
    float *values = job->conversion->rows + thread * job->conversion->row_capacity;
    for (uint64_t i = begin; i < end; i++) {
        safetensors_read(job->source, (job->begin + i) * job->cols, job->cols, values);
        if (exceeds_f16(values, job->cols)) {
            atomic_store(&job->exceeds_f16, true);
        }
    }
}

static bool report_progress(struct conversion *c, uint64_t bytes)
{
    c->done += bytes;
    const struct conversion_options *options = c->options;
    if (options->progress && !options->progress(options->progress_context, c->done, c->total)) {
        return error_set(c->err, "stopped; %s is as it was before", c->path);
    }
    return true;
}

/* Runs fn over all rows of the source, a stretch at a time, so that neither the source's pages nor
 * the wait for a stop grow with the tensor. `counts`: whether this is progress. */
static bool each_row(struct rows_job *job, thread_fn fn, bool counts)
{
    struct conversion *c = job->conversion;
    const struct safetensors_tensor *source = job->source;
    uint64_t rows = source->elements / job->cols;
    uint64_t row_bytes = source->bytes / rows;
    uint64_t stretch = STRETCH_BYTES / row_bytes + 1;
    uint64_t grain = GRAIN_ELEMENTS / job->cols + 1;
    for (job->begin = 0; job->begin < rows; job->begin += stretch) {
        uint64_t n = rows - job->begin < stretch ? rows - job->begin : stretch;
        thread_pool_for(c->options->pool, n, grain, fn, job);
        safetensors_release(&c->checkpoint->tensors, source, job->begin * job->cols, n * job->cols);
        if (!report_progress(c, counts ? n * row_bytes : 0)) {
            return false;
        }
    }
    return true;
}

static bool encode_tensor(struct conversion *c, const struct safetensors_tensor *source,
                          enum dtype type, void *matrix, uint64_t matrix_rows, uint64_t cols,
                          uint64_t first_row, uint64_t row_step)
{
    struct rows_job job = {
        .conversion = c,
        .source = source,
        .cols = cols,
        .type = dtype_info(type),
        .matrix = matrix,
        .matrix_rows = matrix_rows,
        .first_row = first_row,
        .row_step = row_step,
    };
    if (!each_row(&job, encode_rows, true)) {
        return false;
    }
    if (atomic_load(&job.not_finite)) {
        return error_set(c->err,
                         "%s: tensor \"%s\" has a NaN or an infinity, which %s cannot hold; the "
                         "checkpoint is damaged, or --type f32, f16 or bf16 may keep it",
                         c->checkpoint->tensors.files[source->file].path, source->name,
                         dtype_name(type));
    }
    return true;
}

/* Takes a tensor into the choice of its type; reads it if the choice depends on its values. */
static bool consider(struct conversion *c, struct type_choice *choice,
                     const struct safetensors_tensor *source)
{
    type_choice_add(choice, source);
    if (c->options->type != DTYPE_F16 || source->dtype == SAFETENSORS_F16 || choice->keep_f32 ||
        choice->exceeds_f16) {
        return true;
    }
    struct rows_job job = {.conversion = c, .source = source, .cols = choice->cols};
    bool ok = each_row(&job, scan_rows, false);
    choice->exceeds_f16 = atomic_load(&job.exceeds_f16);
    return ok;
}

/* The type of `count` matrices of the source, the first of which is called name. */
static enum dtype choose(struct conversion *c, const struct type_choice *choice, const char *name,
                         uint64_t count)
{
    enum type_choice_reason reason;
    enum dtype type = type_choice_make(choice, c->options->type, &reason);
    if (reason == TYPE_AS_RULED) {
        return type;
    }
    struct conversion_report *report = c->report;
    uint32_t i = 0;
    while (i < report->n_fallbacks &&
           (report->fallbacks[i].given != type || report->fallbacks[i].reason != reason)) {
        i++;
    }
    assert(i < sizeof(report->fallbacks) / sizeof(report->fallbacks[0]));
    struct conversion_fallback *fallback = &report->fallbacks[i];
    if (i == report->n_fallbacks) {
        report->n_fallbacks++;
        *fallback = (struct conversion_fallback){.given = type, .reason = reason};
        snprintf(fallback->first, sizeof(fallback->first), "%s", name);
    }
    fallback->count += count;
    return type;
}

/* ---- matrices ---- */

static bool convert_matrix(struct conversion *c, const struct arch_weight *row, uint32_t layer)
{
    const struct safetensors_tensor *source = checkpoint_tensor(c->checkpoint, row->name, layer, 0);
    char name[64];
    bool in_layer = row->flags & WEIGHT_PER_LAYER;
    if (in_layer) {
        snprintf(name, sizeof(name), "layer.%" PRIu32 ".%s", layer, role_name(row->role));
    } else {
        snprintf(name, sizeof(name), "%s", role_name(row->role));
    }
    struct tensor_spec spec = {
        .name = name,
        .role = row->role,
        .layer = in_layer ? layer : MODEL_FILE_NO_LAYER,
        .rows = arch_dim_value(row->rows, &c->checkpoint->hparams),
        .cols = arch_dim_value(row->cols, &c->checkpoint->hparams),
    };
    struct type_choice choice = {
        .keep_f32 = row->flags & WEIGHT_KEEP_F32,
        .is_head =
            row->role == ROLE_OUTPUT || (row->role == ROLE_TOKEN_EMBEDDING && c->checkpoint->tied),
        .cols = spec.cols,
    };
    if (!consider(c, &choice, source)) {
        return false;
    }
    spec.type = choose(c, &choice, name, 1);
    uint64_t bytes = dtype_matrix_bytes(dtype_info(spec.type), spec.rows, spec.cols);
    void *matrix = malloc(bytes);
    if (!matrix) {
        return error_set(c->err, "not enough memory for %s (%" PRIu64 " bytes)", name, bytes);
    }
    bool ok = encode_tensor(c, source, spec.type, matrix, spec.rows, spec.cols, 0, 1) &&
              model_writer_tensor(c->writer, &spec, matrix, c->err);
    free(matrix);
    c->report->tensors++;
    return ok;
}

/* All weights of the table that are (or are not) in a layer and of a wanted role. */
static bool convert_matrices(struct conversion *c, bool in_layer, uint32_t layer,
                             bool (*wanted)(enum tensor_role role))
{
    const struct arch *arch = c->checkpoint->arch;
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        const struct arch_weight *row = &arch->weights[i];
        if (in_layer == !!(row->flags & WEIGHT_PER_LAYER) && wanted(row->role) &&
            checkpoint_has(c->checkpoint, row, layer) && !convert_matrix(c, row, layer)) {
            return false;
        }
    }
    return true;
}

static bool is_embedding(enum tensor_role role)
{
    return role == ROLE_TOKEN_EMBEDDING;
}

static bool is_not_embedding(enum tensor_role role)
{
    return role != ROLE_TOKEN_EMBEDDING;
}

/* ---- experts ---- */

/* All experts of a layer have the same types, so that their slabs have the same layout. */
static bool choose_expert_types(struct conversion *c, uint32_t layer, struct expert_spec *spec)
{
    const struct checkpoint *checkpoint = c->checkpoint;
    const struct arch_ffn_names *names = checkpoint_ffn_names(checkpoint, layer);
    struct type_choice gate_up = {.cols = spec->hidden}, down = {.cols = spec->ffn};
    for (uint32_t expert = 0; expert < checkpoint_experts(checkpoint, layer); expert++) {
        if (!consider(c, &gate_up, checkpoint_tensor(checkpoint, names->gate, layer, expert)) ||
            !consider(c, &gate_up, checkpoint_tensor(checkpoint, names->up, layer, expert)) ||
            !consider(c, &down, checkpoint_tensor(checkpoint, names->down, layer, expert))) {
            return false;
        }
    }
    char name[64];
    uint64_t experts = checkpoint_experts(checkpoint, layer);
    snprintf(name, sizeof(name), "layer.%" PRIu32 ".expert gate and up", layer);
    spec->type = choose(c, &gate_up, name, 2 * experts);
    snprintf(name, sizeof(name), "layer.%" PRIu32 ".expert down", layer);
    spec->down_type = choose(c, &down, name, experts);
    return true;
}

static bool convert_expert(struct conversion *c, const struct expert_spec *spec, uint8_t *slab)
{
    const struct arch_ffn_names *names = checkpoint_ffn_names(c->checkpoint, spec->layer);
    const struct safetensors_tensor *gate, *up, *down;
    gate = checkpoint_tensor(c->checkpoint, names->gate, spec->layer, spec->expert);
    up = checkpoint_tensor(c->checkpoint, names->up, spec->layer, spec->expert);
    down = checkpoint_tensor(c->checkpoint, names->down, spec->layer, spec->expert);
    uint64_t gate_up_rows = 2 * spec->ffn;
    uint64_t gate_up_bytes = dtype_matrix_bytes(dtype_info(spec->type), gate_up_rows, spec->hidden);
    uint64_t down_offset = model_writer_down_offset(spec);
    memset(slab + gate_up_bytes, 0, down_offset - gate_up_bytes);
    c->report->tensors++;
    return encode_tensor(c, gate, spec->type, slab, gate_up_rows, spec->hidden, 0, 2) &&
           encode_tensor(c, up, spec->type, slab, gate_up_rows, spec->hidden, 1, 2) &&
           encode_tensor(c, down, spec->down_type, slab + down_offset, spec->hidden, spec->ffn, 0,
                         1) &&
           model_writer_expert(c->writer, spec, slab, c->err);
}

static bool convert_experts(struct conversion *c, uint32_t layer)
{
    char name[64];
    struct expert_spec spec = {
        .name = name,
        .layer = layer,
        .hidden = c->checkpoint->hparams.hidden,
        .ffn = checkpoint_ffn(c->checkpoint, layer),
    };
    if (!choose_expert_types(c, layer, &spec)) {
        return false;
    }
    uint64_t bytes = model_writer_slab_bytes(&spec);
    uint8_t *slab = malloc(bytes);
    if (!slab) {
        return error_set(c->err, "not enough memory for an expert (%" PRIu64 " bytes)", bytes);
    }
    bool ok = true;
    uint32_t n_experts = checkpoint_experts(c->checkpoint, layer);
    for (; ok && spec.expert < n_experts; spec.expert++) {
        snprintf(name, sizeof(name), "layer.%" PRIu32 ".expert.%" PRIu32, layer, spec.expert);
        ok = convert_expert(c, &spec, slab);
    }
    free(slab);
    return ok;
}

/* ---- the file ---- */

/* "bf16", or "f32, bf16": the dtypes of the source, in a fixed order. */
static void source_dtypes(const struct safetensors *st, char text[32])
{
    struct type_choice seen = {0};
    for (uint64_t i = 0; i < st->n_tensors; i++) {
        type_choice_add(&seen, &st->tensors[i]);
    }
    text[0] = 0;
    const char *const names[] = {seen.any_f32 ? "f32" : NULL, seen.any_f16 ? "f16" : NULL,
                                 seen.any_bf16 ? "bf16" : NULL};
    for (size_t i = 0, used = 0; i < 3; i++) {
        if (names[i]) {
            used += (size_t)snprintf(text + used, 32 - used, "%s%s", used ? ", " : "", names[i]);
        }
    }
}

static bool put_text(struct conversion *c, const char *key, const char *text)
{
    return model_writer_string(c->writer, key, text, strlen(text), c->err);
}

static bool write_head(struct conversion *c)
{
    const struct conversion_options *options = c->options;
    const struct checkpoint *checkpoint = c->checkpoint;
    char dtypes[32];
    source_dtypes(&checkpoint->tensors, dtypes);
    return put_text(c, "architecture", checkpoint->arch->name) &&
           put_text(c, "name", options->name ? options->name : checkpoint->name) &&
           put_text(c, "file.type", dtype_name(options->type)) &&
           put_text(c, "source.converter", options->converter ? options->converter : "moxie") &&
           put_text(c, "source.format", "safetensors") && put_text(c, "source.dtype", dtypes) &&
           model_writer_u64(c->writer, "source.files", checkpoint->tensors.n_files, c->err) &&
           model_writer_u64(c->writer, "source.tensors", checkpoint->tensors.n_tensors, c->err) &&
           hparams_write(&checkpoint->hparams, c->writer, c->err) &&
           (!options->tokenizer || model_writer_tokenizer(c->writer, options->tokenizer,
                                                          options->tokenizer_bytes, c->err)) &&
           (!options->chat_template ||
            model_writer_chat_template(c->writer, options->chat_template,
                                       options->chat_template_bytes, c->err));
}

static bool write_weights(struct conversion *c)
{
    if (!convert_matrices(c, false, 0, is_embedding)) {
        return false;
    }
    for (uint32_t layer = 0; layer < c->checkpoint->hparams.layers; layer++) {
        if (!convert_matrices(c, true, layer, is_not_embedding) || !convert_experts(c, layer)) {
            return false;
        }
    }
    return convert_matrices(c, false, 0, is_not_embedding);
}

static uint64_t longest_row(const struct hparams *hparams)
{
    const uint64_t lengths[] = {hparams->hidden, (uint64_t)hparams->heads * hparams->head_dim,
                                hparams->ffn, hparams->expert_ffn};
    uint64_t longest = 0;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        longest = lengths[i] > longest ? lengths[i] : longest;
    }
    return longest;
}

/* Bytes of the tensors that go into the file. */
static uint64_t used_bytes(const struct checkpoint *checkpoint)
{
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < checkpoint->hparams.layers; layer++) {
        for (uint32_t i = 0; i < checkpoint->arch->n_weights; i++) {
            const struct arch_weight *row = &checkpoint->arch->weights[i];
            bool here = row->flags & WEIGHT_PER_LAYER || layer == 0;
            if (here && checkpoint_has(checkpoint, row, layer)) {
                bytes += checkpoint_tensor(checkpoint, row->name, layer, 0)->bytes;
            }
        }
        const struct arch_ffn_names *names = checkpoint_ffn_names(checkpoint, layer);
        for (uint32_t expert = 0; expert < checkpoint_experts(checkpoint, layer); expert++) {
            bytes += checkpoint_tensor(checkpoint, names->gate, layer, expert)->bytes +
                     checkpoint_tensor(checkpoint, names->up, layer, expert)->bytes +
                     checkpoint_tensor(checkpoint, names->down, layer, expert)->bytes;
        }
    }
    return bytes;
}

/* Renaming the finished file over one of its sources would destroy the checkpoint. */
static bool is_source(const struct checkpoint *checkpoint, const char *path)
{
    struct stat output, source;
    if (stat(path, &output) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < checkpoint->tensors.n_files; i++) {
        if (stat(checkpoint->tensors.files[i].path, &source) == 0 &&
            source.st_dev == output.st_dev && source.st_ino == output.st_ino) {
            return true;
        }
    }
    return false;
}

bool conversion_run(const struct checkpoint *checkpoint, const char *path,
                    const struct conversion_options *options, struct conversion_report *report,
                    struct error *err)
{
    struct conversion_report unread;
    struct conversion c = {
        .checkpoint = checkpoint,
        .options = options,
        .path = path,
        .report = report ? report : &unread,
        .row_capacity = longest_row(&checkpoint->hparams),
        .total = used_bytes(checkpoint),
        .err = err,
    };
    *c.report = (struct conversion_report){.source_bytes = c.total};
    if (is_source(checkpoint, path)) {
        return error_set(err, "%s is part of the checkpoint itself; choose another output", path);
    }
    uint32_t threads = options->pool ? thread_pool_size(options->pool) : 1;
    c.rows = malloc(threads * c.row_capacity * sizeof(float));
    if (!c.rows) {
        return error_set(err, "not enough memory for the rows of %s", checkpoint->name);
    }
    c.writer = model_writer_open(path, options->compress, err);
    bool ok = c.writer && write_head(&c) && write_weights(&c);
    free(c.rows);
    if (!ok) {
        model_writer_abort(c.writer);
        return false;
    }
    struct stat status;
    ok = model_writer_finish(c.writer, err);
    if (ok && stat(path, &status) == 0) {
        c.report->file_bytes = (uint64_t)status.st_size;
    }
    return ok;
}
