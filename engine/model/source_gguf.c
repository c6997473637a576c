/* A GGUF file as a source: names and layouts come from the architecture's table, numbers from the
 * keys. */
#include "engine/model/source_gguf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/model/hparams_gguf.h"

struct source_gguf {
    struct source source; /* first, so that a pointer to it is one to the whole */
    struct gguf gguf;
};

static const struct source_gguf *whole(const struct source *source)
{
    return (const struct source_gguf *)source;
}

const struct gguf *source_gguf_file(const struct source *source)
{
    return &whole(source)->gguf;
}

/* ---- finding ---- */

/* The tensor of the first of the alternatives that is there. */
static const struct gguf_tensor *find_tensor(const struct source *source, const char *pattern,
                                             uint32_t layer, uint32_t expert)
{
    char name[GGUF_MAX_NAME + 1];
    for (uint32_t i = 0; pattern && arch_tensor_name(name, sizeof(name), pattern, i, layer, expert);
         i++) {
        const struct gguf_tensor *tensor = gguf_find_tensor(&whole(source)->gguf, name);
        if (tensor) {
            return tensor;
        }
    }
    return NULL;
}

/* The place of a row that is there; of the first one if none is. */
static const struct arch_place *find_place(const struct source *source,
                                           const struct arch_weight *row, uint32_t layer,
                                           const struct gguf_tensor **tensor)
{
    for (uint32_t i = 0; i < 2; i++) {
        *tensor = find_tensor(source, row->gguf[i].name, layer, 0);
        if (*tensor) {
            return &row->gguf[i];
        }
    }
    return &row->gguf[0];
}

/* The layout this layer is stored in: the first whose gate is there; else the first. */
static const struct arch_ffn *find_layout(const struct source *source, enum arch_ffn_kind kind,
                                          uint32_t layer)
{
    const struct arch_ffn *layouts = source->arch->gguf_ffn[kind];
    for (uint32_t i = 0; i < ARCH_FFN_LAYOUTS && layouts[i].layout != FFN_NONE; i++) {
        if (find_tensor(source, layouts[i].gate, layer, 0)) {
            return &layouts[i];
        }
    }
    return &layouts[0];
}

/* Where a layout has one of the three matrices of an expert. */
struct ffn_place {
    const char *pattern;
    uint64_t rows, cols; /* of the tensor, or of one of its slices */
    uint64_t n_slices;
};

static struct ffn_place ffn_place(const struct source *source, const struct arch_ffn *ffn,
                                  enum arch_ffn_kind kind, uint32_t part)
{
    uint64_t hidden = source->hparams.hidden, width = source_ffn_width(source, kind);
    bool fused = ffn->layout == FFN_FUSED, down = part == SOURCE_DOWN;
    const char *const names[SOURCE_PARTS] = {ffn->gate, fused ? ffn->gate : ffn->up, ffn->down};
    return (struct ffn_place){
        .pattern = names[part],
        .rows = down    ? hidden
                : fused ? 2 * width
                        : width,
        .cols = down ? width : hidden,
        .n_slices = ffn->layout == FFN_SEPARATE ? 1 : source->hparams.experts,
    };
}

/* ---- matrices ---- */

/* A view of `rows` rows of a tensor, from row `first` on. */
static struct source_matrix view(const struct gguf_tensor *tensor, uint64_t first, uint64_t rows)
{
    const struct dtype_info *type = dtype_info(tensor->type);
    enum source_encoding encoding = tensor->type == DTYPE_F32    ? SOURCE_F32
                                    : tensor->type == DTYPE_F16  ? SOURCE_F16
                                    : tensor->type == DTYPE_BF16 ? SOURCE_BF16
                                                                 : SOURCE_BLOCKS;
    uint64_t row_bytes = tensor->dims[0] / type->block_elements * type->ggml_block_bytes;
    return source_matrix_whole(encoding, encoding == SOURCE_BLOCKS ? type : NULL,
                               tensor->data + first * row_bytes, rows, tensor->dims[0]);
}

static uint64_t tensor_rows(const struct gguf_tensor *tensor)
{
    return tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
}

static bool read_matrix(const struct source *source, const struct arch_weight *row, uint32_t layer,
                        struct source_matrix *matrix)
{
    const struct gguf_tensor *tensor;
    const struct arch_place *place = find_place(source, row, layer, &tensor);
    if (!tensor) {
        return false;
    }
    *matrix = view(tensor, 0, tensor_rows(tensor));
    source_part_select(source, place->part, arch_dim_value(row->rows, &source->hparams),
                       arch_dim_value(row->cols, &source->hparams), matrix);
    return true;
}

static void read_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                     uint32_t expert, uint32_t part, struct source_matrix *matrix)
{
    const struct arch_ffn *ffn = find_layout(source, kind, layer);
    struct ffn_place place = ffn_place(source, ffn, kind, part);
    const struct gguf_tensor *tensor = find_tensor(source, place.pattern, layer, expert);
    assert(tensor);
    uint64_t rows = place.rows, first = place.n_slices > 1 ? expert * place.rows : 0;
    if (ffn->layout == FFN_FUSED && part != SOURCE_DOWN) {
        rows /= 2; /* gate first */
        first += part == SOURCE_UP ? rows : 0;
    }
    *matrix = view(tensor, first, rows);
}

/* ---- checks ---- */

static const char *shape_text(const struct gguf_tensor *tensor, char text[96])
{
    int used = snprintf(text, 96, "[");
    uint32_t n = tensor->n_dims ? tensor->n_dims : 1;
    for (uint32_t i = n; i-- > 0;) {
        used += snprintf(text + used, 96 - (size_t)used, "%" PRIu64 "%s", tensor->dims[i],
                         i ? ", " : "]");
    }
    return text;
}

static bool check_tensor(const struct source *source, const struct gguf_tensor *tensor,
                         uint64_t rows, uint64_t cols, struct error *err)
{
    const struct gguf *gguf = &whole(source)->gguf;
    const char *path = gguf->files[tensor->file].path;
    char text[96];
    if (!dtype_info(tensor->type)) {
        char name[24];
        return error_set(err,
                         "%s: tensor \"%.*s\" has type %s, which this version cannot run; get the "
                         "model in another type",
                         path, (int)tensor->name_bytes, tensor->name,
                         gguf_type_name(tensor->type, name));
    }
    if (tensor->dims[0] == cols && tensor_rows(tensor) == rows) {
        return true;
    }
    return error_set(
        err, "%s: tensor \"%.*s\" has shape %s where the keys ask for %" PRIu64 " rows of %" PRIu64,
        path, (int)tensor->name_bytes, tensor->name, shape_text(tensor, text), rows, cols);
}

static bool missing(const struct source *source, const char *pattern, uint32_t layer,
                    uint32_t expert, struct error *err)
{
    const struct gguf *gguf = &whole(source)->gguf;
    char name[128] = "";
    arch_tensor_name(name, sizeof(name), pattern, 0, layer, expert);
    if (gguf->n_tensors == 0) {
        return error_set(err, "%s has no weights, only a vocabulary", source->path);
    }
    return error_set(err, "%s%s has no tensor \"%s\", which %s with the numbers in its keys needs",
                     source->path, gguf->n_files > 1 ? " and its other parts" : "", name,
                     source->arch->gguf_name);
}

/* All names a row may have count as known: some writers store a matrix in two forms. */
static void mark_row(const struct source *source, const struct arch_weight *row, uint32_t layer,
                     bool *known)
{
    const struct gguf *gguf = &whole(source)->gguf;
    char name[GGUF_MAX_NAME + 1];
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t a = 0; row->gguf[i].name &&
                             arch_tensor_name(name, sizeof(name), row->gguf[i].name, a, layer, 0);
             a++) {
            const struct gguf_tensor *tensor = gguf_find_tensor(gguf, name);
            if (tensor) {
                known[tensor - gguf->tensors] = true;
            }
        }
    }
}

static bool check_row(const struct source *source, const struct arch_weight *row, uint32_t layer,
                      bool *known, struct error *err)
{
    const struct gguf_tensor *tensor;
    const struct arch_place *place = find_place(source, row, layer, &tensor);
    if (!place->name || !source_has(source, row, layer)) {
        return true;
    }
    mark_row(source, row, layer, known);
    if (!tensor) {
        return (row->flags & WEIGHT_OPTIONAL) || missing(source, place->name, layer, 0, err);
    }
    uint64_t rows, cols;
    source_part_shape(source, place->part, arch_dim_value(row->rows, &source->hparams),
                      arch_dim_value(row->cols, &source->hparams), &rows, &cols);
    return check_tensor(source, tensor, rows, cols, err);
}

static bool check_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                      bool *known, struct error *err)
{
    const struct arch_ffn *ffn = find_layout(source, kind, layer);
    if (ffn->layout == FFN_NONE) {
        return error_set(err, "%s: layer %" PRIu32 " needs %s, which %s has not", source->path,
                         layer, kind == FFN_ROUTED ? "experts" : "a dense part",
                         source->arch->gguf_name);
    }
    uint32_t experts =
        kind == FFN_ROUTED && ffn->layout == FFN_SEPARATE ? source->hparams.experts : 1;
    for (uint32_t expert = 0; expert < experts; expert++) {
        for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
            struct ffn_place place = ffn_place(source, ffn, kind, part);
            const struct gguf_tensor *tensor = find_tensor(source, place.pattern, layer, expert);
            if (!tensor) {
                return missing(source, place.pattern, layer, expert, err);
            }
            if (!check_tensor(source, tensor, place.n_slices * place.rows, place.cols, err)) {
                return false;
            }
            known[tensor - whole(source)->gguf.tensors] = true;
        }
    }
    return true;
}

/* Multi-token prediction layers, and tables of frequencies that can be computed. */
static bool is_ignored(const struct source *source, const struct gguf_tensor *tensor)
{
    const struct gguf *gguf = &whole(source)->gguf;
    static const char rotary[] = ".attn_rot_embd.weight";
    const char *name = tensor->name; /* in the mapping: not terminated */
    uint32_t bytes = tensor->name_bytes, at = 4;
    if (bytes < 5 || memcmp(name, "blk.", 4) != 0) {
        return false;
    }
    uint64_t layer = 0;
    while (at < bytes && name[at] >= '0' && name[at] <= '9' && layer < HPARAM_MAX_LAYERS) {
        layer = 10 * layer + (uint64_t)(name[at++] - '0');
    }
    uint32_t draft = hparams_gguf_draft_layers(source->arch, gguf);
    return (layer >= source->hparams.layers && layer - source->hparams.layers < draft) ||
           (bytes - at == sizeof(rotary) - 1 && memcmp(name + at, rotary, sizeof(rotary) - 1) == 0);
}

static bool check_surplus(const struct source *source, const bool *known, struct error *err)
{
    const struct gguf *gguf = &whole(source)->gguf;
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        if (!known[i] && !is_ignored(source, tensor)) {
            return error_set(err,
                             "%s: tensor \"%.*s\" has no place in %s with the numbers in its keys "
                             "(%" PRIu32 " layers, %" PRIu32 " experts)",
                             gguf->files[tensor->file].path, (int)tensor->name_bytes, tensor->name,
                             source->arch->gguf_name, source->hparams.layers,
                             source->hparams.experts);
        }
    }
    return true;
}

static bool check_tensors(const struct source *source, struct error *err)
{
    bool *known = calloc(whole(source)->gguf.n_tensors + 1, sizeof(bool));
    bool ok = known || error_set(err, "out of memory while opening %s", source->path);
    uint32_t n_layers = source->hparams.layers;
    for (uint32_t i = 0; ok && i < source->arch->n_weights; i++) {
        const struct arch_weight *row = &source->arch->weights[i];
        uint32_t layers = row->flags & WEIGHT_PER_LAYER ? n_layers : 1;
        for (uint32_t layer = 0; ok && layer < layers; layer++) {
            ok = check_row(source, row, layer, known, err);
        }
    }
    for (uint32_t layer = 0; ok && layer < n_layers; layer++) {
        ok =
            check_ffn(source, source_ffn_kind(source, layer), layer, known, err) &&
            (!source_has_shared(source, layer) || check_ffn(source, FFN_SHARED, layer, known, err));
    }
    ok = ok && check_surplus(source, known, err);
    free(known);
    return ok;
}

/* ---- open and close ---- */

/* general.name, or the file's name without folder and ending. */
static char *model_name(const struct gguf *gguf, const char *path)
{
    const char *text;
    uint64_t bytes;
    if (gguf_value_string(gguf_find_pair(gguf, "general.name"), &text, &bytes) && bytes > 0) {
        return strndup(text, bytes);
    }
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t length = strlen(base);
    if (length > 5 && strcmp(base + length - 5, ".gguf") == 0) {
        length -= 5;
    }
    return strndup(base, length);
}

static void release_rows(const struct source *source, const struct source_matrix *matrix,
                         uint64_t row, uint64_t n)
{
    const uint8_t *begin;
    uint64_t bytes;
    source_matrix_span(matrix, row, n, &begin, &bytes);
    gguf_release(&whole(source)->gguf, begin, bytes);
}

static bool is_part(const struct source *source, const char *path)
{
    const struct gguf *gguf = &whole(source)->gguf;
    struct stat output, file;
    if (stat(path, &output) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < gguf->n_files; i++) {
        if (stat(gguf->files[i].path, &file) == 0 && file.st_dev == output.st_dev &&
            file.st_ino == output.st_ino) {
            return true;
        }
    }
    return false;
}

static void close_gguf(struct source *source)
{
    struct source_gguf *own = (struct source_gguf *)source;
    gguf_close(&own->gguf);
    free(own);
}

static const struct source_functions functions = {
    .matrix = read_matrix,
    .ffn = read_ffn,
    .release = release_rows,
    .is_part = is_part,
    .close = close_gguf,
};

static bool open_parts(struct source_gguf *own, const char *path, struct error *err)
{
    struct source *source = &own->source;
    struct gguf *gguf = &own->gguf;
    if (!gguf_open(gguf, path, err)) {
        return false;
    }
    source->arch = hparams_find_gguf_arch(gguf, err);
    source->name = model_name(gguf, path);
    if (!source->name) {
        return error_set(err, "out of memory while opening %s", path);
    }
    if (!source->arch || !hparams_from_gguf(&source->hparams, source->arch, gguf, err)) {
        return false;
    }
    source->tied = !gguf_find_tensor(gguf, "output.weight");
    source->n_files = gguf->n_files;
    source->n_tensors = gguf->n_tensors;
    gguf_value_string(gguf_find_pair(gguf, "tokenizer.chat_template"), &source->chat_template,
                      &source->chat_template_bytes);
    return check_tensors(source, err);
}

struct source *source_open_gguf(const char *path, struct error *err)
{
    struct source_gguf *own = calloc(1, sizeof(*own));
    char *copy = strdup(path);
    if (!own || !copy) {
        free(own);
        free(copy);
        error_set(err, "out of memory while opening %s", path);
        return NULL;
    }
    struct source *source = &own->source;
    source->functions = &functions;
    source->format = "gguf";
    source->path = copy;
    if (!open_parts(own, path, err)) {
        source_close(&source);
        return NULL;
    }
    return source;
}
