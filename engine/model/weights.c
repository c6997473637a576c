/* Strings become fields here, once: after model_bind nobody looks a tensor up by name or role. */
#include "engine/model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct weight *layer_field(struct model_layer *layer, enum tensor_role role)
{
    switch (role) {
    case ROLE_ATTENTION_NORM:
        return &layer->attention_norm;
    case ROLE_ATTENTION_Q:
        return &layer->attention_q;
    case ROLE_ATTENTION_K:
        return &layer->attention_k;
    case ROLE_ATTENTION_V:
        return &layer->attention_v;
    case ROLE_ATTENTION_OUTPUT:
        return &layer->attention_output;
    case ROLE_ATTENTION_Q_NORM:
        return &layer->attention_q_norm;
    case ROLE_ATTENTION_K_NORM:
        return &layer->attention_k_norm;
    case ROLE_FFN_NORM:
        return &layer->ffn_norm;
    case ROLE_ROUTER:
        return &layer->router;
    default:
        return NULL;
    }
}

static struct weight *model_field(struct model *model, enum tensor_role role)
{
    switch (role) {
    case ROLE_TOKEN_EMBEDDING:
        return &model->token_embedding;
    case ROLE_OUTPUT_NORM:
        return &model->output_norm;
    case ROLE_OUTPUT:
        return &model->output;
    default:
        return NULL;
    }
}

static bool bind_weight(struct weight *weight, const struct arch_weight *row,
                        const struct hparams *hparams, const struct tensor_record *record,
                        struct error *err)
{
    uint64_t rows = arch_dim_value(row->rows, hparams), cols = arch_dim_value(row->cols, hparams);
    if (record->rows != rows || record->cols != cols) {
        return error_set(err,
                         "tensor %.*s has shape [%" PRIu64 ", %" PRIu64
                         "] where the model's numbers ask for [%" PRIu64 ", %" PRIu64 "]",
                         (int)record->name_bytes, record->name, record->rows, record->cols, rows,
                         cols);
    }
    if ((row->flags & WEIGHT_KEEP_F32) && record->type != DTYPE_F32) {
        return error_set(err, "tensor %.*s has type %s where f32 is required",
                         (int)record->name_bytes, record->name, dtype_name(record->type));
    }
    weight->record = *record;
    struct tensor *tensor = &weight->tensor;
    if (record->layer == MODEL_FILE_NO_LAYER) {
        snprintf(tensor->name, sizeof(tensor->name), "%s", role_name(row->role));
    } else {
        snprintf(tensor->name, sizeof(tensor->name), "layer %" PRIu32 " %s", record->layer,
                 role_name(row->role));
    }
    tensor->dtype = record->type;
    tensor->rows = rows;
    tensor->cols = cols;
    tensor->bytes = record->raw_bytes;
    return true;
}

static bool missing(const struct arch_weight *row, uint32_t layer, struct error *err)
{
    if (row->flags & WEIGHT_PER_LAYER) {
        return error_set(err, "the file has no %s tensor for layer %" PRIu32, role_name(row->role),
                         layer);
    }
    return error_set(err, "the file has no %s tensor", role_name(row->role));
}

static bool bind_global(struct model *model, const struct model_file *file,
                        const struct arch_weight *row, struct error *err)
{
    struct tensor_record record;
    if (!model_file_find_tensor(file, row->role, MODEL_FILE_NO_LAYER, &record)) {
        if (row->role == ROLE_OUTPUT) {
            model->tied = true;
        }
        return (row->flags & WEIGHT_OPTIONAL) || missing(row, 0, err);
    }
    return bind_weight(model_field(model, row->role), row, &model->hparams, &record, err);
}

static bool bind_in_layer(struct model *model, const struct model_file *file,
                          const struct arch_weight *row, uint32_t number, struct error *err)
{
    struct model_layer *layer = &model->layers[number];
    struct tensor_record record;
    if (!model_file_find_tensor(file, row->role, number, &record)) {
        /* A layer without a router is a dense one. */
        return (row->flags & (WEIGHT_OPTIONAL | WEIGHT_ROUTER_LAYERS)) || missing(row, number, err);
    }
    if (row->role == ROLE_ROUTER) {
        layer->has_router = true;
    }
    return bind_weight(layer_field(layer, row->role), row, &model->hparams, &record, err);
}

static bool bind_experts(struct model *model, const struct model_file *file, uint32_t number,
                         struct error *err)
{
    struct model_layer *layer = &model->layers[number];
    struct expert_layer *directory = &layer->experts.directory;
    const struct hparams *hparams = &model->hparams;
    if (!model_file_find_expert_layer(file, number, directory)) {
        return error_set(err, "the file has no experts for layer %" PRIu32, number);
    }
    uint32_t n_experts = layer->has_router ? hparams->experts : 1;
    if (directory->n_experts != n_experts) {
        return error_set(err,
                         "layer %" PRIu32 " has %" PRIu32 " experts where its router has %" PRIu32,
                         number, directory->n_experts, n_experts);
    }
    layer->ffn = layer->has_router ? hparams->expert_ffn : hparams->ffn;
    for (uint32_t expert = 0; expert < n_experts; expert++) {
        struct tensor_record record;
        model_file_tensor_at(file, directory->first_record + expert, &record);
        if (record.rows != 2 * (uint64_t)layer->ffn || record.cols != hparams->hidden) {
            return error_set(err,
                             "%.*s has gate and up of shape [%" PRIu64 ", %" PRIu64
                             "] where the model's numbers ask for [%" PRIu64 ", %" PRIu32 "]",
                             (int)record.name_bytes, record.name, record.rows, record.cols,
                             2 * (uint64_t)layer->ffn, hparams->hidden);
        }
        if (expert == 0) {
            if (record.down_offset > UINT32_MAX) {
                return error_set(err, "%.*s is larger than this version can run",
                                 (int)record.name_bytes, record.name);
            }
            layer->gate_up_type = record.type;
            layer->down_type = record.down_type;
            layer->down_offset = (uint32_t)record.down_offset;
        } else if (record.type != layer->gate_up_type || record.down_type != layer->down_type ||
                   record.down_offset != layer->down_offset) {
            return error_set(err,
                             "the experts of layer %" PRIu32
                             " differ in type, which this version cannot run",
                             number);
        }
    }
    struct tensor *slabs = &layer->experts.slabs;
    *slabs = (struct tensor){.dtype = layer->gate_up_type,
                             .rows = n_experts,
                             .cols = 1,
                             .bytes = n_experts * sizeof(uint64_t)};
    snprintf(slabs->name, sizeof(slabs->name), "layer %" PRIu32 " experts", number);
    return true;
}

static bool bind_arch(struct model *model, const struct model_file *file, struct error *err)
{
    const char *name;
    uint64_t bytes;
    if (!model_file_get_string(file, "architecture", &name, &bytes)) {
        return error_set(err, "%s does not say which architecture it is", file->map.path);
    }
    model->arch = arch_find(name, bytes);
    if (!model->arch) {
        return error_set(err, "%s: architecture \"%.*s\" is not one this version can run",
                         file->map.path, (int)(bytes < 64 ? bytes : 64), name);
    }
    return hparams_from_file(&model->hparams, file, err);
}

bool model_bind(struct model *model, const struct model_file *file, struct error *err)
{
    *model = (struct model){0};
    if (!bind_arch(model, file, err)) {
        return false;
    }
    model->layers = calloc(model->hparams.layers, sizeof(struct model_layer));
    if (!model->layers) {
        return error_set(err, "not enough memory for %" PRIu32 " layers", model->hparams.layers);
    }
    for (uint32_t i = 0; i < model->arch->n_weights; i++) {
        const struct arch_weight *row = &model->arch->weights[i];
        if (!(row->flags & WEIGHT_PER_LAYER)) {
            if (!bind_global(model, file, row, err)) {
                goto fail;
            }
            continue;
        }
        for (uint32_t layer = 0; layer < model->hparams.layers; layer++) {
            if (!bind_in_layer(model, file, row, layer, err)) {
                goto fail;
            }
        }
    }
    for (uint32_t layer = 0; layer < model->hparams.layers; layer++) {
        if (!bind_experts(model, file, layer, err)) {
            goto fail;
        }
    }
    return true;
fail:
    model_free(model);
    return false;
}

void model_free(struct model *model)
{
    free(model->layers);
    *model = (struct model){0};
}

bool model_each(struct model *model, bool (*matrix)(void *context, struct weight *weight),
                bool (*experts)(void *context, struct expert_set *experts), void *context)
{
    for (uint32_t i = 0; i < model->arch->n_weights; i++) {
        const struct arch_weight *row = &model->arch->weights[i];
        if (row->flags & WEIGHT_PER_LAYER || (row->role == ROLE_OUTPUT && model->tied)) {
            continue;
        }
        if (!matrix(context, model_field(model, row->role))) {
            return false;
        }
    }
    for (uint32_t number = 0; number < model->hparams.layers; number++) {
        struct model_layer *layer = &model->layers[number];
        for (uint32_t i = 0; i < model->arch->n_weights; i++) {
            const struct arch_weight *row = &model->arch->weights[i];
            bool here = row->flags & WEIGHT_PER_LAYER &&
                        (layer->has_router || !(row->flags & WEIGHT_ROUTER_LAYERS));
            if (here && !matrix(context, layer_field(layer, row->role))) {
                return false;
            }
        }
        if (!experts(context, &layer->experts)) {
            return false;
        }
    }
    return true;
}

/* Llama 3.1's scaling: wavelengths beyond the original context / low factor are divided, those
 * below the original context / high factor kept, with a linear ramp between. */
static double scale_llama3(const struct hparams *hparams, double frequency)
{
    double wavelength = 2 * M_PI / frequency;
    double context = hparams->rope_original_context;
    double low = hparams->rope_low_frequency_factor, high = hparams->rope_high_frequency_factor;
    if (wavelength < context / high) {
        return frequency;
    }
    if (wavelength > context / low) {
        return frequency / hparams->rope_factor;
    }
    double ramp = (context / wavelength - low) / (high - low);
    return (1 - ramp) * frequency / hparams->rope_factor + ramp * frequency;
}

void model_rope_frequencies(const struct hparams *hparams, float *frequencies)
{
    for (uint32_t j = 0; j < hparams->head_dim / 2; j++) {
        double frequency = pow(hparams->rope_theta, -2.0 * j / hparams->head_dim);
        if (hparams->rope_scaling == ROPE_SCALING_LINEAR) {
            frequency /= hparams->rope_factor;
        } else if (hparams->rope_scaling == ROPE_SCALING_LLAMA3) {
            frequency = scale_llama3(hparams, frequency);
        }
        frequencies[j] = (float)frequency;
    }
}
