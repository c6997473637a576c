/* Whether a checkpoint has what the architecture's table and config.json ask for: every tensor, of
 * the right shape and dtype, its scales, and nothing else. */
#include "engine/model/source_checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/f8.h"

static bool check_dtype(const struct checkpoint *c, const struct checkpoint_stored *stored,
                        struct error *err)
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
static uint32_t expected_shapes(const struct checkpoint_place *place, bool pair,
                                uint64_t shapes[2][4], uint32_t ranks[2])
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
                        const struct checkpoint_place *place, const uint64_t *expected,
                        uint32_t rank, struct error *err)
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

static bool check_values(const struct checkpoint *c, const struct checkpoint_place *place,
                         const struct checkpoint_stored *stored, struct error *err)
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

static bool check_scales(struct checkpoint *c, const struct checkpoint_place *place,
                         const struct checkpoint_stored *stored, struct error *err)
{
    const struct safetensors_tensor *scales = stored->scales;
    bool pair = stored->encoding == SOURCE_MXFP4_PAIR;
    bool swap = place->input_major && !pair;
    uint64_t rows = swap ? place->cols : place->rows, cols = swap ? place->rows : place->cols;
    uint64_t tile_rows, tile_cols;
    bool fits = pair ? scales->elements == stored->values->elements / (MXFP4_BLOCK / 2)
                     : checkpoint_find_tiles(c, scales, place->n_slices, rows, cols, &tile_rows,
                                             &tile_cols);
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

static bool check_place(struct checkpoint *c, const struct checkpoint_place *place, bool optional,
                        bool *used, struct error *err)
{
    struct checkpoint_stored stored;
    if (!checkpoint_find(c, place, &stored)) {
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
    struct checkpoint_place place = checkpoint_row_place(c, row, layer);
    /* The head may be missing in families where it is mostly tied; here source_has wants it. */
    bool optional = row->flags & WEIGHT_OPTIONAL && row->role != ROLE_OUTPUT;
    return check_place(c, &place, optional, used, err);
}

static bool check_ffn(struct checkpoint *c, enum arch_ffn_kind kind, uint32_t layer, bool *used,
                      struct error *err)
{
    const struct arch_ffn *ffn = checkpoint_find_layout(c, kind, layer);
    if (ffn->layout == FFN_NONE) {
        return error_set(err, "layer %" PRIu32 " of %s needs experts or a dense part that %s lacks",
                         layer, c->source.path, c->source.arch->config_name);
    }
    uint32_t experts = kind == FFN_ROUTED ? c->source.hparams.experts : 1;
    uint32_t n = ffn->layout == FFN_SEPARATE ? experts : 1;
    for (uint32_t expert = 0; expert < n; expert++) {
        for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
            struct checkpoint_place place = checkpoint_ffn_place(c, ffn, kind, layer, expert, part);
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
