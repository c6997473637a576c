#include "engine/model/source.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum container { CONTAINER_FOLDER, CONTAINER_GGUF, CONTAINER_OTHER };

/* What is at the path, by its first bytes; false if nothing that can be read. */
static bool find_container(const char *path, enum container *container)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return false;
    }
    *container = CONTAINER_OTHER;
    if (S_ISDIR(status.st_mode)) {
        *container = CONTAINER_FOLDER;
    } else if (S_ISREG(status.st_mode)) {
        char magic[4] = "";
        FILE *file = fopen(path, "rb");
        if (!file) {
            return false;
        }
        if (fread(magic, 1, sizeof(magic), file) == sizeof(magic) &&
            memcmp(magic, "GGUF", sizeof(magic)) == 0) {
            *container = CONTAINER_GGUF;
        }
        fclose(file);
    }
    return true;
}

bool source_is_foreign(const char *path)
{
    enum container container;
    return find_container(path, &container) && container != CONTAINER_OTHER;
}

struct source *source_open(const char *path, struct error *err)
{
    enum container container;
    if (!find_container(path, &container)) {
        if (errno == ENOENT || errno == ENOTDIR) {
            error_set(err, "%s does not exist; check the path", path);
        } else {
            error_set(err, "%s cannot be opened: %s", path, strerror(errno));
        }
        return NULL;
    }
    switch (container) {
    case CONTAINER_FOLDER:
        return source_open_checkpoint(path, err);
    case CONTAINER_GGUF:
        return source_open_gguf(path, err);
    case CONTAINER_OTHER:
        break;
    }
    return source_open_moxie(path, err);
}

void source_close(struct source **source)
{
    struct source *s = *source;
    if (s) {
        free(s->name);
        free(s->path);
        free(s->owned_tokenizer);
        free(s->owned_chat_template);
        s->functions->close(s);
        *source = NULL;
    }
}

bool source_load(const struct source *source, struct source_matrix *matrix, void **memory,
                 struct error *err)
{
    *memory = NULL;
    return !source->functions->load || source->functions->load(source, matrix, memory, err);
}

/* ---- what the model has ---- */

bool source_has(const struct source *source, const struct arch_weight *row, uint32_t layer)
{
    const struct hparams *hparams = &source->hparams;
    if (row->role == ROLE_OUTPUT && source->tied) {
        return false;
    }
    if ((row->flags & WEIGHT_ROUTER_LAYERS) && !hparams_layer_has_router(hparams, layer)) {
        return false;
    }
    return arch_dim_value(row->rows, hparams) > 0 && arch_dim_value(row->cols, hparams) > 0;
}

enum arch_ffn_kind source_ffn_kind(const struct source *source, uint32_t layer)
{
    return hparams_layer_has_router(&source->hparams, layer) ? FFN_ROUTED : FFN_DENSE;
}

uint32_t source_experts(const struct source *source, uint32_t layer)
{
    return source_ffn_kind(source, layer) == FFN_ROUTED ? source->hparams.experts : 1;
}

uint32_t source_ffn_width(const struct source *source, enum arch_ffn_kind kind)
{
    const struct hparams *hparams = &source->hparams;
    switch (kind) {
    case FFN_ROUTED:
        return hparams->expert_ffn;
    case FFN_DENSE:
        return hparams->ffn;
    default:
        return hparams->shared_ffn;
    }
}

bool source_has_shared(const struct source *source, uint32_t layer)
{
    return source_ffn_kind(source, layer) == FFN_ROUTED && source_ffn_width(source, FFN_SHARED) > 0;
}

/* ---- parts of tensors ---- */

void source_part_shape(const struct source *source, enum arch_part part, uint64_t rows,
                       uint64_t cols, uint64_t *stored_rows, uint64_t *stored_cols)
{
    const struct hparams *h = &source->hparams;
    *stored_rows = rows;
    *stored_cols = cols;
    switch (part) {
    case PART_WHOLE:
    case PART_PAIRS:
        break;
    case PART_HEAD_NOPE:
    case PART_HEAD_ROPE:
        *stored_rows = (uint64_t)h->heads * (h->nope_dim + h->rope_dim);
        break;
    case PART_LATENT:
    case PART_LATENT_ROPE:
        *stored_rows = (uint64_t)h->kv_rank + h->rope_dim;
        break;
    case PART_HEAD_KEYS:
    case PART_HEAD_VALUES:
        *stored_rows = (uint64_t)h->heads * (h->nope_dim + h->value_dim);
        *stored_cols = h->kv_rank;
        break;
    case PART_EVEN_COLUMNS:
    case PART_ODD_COLUMNS:
        *stored_cols = 2 * cols;
        break;
    }
}

void source_part_select(const struct source *source, enum arch_part part, uint64_t rows,
                        uint64_t cols, struct source_matrix *matrix)
{
    const struct hparams *h = &source->hparams;
    matrix->rows = rows;
    matrix->cols = cols;
    switch (part) {
    case PART_WHOLE:
        break;
    case PART_PAIRS:
        matrix->group_rows = matrix->group_stride = h->head_dim;
        matrix->half_split = true;
        break;
    case PART_HEAD_NOPE:
        matrix->group_rows = h->nope_dim;
        matrix->group_stride = (uint64_t)h->nope_dim + h->rope_dim;
        break;
    case PART_HEAD_ROPE:
        matrix->first_row = h->nope_dim;
        matrix->group_rows = h->rope_dim;
        matrix->group_stride = (uint64_t)h->nope_dim + h->rope_dim;
        matrix->half_split = true;
        break;
    case PART_LATENT:
        matrix->group_rows = rows;
        break;
    case PART_LATENT_ROPE:
        matrix->first_row = h->kv_rank;
        matrix->group_rows = rows;
        matrix->half_split = true;
        break;
    case PART_HEAD_KEYS:
        matrix->group_rows = h->kv_rank;
        matrix->group_stride = (uint64_t)h->nope_dim + h->value_dim;
        matrix->transposed = true;
        break;
    case PART_HEAD_VALUES:
        matrix->first_row = h->nope_dim;
        matrix->group_rows = h->value_dim;
        matrix->group_stride = (uint64_t)h->nope_dim + h->value_dim;
        break;
    case PART_EVEN_COLUMNS:
    case PART_ODD_COLUMNS:
        matrix->first_col = part == PART_ODD_COLUMNS;
        matrix->col_step = 2;
        break;
    }
}

void source_matrix_span(const struct source_matrix *matrix, uint64_t row, uint64_t n,
                        const uint8_t **begin, uint64_t *bytes)
{
    assert(n > 0 && row + n <= matrix->rows);
    if (matrix->encoding == SOURCE_PLANES) {
        *begin = matrix->data;
        *bytes = dtype_matrix_bytes(matrix->block_type, matrix->stored_rows, matrix->stored_cols);
        return;
    }
    uint64_t group = row / matrix->group_rows, last_group = (row + n - 1) / matrix->group_rows;
    uint64_t first = 0, last = matrix->transposed ? matrix->cols - 1 : matrix->group_rows - 1;
    if (group == last_group && !matrix->half_split && !matrix->transposed) {
        first = row % matrix->group_rows;
        last = first + n - 1;
    }
    first = matrix->first_row + group * matrix->group_stride + first * matrix->row_step;
    last = matrix->first_row + last_group * matrix->group_stride + last * matrix->row_step;
    assert(last < matrix->stored_rows);
    *begin = matrix->data + first * matrix->row_bytes;
    *bytes = (last - first + 1) * matrix->row_bytes;
}
