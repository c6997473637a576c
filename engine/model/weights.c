/* Strings become fields here, once: after model_bind nobody looks a tensor up by name or role. */
#include "engine/model/model.h"

#include "engine/model/expert_sets.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Where the weights of a role are kept. */
struct field {
    enum tensor_role role;
    size_t offset;
};

static const struct field layer_fields[] = {
#define FIELD(role, member) \
    { \
        ROLE_##role, offsetof(struct model_layer, member) \
    }
    FIELD(ATTENTION_NORM, attention_norm),
    FIELD(ATTENTION_OUTPUT, attention_output),
    FIELD(ATTENTION_OUTPUT_BIAS, attention_output_bias),
    FIELD(ATTENTION_Q, attention_q),
    FIELD(ATTENTION_K, attention_k),
    FIELD(ATTENTION_V, attention_v),
    FIELD(ATTENTION_Q_BIAS, attention_q_bias),
    FIELD(ATTENTION_K_BIAS, attention_k_bias),
    FIELD(ATTENTION_V_BIAS, attention_v_bias),
    FIELD(ATTENTION_Q_NORM, attention_q_norm),
    FIELD(ATTENTION_K_NORM, attention_k_norm),
    FIELD(ATTENTION_SINKS, attention_sinks),
    FIELD(LATENT_Q_A, latent_q_a),
    FIELD(LATENT_Q_A_NORM, latent_q_a_norm),
    FIELD(LATENT_Q_NOPE, latent_q_nope),
    FIELD(LATENT_Q_ROPE, latent_q_rope),
    FIELD(LATENT_KV_A, latent_kv_a),
    FIELD(LATENT_KV_A_NORM, latent_kv_a_norm),
    FIELD(LATENT_K_ROPE, latent_k_rope),
    FIELD(LATENT_K_B, latent_k_b),
    FIELD(LATENT_V_B, latent_v_b),
    FIELD(FFN_NORM, ffn_norm),
    FIELD(ROUTER, router),
    FIELD(ROUTER_BIAS, router_bias),
    FIELD(ROUTER_CORRECTION, router_correction),
    FIELD(EXPERT_GATE_BIAS, expert_gate_bias),
    FIELD(EXPERT_UP_BIAS, expert_up_bias),
    FIELD(EXPERT_DOWN_BIAS, expert_down_bias),
    FIELD(SHARED_ROUTER, shared_router),
#undef FIELD
};

static const struct field model_fields[] = {
    {ROLE_TOKEN_EMBEDDING, offsetof(struct model, token_embedding)},
    {ROLE_OUTPUT_NORM, offsetof(struct model, output_norm)},
    {ROLE_OUTPUT, offsetof(struct model, output)},
};

/* NULL if no field has the role. */
static struct weight *find_field(const struct field *fields, size_t n_fields, void *base,
                                 enum tensor_role role)
{
    for (size_t i = 0; i < n_fields; i++) {
        if (fields[i].role == role) {
            return (struct weight *)((char *)base + fields[i].offset);
        }
    }
    return NULL;
}

static struct weight *layer_field(struct model_layer *layer, enum tensor_role role)
{
    return find_field(layer_fields, sizeof(layer_fields) / sizeof(layer_fields[0]), layer, role);
}

static struct weight *model_field(struct model *model, enum tensor_role role)
{
    return find_field(model_fields, sizeof(model_fields) / sizeof(model_fields[0]), model, role);
}

static bool check_record(const struct model_file *file, const struct arch_weight *row,
                         const struct hparams *hparams, const struct tensor_record *record,
                         struct error *err)
{
    uint64_t rows = arch_dim_value(row->rows, hparams), cols = arch_dim_value(row->cols, hparams);
    if (record->rows != rows || record->cols != cols) {
        return error_set(err,
                         "%s: tensor %.*s has shape [%" PRIu64 ", %" PRIu64
                         "] where the model's numbers ask for [%" PRIu64 ", %" PRIu64 "]",
                         file->map.path, (int)record->name_bytes, record->name, record->rows,
                         record->cols, rows, cols);
    }
    if ((row->flags & WEIGHT_KEEP_F32) && record->type != DTYPE_F32) {
        return error_set(err, "%s: tensor %.*s has type %s where f32 is required", file->map.path,
                         (int)record->name_bytes, record->name, dtype_name(record->type));
    }
    return true;
}

static bool bind_weight(struct weight *weight, const struct model_file *file,
                        const struct arch_weight *row, const struct hparams *hparams,
                        const struct tensor_record *record, struct error *err)
{
    if (!check_record(file, row, hparams, record, err)) {
        return false;
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
    tensor->rows = record->rows;
    tensor->cols = record->cols;
    tensor->bytes = record->raw_bytes;
    return true;
}

static bool missing(const struct model_file *file, const struct arch_weight *row, uint32_t layer,
                    struct error *err)
{
    if (row->flags & WEIGHT_PER_LAYER) {
        return error_set(err, "%s: the file has no %s tensor for layer %" PRIu32, file->map.path,
                         role_name(row->role), layer);
    }
    return error_set(err, "%s: the file has no %s tensor", file->map.path, role_name(row->role));
}

/* The host alone reads the divisors of RoPE's frequencies. */
static bool bind_divisors(struct model *model, const struct model_file *file,
                          const struct arch_weight *row, const struct tensor_record *record,
                          struct error *err)
{
    if (!check_record(file, row, &model->hparams, record, err)) {
        return false;
    }
    model->rope_divisors = malloc((size_t)record->raw_bytes);
    if (!model->rope_divisors) {
        return error_set(err, "not enough memory for %s", role_name(row->role));
    }
    if (!model_file_load(file, record, model->rope_divisors, err)) {
        return false;
    }
    for (uint64_t i = 0; i < record->cols; i++) {
        float divisor = model->rope_divisors[i];
        if (!isfinite(divisor) || divisor <= 0) {
            return error_set(err, "%s: tensor %.*s has a %g, which can divide no frequency",
                             file->map.path, (int)record->name_bytes, record->name,
                             (double)divisor);
        }
    }
    return true;
}

static bool bind_global(struct model *model, const struct model_file *file,
                        const struct arch_weight *row, struct error *err)
{
    struct tensor_record record;
    if (!model_file_find_tensor(file, row->role, MODEL_FILE_NO_LAYER, &record)) {
        if (row->role == ROLE_OUTPUT) {
            model->tied = true;
        }
        return (row->flags & WEIGHT_OPTIONAL) || missing(file, row, 0, err);
    }
    if (row->role == ROLE_ROPE_DIVISORS) {
        return bind_divisors(model, file, row, &record, err);
    }
    return bind_weight(model_field(model, row->role), file, row, &model->hparams, &record, err);
}

static bool bind_in_layer(struct model *model, const struct model_file *file,
                          const struct arch_weight *row, uint32_t number, struct error *err)
{
    struct model_layer *layer = &model->layers[number];
    struct tensor_record record;
    if ((row->flags & WEIGHT_ROUTER_LAYERS) && !layer->has_router) {
        return true;
    }
    if (arch_dim_value(row->rows, &model->hparams) == 0 ||
        arch_dim_value(row->cols, &model->hparams) == 0) {
        return true; /* a model with these numbers has none */
    }
    if (!model_file_find_tensor(file, row->role, number, &record)) {
        return (row->flags & WEIGHT_OPTIONAL) || missing(file, row, number, err);
    }
    return bind_weight(layer_field(layer, row->role), file, row, &model->hparams, &record, err);
}

/* A layer without a router is a dense one. */
static bool find_router(struct model *model, const struct model_file *file, uint32_t number,
                        struct error *err)
{
    struct model_layer *layer = &model->layers[number];
    struct tensor_record record;
    layer->has_router = model_file_find_tensor(file, ROLE_ROUTER, number, &record);
    layer->has_shared = layer->has_router && model->hparams.shared_ffn > 0;
    layer->window = model->hparams.windowed[number] ? model->hparams.window : 0;
    if (layer->has_router && !hparams_layer_has_router(&model->hparams, number)) {
        return error_set(
            err, "%s: layer %" PRIu32 " has a router, which the model's numbers say it has not",
            file->map.path, number);
    }
    return true;
}

static bool bind_layer(struct model *model, const struct model_file *file, uint32_t number,
                       struct error *err)
{
    const struct arch *arch = model->arch;
    if (!find_router(model, file, number, err)) {
        return false;
    }
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        if (arch->weights[i].flags & WEIGHT_PER_LAYER &&
            !bind_in_layer(model, file, &arch->weights[i], number, err)) {
            return false;
        }
    }
    return expert_sets_bind(&model->layers[number], &model->hparams, file, number, err);
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
    return hparams_from_file(&model->hparams, model->arch, file, err);
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
    bool ok = true;
    for (uint32_t i = 0; ok && i < model->arch->n_weights; i++) {
        const struct arch_weight *row = &model->arch->weights[i];
        ok = row->flags & WEIGHT_PER_LAYER || bind_global(model, file, row, err);
    }
    for (uint32_t layer = 0; ok && layer < model->hparams.layers; layer++) {
        ok = bind_layer(model, file, layer, err);
    }
    if (!ok) {
        model_free(model);
    }
    return ok;
}

void model_free(struct model *model)
{
    for (uint32_t layer = 0; model->layers && layer < model->hparams.layers; layer++) {
        expert_sets_free(&model->layers[layer]);
    }
    free(model->layers);
    free(model->rope_divisors);
    *model = (struct model){0};
}

/* Visits a weight unless this model, or this layer, has none. */
static bool visit(struct weight *weight, bool (*matrix)(void *context, struct weight *weight),
                  void *context)
{
    return !weight || weight->tensor.bytes == 0 || matrix(context, weight);
}

bool model_each(struct model *model, bool (*matrix)(void *context, struct weight *weight),
                bool (*experts)(void *context, struct expert_set *experts), void *context)
{
    const struct arch *arch = model->arch;
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        if (!(arch->weights[i].flags & WEIGHT_PER_LAYER) &&
            !visit(model_field(model, arch->weights[i].role), matrix, context)) {
            return false;
        }
    }
    for (uint32_t number = 0; number < model->hparams.layers; number++) {
        struct model_layer *layer = &model->layers[number];
        for (uint32_t i = 0; i < arch->n_weights; i++) {
            if (arch->weights[i].flags & WEIGHT_PER_LAYER &&
                !visit(layer_field(layer, arch->weights[i].role), matrix, context)) {
                return false;
            }
        }
        if (!experts(context, &layer->experts) ||
            (layer->has_shared && !experts(context, &layer->shared))) {
            return false;
        }
    }
    return true;
}
