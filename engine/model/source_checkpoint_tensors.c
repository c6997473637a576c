/* Which tensors of a checkpoint a matrix of ours is made from: names and layouts come from the
 * architecture's table, shapes from config.json. */
#include "engine/model/source_checkpoint.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/f8.h"

#define MXFP4_BLOCK 32 /* values in 16 bytes */
#define MAX_SUFFIX 16

/* Where a matrix lies: one slice of a tensor, or all of it. */
struct place {
    const char *pattern; /* names, alternatives by "|" */
    uint32_t layer, expert;
    uint64_t n_slices, slice;          /* of a stacked tensor; n_slices 0: it is not stacked */
    uint64_t rows, cols;               /* of the (slice of the) tensor: outputs, inputs */
    bool is_vector;                    /* rows is 1 and not a dimension of the tensor */
    bool input_major;                  /* stored transposed, [cols, rows], unless it is a pair */
    const char *rows_keys, *cols_keys; /* of config.json, for messages */
};

struct stored {
    enum source_encoding encoding;
    const struct safetensors_tensor *values;
    const struct safetensors_tensor *scales; /* FP8 and MXFP4 only */
};

static const struct safetensors_tensor *find(const struct checkpoint *c, const char *name,
                                             const char *suffix)
{
    char whole[SAFETENSORS_MAX_NAME + MAX_SUFFIX];
    snprintf(whole, sizeof(whole), "%s%s", name, suffix);
    return safetensors_find(&c->tensors, whole);
}

/* The tensor under one name: X itself, with its scales if it is FP8, or, where pairs are known, the
 * pair of X_blocks and X_scales. */
static bool find_named(const struct checkpoint *c, const char *name, bool may_be_pair,
                       struct stored *stored)
{
    *stored = (struct stored){.values = find(c, name, "")};
    if (!stored->values && !may_be_pair) {
        return false;
    }
    if (!stored->values) {
        stored->values = find(c, name, "_blocks");
        stored->scales = find(c, name, "_scales");
        stored->encoding = SOURCE_MXFP4_PAIR;
        return stored->values && stored->scales;
    }
    switch ((uint32_t)stored->values->dtype) {
    case SAFETENSORS_F32:
        stored->encoding = SOURCE_F32;
        break;
    case SAFETENSORS_F16:
        stored->encoding = SOURCE_F16;
        break;
    case SAFETENSORS_BF16:
        stored->encoding = SOURCE_BF16;
        break;
    default: /* FP8; other dtypes are refused by check_dtype */
        stored->encoding = SOURCE_F8_E4M3;
        stored->scales = find(c, name, "_scale_inv");
        stored->scales = stored->scales ? stored->scales : find(c, name, "_scale");
        break;
    }
    return true;
}

static bool find_stored(const struct checkpoint *c, const struct place *place,
                        struct stored *stored)
{
    char name[SAFETENSORS_MAX_NAME];
    for (uint32_t i = 0;
         arch_tensor_name(name, sizeof(name), place->pattern, i, place->layer, place->expert);
         i++) {
        if (find_named(c, name, place->input_major, stored)) {
            return true;
        }
    }
    return false;
}

bool checkpoint_has_tensor(const struct checkpoint *checkpoint, const char *pattern)
{
    struct stored stored;
    return find_stored(checkpoint, &(struct place){.pattern = pattern}, &stored);
}

/* ---- views ---- */

static const uint8_t *scale_data(const struct checkpoint *c,
                                 const struct safetensors_tensor *scales)
{
    const float *converted = c->scales[scales - c->tensors.tensors];
    return converted ? (const uint8_t *)converted : scales->data;
}

/* Rows and columns that one scale covers; false if the scales' shape is none that suits the
 * tensor: one for all, one a row, or one a tile. */
static bool find_tiles(const struct checkpoint *c, const struct safetensors_tensor *scales,
                       uint64_t n_slices, uint64_t rows, uint64_t cols, uint64_t *tile_rows,
                       uint64_t *tile_cols)
{
    const uint64_t sizes[][2] = {{rows, cols}, {c->tile_rows, c->tile_cols}, {1, cols}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t tall = (rows - 1) / sizes[i][0] + 1, wide = (cols - 1) / sizes[i][1] + 1;
        uint64_t across = scales->rank > 1 ? scales->shape[scales->rank - 1] : 1;
        if (scales->elements == tall * wide * (n_slices ? n_slices : 1) &&
            (wide == 1 || across == wide)) {
            *tile_rows = sizes[i][0];
            *tile_cols = sizes[i][1];
            return true;
        }
    }
    return false;
}

/* A view of the whole slice, as it is stored. */
static void view(const struct checkpoint *c, const struct place *place, const struct stored *stored,
                 struct source_matrix *matrix)
{
    bool pair = stored->encoding == SOURCE_MXFP4_PAIR;
    bool swap = place->input_major && !pair;
    uint64_t rows = swap ? place->cols : place->rows, cols = swap ? place->rows : place->cols;
    uint64_t slices = place->n_slices ? place->n_slices : 1;
    const struct safetensors_tensor *scales = stored->scales;
    *matrix = source_matrix_whole(
        stored->encoding, NULL,
        stored->values->data + place->slice * (stored->values->bytes / slices), rows, cols);
    if (pair) {
        matrix->scales = scales->data + place->slice * (scales->bytes / slices);
        matrix->scale_row_bytes = cols / MXFP4_BLOCK;
    } else if (scales) {
        bool fits = find_tiles(c, scales, place->n_slices, rows, cols, &matrix->scale_rows,
                               &matrix->scale_cols);
        assert(fits);
        (void)fits;
        matrix->scales =
            scale_data(c, scales) + place->slice * (scales->elements / slices) * sizeof(float);
        matrix->scale_row_bytes = ((cols - 1) / matrix->scale_cols + 1) * sizeof(float);
    }
}

/* ---- the rows of the table ---- */

/* The keys a dimension comes from, for messages. */
static const char *dim_keys(enum arch_dim dim)
{
    static const char *const keys[] = {
        [DIM_ONE] = "1",
        [DIM_HIDDEN] = "hidden_size",
        [DIM_VOCABULARY] = "vocab_size",
        [DIM_HEAD] = "head_dim",
        [DIM_HEADS] = "num_attention_heads",
        [DIM_Q] = "num_attention_heads * head_dim",
        [DIM_KV] = "num_key_value_heads * head_dim",
        [DIM_EXPERTS] = "num_experts",
        [DIM_EXPERT_FFN] = "moe_intermediate_size",
        [DIM_SHARED_HIDDEN] = "hidden_size",
        [DIM_ROTATED_PAIRS] = "half of the rotated dims",
        [DIM_Q_RANK] = "q_lora_rank",
        [DIM_Q_INPUT] = "q_lora_rank or hidden_size",
        [DIM_KV_RANK] = "kv_lora_rank",
        [DIM_HEADS_NOPE] = "num_attention_heads * qk_nope_head_dim",
        [DIM_HEADS_ROPE] = "num_attention_heads * qk_rope_head_dim",
        [DIM_ROPE] = "qk_rope_head_dim",
        [DIM_NOPE] = "qk_nope_head_dim",
        [DIM_HEADS_KV_RANK] = "num_attention_heads * kv_lora_rank",
        [DIM_HEADS_VALUE] = "num_attention_heads * v_head_dim",
    };
    return (uint32_t)dim < sizeof(keys) / sizeof(keys[0]) && keys[dim] ? keys[dim] : "?";
}

/* The keys of the rows of a tensor of which a part is taken. */
static const char *part_keys(enum arch_part part, enum arch_dim dim)
{
    switch (part) {
    case PART_HEAD_NOPE:
    case PART_HEAD_ROPE:
        return "num_attention_heads * (qk_nope_head_dim + qk_rope_head_dim)";
    case PART_LATENT:
    case PART_LATENT_ROPE:
        return "kv_lora_rank + qk_rope_head_dim";
    case PART_HEAD_KEYS:
    case PART_HEAD_VALUES:
        return "num_attention_heads * (qk_nope_head_dim + v_head_dim)";
    default:
        return dim_keys(dim);
    }
}

static struct place row_place(const struct checkpoint *c, const struct arch_weight *row,
                              uint32_t layer)
{
    const struct hparams *hparams = &c->source.hparams;
    enum arch_part part = row->hf.part;
    struct place place = {
        .pattern = row->hf.name ? row->hf.name : "",
        .layer = layer,
        .is_vector = row->rows == DIM_ONE,
        .rows_keys = part_keys(part, row->rows),
        .cols_keys = part == PART_HEAD_KEYS ? "kv_lora_rank" : dim_keys(row->cols),
    };
    source_part_shape(&c->source, part, arch_dim_value(row->rows, hparams),
                      arch_dim_value(row->cols, hparams), &place.rows, &place.cols);
    return place;
}

bool checkpoint_matrix(const struct source *source, const struct arch_weight *row, uint32_t layer,
                       struct source_matrix *matrix)
{
    const struct checkpoint *c = (const struct checkpoint *)source;
    struct place place = row_place(c, row, layer);
    struct stored stored;
    if (!find_stored(c, &place, &stored)) {
        return false;
    }
    view(c, &place, &stored, matrix);
    source_part_select(source, row->hf.part, arch_dim_value(row->rows, &source->hparams),
                       arch_dim_value(row->cols, &source->hparams), matrix);
    return true;
}

/* ---- feed-forward networks ---- */

/* Where the layout has one of the three matrices. */
static struct place ffn_place(const struct checkpoint *c, const struct arch_ffn *ffn,
                              enum arch_ffn_kind kind, uint32_t layer, uint32_t expert,
                              uint32_t part)
{
    static const char *const widths[FFN_KINDS] = {
        [FFN_ROUTED] = "moe_intermediate_size",
        [FFN_DENSE] = "intermediate_size",
        [FFN_SHARED] = "shared_expert_intermediate_size",
    };
    uint64_t hidden = c->source.hparams.hidden, width = source_ffn_width(&c->source, kind);
    bool fused = ffn->layout == FFN_FUSED || ffn->layout == FFN_FUSED_PAIRS;
    bool down = part == SOURCE_DOWN;
    const char *const names[SOURCE_PARTS] = {ffn->gate, fused ? ffn->gate : ffn->up, ffn->down};
    struct place place = {
        .pattern = names[part],
        .layer = layer,
        .expert = expert,
        .rows = down    ? hidden
                : fused ? 2 * width
                        : width,
        .cols = down ? width : hidden,
        .input_major = ffn->layout == FFN_FUSED_PAIRS,
        .rows_keys = down ? "hidden_size" : widths[kind],
        .cols_keys = down ? widths[kind] : "hidden_size",
    };
    if (ffn->layout != FFN_SEPARATE && kind == FFN_ROUTED) {
        place.n_slices = c->source.hparams.experts;
        place.slice = expert;
    }
    return place;
}

/* The layout this layer is stored in: the first whose gate is there; else the first. */
static const struct arch_ffn *find_layout(const struct checkpoint *c, enum arch_ffn_kind kind,
                                          uint32_t layer)
{
    const struct arch_ffn *layouts = c->source.arch->hf_ffn[kind];
    for (uint32_t i = 0; i < ARCH_FFN_LAYOUTS && layouts[i].layout != FFN_NONE; i++) {
        struct place place = ffn_place(c, &layouts[i], kind, layer, 0, SOURCE_GATE);
        struct stored stored;
        if (find_stored(c, &place, &stored)) {
            return &layouts[i];
        }
    }
    return &layouts[0];
}

/* Gate or up out of a tensor that holds both. */
static void select_half(const struct arch_ffn *ffn, uint64_t width, bool up,
                        struct source_matrix *matrix)
{
    matrix->rows = matrix->group_rows = width;
    if (ffn->layout == FFN_FUSED) {
        matrix->first_row = up ? width : 0;
    } else if (matrix->encoding == SOURCE_MXFP4_PAIR) {
        matrix->first_row = up;
        matrix->row_step = 2;
    } else { /* stored [hidden, 2 width] */
        matrix->cols = matrix->stored_rows;
        matrix->transposed = true;
        matrix->first_col = up;
        matrix->col_step = 2;
    }
}

void checkpoint_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                    uint32_t expert, uint32_t part, struct source_matrix *matrix)
{
    const struct checkpoint *c = (const struct checkpoint *)source;
    const struct arch_ffn *ffn = find_layout(c, kind, layer);
    struct place place = ffn_place(c, ffn, kind, layer, expert, part);
    struct stored stored;
    bool found = find_stored(c, &place, &stored);
    assert(found);
    (void)found;
    view(c, &place, &stored, matrix);
    bool fused = ffn->layout == FFN_FUSED || ffn->layout == FFN_FUSED_PAIRS;
    if (fused && part != SOURCE_DOWN) {
        select_half(ffn, source_ffn_width(source, kind), part == SOURCE_UP, matrix);
    } else if (place.input_major && stored.encoding != SOURCE_MXFP4_PAIR) {
        matrix->rows = matrix->group_rows = place.rows;
        matrix->cols = place.cols;
        matrix->transposed = true;
    }
}

/* ---- checks ---- */

static bool check_dtype(const struct checkpoint *c, const struct stored *stored, struct error *err)
{
    const struct safetensors_tensor *values = stored->values;
    const char *file = c->tensors.files[values->file].path;
    if (stored->encoding == SOURCE_MXFP4_PAIR) {
        if (values->dtype == SAFETENSORS_U8 && stored->scales->dtype == SAFETENSORS_U8) {
            return true;
        }
        return error_set(err, "%s: tensors \"%s\" and \"%s\" have dtypes %s and %s instead of U8",
                         file, values->name, stored->scales->name,
                         safetensors_dtype_name(values->dtype),
                         safetensors_dtype_name(stored->scales->dtype));
    }
    if (safetensors_is_float(values->dtype)) {
        return true;
    }
    if (values->dtype != SAFETENSORS_F8_E4M3) {
        return error_set(err,
                         "%s: tensor \"%s\" has dtype %s; only F32, F16, BF16, F8_E4M3 with scales "
                         "and MXFP4 pairs can be read",
                         file, values->name, safetensors_dtype_name(values->dtype));
    }
    if (!stored->scales) {
        return error_set(err,
                         "%s: tensor \"%s\" has dtype F8_E4M3, but there is no \"%s_scale_inv\"",
                         file, values->name, values->name);
    }
    if (!safetensors_is_float(stored->scales->dtype) &&
        stored->scales->dtype != SAFETENSORS_F8_E8M0) {
        return error_set(err,
                         "%s: scales \"%s\" have dtype %s; only floats and F8_E8M0 can be read",
                         file, stored->scales->name, safetensors_dtype_name(stored->scales->dtype));
    }
    return true;
}

/* The shapes a tensor may have; the first is the usual one. */
static uint32_t expected_shapes(const struct place *place, bool pair, uint64_t shapes[2][4],
                                uint32_t ranks[2])
{
    bool swap = place->input_major && !pair;
    uint64_t rows = swap ? place->cols : place->rows, cols = swap ? place->rows : place->cols;
    uint32_t rank = 0;
    if (place->n_slices) {
        shapes[0][rank++] = place->n_slices;
    }
    if (!place->is_vector) {
        shapes[0][rank++] = rows;
    }
    if (pair) {
        shapes[0][rank++] = cols / MXFP4_BLOCK;
        cols = MXFP4_BLOCK / 2;
    }
    shapes[0][rank++] = cols;
    ranks[0] = rank;
    if (!place->is_vector) {
        return 1;
    }
    shapes[1][0] = 1;
    shapes[1][1] = cols;
    ranks[1] = 2;
    return 2;
}

static bool shape_fault(const struct checkpoint *c, const struct safetensors_tensor *tensor,
                        const struct place *place, const uint64_t *expected, uint32_t rank,
                        struct error *err)
{
    char found_text[SAFETENSORS_SHAPE_TEXT], expected_text[SAFETENSORS_SHAPE_TEXT];
    return error_set(err, "%s: tensor \"%s\" has shape %s where config.json asks for %s (%s%s%s%s)",
                     c->tensors.files[tensor->file].path, tensor->name,
                     safetensors_shape_text(tensor->shape, tensor->rank, found_text),
                     safetensors_shape_text(expected, rank, expected_text),
                     place->n_slices ? "num_experts, " : "",
                     place->is_vector ? "" : place->rows_keys, place->is_vector ? "" : ", ",
                     place->cols_keys);
}

static bool check_values(const struct checkpoint *c, const struct place *place,
                         const struct stored *stored, struct error *err)
{
    const struct safetensors_tensor *tensor = stored->values;
    bool pair = stored->encoding == SOURCE_MXFP4_PAIR;
    uint64_t shapes[2][4];
    uint32_t ranks[2];
    uint32_t n = expected_shapes(place, pair, shapes, ranks);
    if (pair && place->cols % MXFP4_BLOCK != 0) {
        return error_set(err, "%s: \"%s\" is MXFP4, but %s is not a multiple of 32",
                         c->tensors.files[tensor->file].path, tensor->name, place->cols_keys);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (tensor->rank == ranks[i] &&
            memcmp(tensor->shape, shapes[i], ranks[i] * sizeof(uint64_t)) == 0) {
            return true;
        }
    }
    return shape_fault(c, tensor, place, shapes[0], ranks[0], err);
}

/* Scales in other floats become f32 here: they are few. */
static bool convert_scales(struct checkpoint *c, const struct safetensors_tensor *scales,
                           struct error *err)
{
    float **place = &c->scales[scales - c->tensors.tensors];
    if (scales->dtype == SAFETENSORS_F32 || *place) {
        return true;
    }
    *place = malloc(scales->elements * sizeof(float));
    if (!*place) {
        return error_set(err, "not enough memory for the scales \"%s\"", scales->name);
    }
    if (safetensors_is_float(scales->dtype)) {
        safetensors_read(scales, 0, scales->elements, *place);
    } else {
        for (uint64_t i = 0; i < scales->elements; i++) {
            (*place)[i] = f32_from_e8m0(scales->data[i]);
        }
    }
    return true;
}

static bool check_scales(struct checkpoint *c, const struct place *place,
                         const struct stored *stored, struct error *err)
{
    const struct safetensors_tensor *scales = stored->scales;
    bool pair = stored->encoding == SOURCE_MXFP4_PAIR;
    bool swap = place->input_major && !pair;
    uint64_t rows = swap ? place->cols : place->rows, cols = swap ? place->rows : place->cols;
    uint64_t tile_rows, tile_cols;
    bool fits = pair ? scales->elements == stored->values->elements / (MXFP4_BLOCK / 2)
                     : find_tiles(c, scales, place->n_slices, rows, cols, &tile_rows, &tile_cols);
    if (!fits) {
        char text[SAFETENSORS_SHAPE_TEXT], values_text[SAFETENSORS_SHAPE_TEXT];
        return error_set(
            err, "%s: scales \"%s\" of shape %s do not suit their tensor of shape %s",
            c->tensors.files[scales->file].path, scales->name,
            safetensors_shape_text(scales->shape, scales->rank, text),
            safetensors_shape_text(stored->values->shape, stored->values->rank, values_text));
    }
    return pair || convert_scales(c, scales, err);
}

static bool check_place(struct checkpoint *c, const struct place *place, bool optional, bool *used,
                        struct error *err)
{
    struct stored stored;
    if (!find_stored(c, place, &stored)) {
        char name[SAFETENSORS_MAX_NAME] = "";
        arch_tensor_name(name, sizeof(name), place->pattern, 0, place->layer, place->expert);
        return optional ||
               error_set(err,
                         "%s%s has no tensor \"%s\", which %s with the numbers in config.json "
                         "needs",
                         c->tensors.files[0].path,
                         c->tensors.n_files > 1 ? " and its other shards" : "", name,
                         c->source.arch->config_name);
    }
    if (!check_dtype(c, &stored, err) || !check_values(c, place, &stored, err) ||
        (stored.scales && !check_scales(c, place, &stored, err))) {
        return false;
    }
    used[stored.values - c->tensors.tensors] = true;
    if (stored.scales) {
        used[stored.scales - c->tensors.tensors] = true;
    }
    return true;
}

static bool check_row(struct checkpoint *c, const struct arch_weight *row, uint32_t layer,
                      bool *used, struct error *err)
{
    if (!source_has(&c->source, row, layer) || !row->hf.name) {
        return true;
    }
    struct place place = row_place(c, row, layer);
    /* The head may be missing in families where it is mostly tied; here source_has wants it. */
    bool optional = row->flags & WEIGHT_OPTIONAL && row->role != ROLE_OUTPUT;
    return check_place(c, &place, optional, used, err);
}

static bool check_ffn(struct checkpoint *c, enum arch_ffn_kind kind, uint32_t layer, bool *used,
                      struct error *err)
{
    const struct arch_ffn *ffn = find_layout(c, kind, layer);
    if (ffn->layout == FFN_NONE) {
        return error_set(err, "layer %" PRIu32 " of %s needs experts or a dense part that %s lacks",
                         layer, c->source.path, c->source.arch->config_name);
    }
    uint32_t experts = kind == FFN_ROUTED ? c->source.hparams.experts : 1;
    uint32_t n = ffn->layout == FFN_SEPARATE ? experts : 1;
    for (uint32_t expert = 0; expert < n; expert++) {
        for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
            struct place place = ffn_place(c, ffn, kind, layer, expert, part);
            if (!check_place(c, &place, false, used, err)) {
                return false;
            }
        }
    }
    return true;
}

/* Whether the name begins with the pattern, % standing for digits. *number is the last of them. */
static bool begins_with(const char *name, const char *pattern, uint64_t *number)
{
    for (; *pattern; pattern++) {
        if (*pattern == '%') {
            size_t digits = strspn(name, "0123456789");
            if (digits == 0) {
                return false;
            }
            *number = strtoull(name, NULL, 10);
            name += digits;
        } else if (*name++ != *pattern) {
            return false;
        }
    }
    return true;
}

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(name + bytes - end_bytes, end) == 0;
}

static bool is_ignored(const struct checkpoint *c, const char *name)
{
    const struct source *source = &c->source;
    uint64_t number = 0;
    for (const char *const *pattern = source->arch->ignored; pattern && *pattern; pattern++) {
        if (begins_with(name, *pattern, &number)) {
            return true;
        }
    }
    if (source->arch->surplus_layers && begins_with(name, "model.layers.%.", &number) &&
        number >= source->hparams.layers) {
        return true;
    }
    if (c->is_fp8 && ends_with(name, ".input_scale")) {
        return true;
    }
    for (uint32_t i = 0; source->tied && i < source->arch->n_weights; i++) {
        const struct arch_weight *row = &source->arch->weights[i];
        char head[SAFETENSORS_MAX_NAME];
        if (row->role == ROLE_OUTPUT && row->hf.name &&
            arch_tensor_name(head, sizeof(head), row->hf.name, 0, 0, 0) &&
            strcmp(head, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_surplus(const struct checkpoint *c, const bool *used, struct error *err)
{
    for (uint64_t i = 0; i < c->tensors.n_tensors; i++) {
        const struct safetensors_tensor *tensor = &c->tensors.tensors[i];
        if (!used[i] && !is_ignored(c, tensor->name)) {
            return error_set(err,
                             "%s: tensor \"%s\" has no place in %s with num_hidden_layers %" PRIu32
                             " and num_experts %" PRIu32,
                             c->tensors.files[tensor->file].path, tensor->name,
                             c->source.arch->config_name, c->source.hparams.layers,
                             c->source.hparams.experts);
        }
    }
    return true;
}

bool checkpoint_check_tensors(struct checkpoint *c, struct error *err)
{
    bool *used = calloc(c->tensors.n_tensors + 1, sizeof(bool));
    c->scales = calloc(c->tensors.n_tensors + 1, sizeof(*c->scales));
    if (!used || !c->scales) {
        free(used);
        return error_set(err, "not enough memory for the table of tensors");
    }
    bool ok = true;
    const struct arch *arch = c->source.arch;
    uint32_t n_layers = c->source.hparams.layers;
    for (uint32_t i = 0; ok && i < arch->n_weights; i++) {
        const struct arch_weight *row = &arch->weights[i];
        uint32_t layers = row->flags & WEIGHT_PER_LAYER ? n_layers : 1;
        for (uint32_t layer = 0; ok && layer < layers; layer++) {
            ok = check_row(c, row, layer, used, err);
        }
    }
    for (uint32_t layer = 0; ok && layer < n_layers; layer++) {
        ok = check_ffn(c, source_ffn_kind(&c->source, layer), layer, used, err) &&
             (!source_has_shared(&c->source, layer) || check_ffn(c, FFN_SHARED, layer, used, err));
    }
    ok = ok && check_surplus(c, used, err);
    free(used);
    return ok;
}
