#include "engine/model/expert_sets.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool check_slab(const struct model_file *file, const struct tensor_record *record,
                       uint32_t hidden, uint32_t ffn, struct error *err)
{
    if (record->rows != 2 * (uint64_t)ffn || record->cols != hidden) {
        return error_set(err,
                         "%s: %.*s has gate and up of shape [%" PRIu64 ", %" PRIu64
                         "] where the model's numbers ask for [%" PRIu64 ", %" PRIu32 "]",
                         file->map.path, (int)record->name_bytes, record->name, record->rows,
                         record->cols, 2 * (uint64_t)ffn, hidden);
    }
    if (record->down_offset > UINT32_MAX) {
        return error_set(err, "%s: %.*s is larger than this version can run", file->map.path,
                         (int)record->name_bytes, record->name);
    }
    return true;
}

static struct expert_class *find_class(const struct expert_set *set,
                                       const struct tensor_record *record)
{
    for (uint32_t i = 0; i < set->n_classes; i++) {
        if (expert_class_has(&set->classes[i], record)) {
            return &set->classes[i];
        }
    }
    return NULL;
}

static bool add_class(struct expert_set *set, const struct tensor_record *record, const char *what,
                      struct error *err)
{
    struct expert_class *classes = realloc(set->classes, (set->n_classes + 1) * sizeof(*classes));
    if (!classes) {
        return error_set(err, "not enough memory for the experts of layer %" PRIu32, record->layer);
    }
    set->classes = classes;
    struct expert_class *class = &classes[set->n_classes];
    *class = (struct expert_class){
        .type = record->type,
        .down_type = record->down_type,
        .down_offset = (uint32_t)record->down_offset,
        .slabs = {.dtype = record->type,
                  .rows = set->n_experts,
                  .cols = 1,
                  .bytes = set->n_experts * sizeof(uint64_t)},
    };
    if (set->n_classes == 0) {
        snprintf(class->slabs.name, sizeof(class->slabs.name), "layer %" PRIu32 " %s",
                 record->layer, what);
    } else {
        snprintf(class->slabs.name, sizeof(class->slabs.name),
                 "layer %" PRIu32 " %s, class %" PRIu32, record->layer, what, set->n_classes);
    }
    set->n_classes++;
    return true;
}

/* The set's first_record and n_experts are known. */
static bool bind_set(struct expert_set *set, const struct model_file *file, uint32_t hidden,
                     uint32_t ffn, const char *what, struct error *err)
{
    for (uint32_t expert = 0; expert < set->n_experts; expert++) {
        struct tensor_record record;
        model_file_tensor_at(file, set->first_record + expert, &record);
        if (!check_slab(file, &record, hidden, ffn, err) ||
            !(find_class(set, &record) || add_class(set, &record, what, err))) {
            return false;
        }
        find_class(set, &record)->n_members++;
    }
    return true;
}

static bool bind_experts(struct model_layer *layer, const struct hparams *hparams,
                         const struct model_file *file, uint32_t number, struct error *err)
{
    struct expert_layer directory;
    if (!model_file_find_expert_layer(file, number, &directory)) {
        return error_set(err, "%s: the file has no experts for layer %" PRIu32, file->map.path,
                         number);
    }
    uint32_t n_experts = layer->has_router ? hparams->experts : 1;
    if (directory.n_experts != n_experts) {
        return error_set(err,
                         "%s: layer %" PRIu32 " has %" PRIu32
                         " experts where the model's numbers ask for %" PRIu32,
                         file->map.path, number, directory.n_experts, n_experts);
    }
    layer->ffn = layer->has_router ? hparams->expert_ffn : hparams->ffn;
    layer->experts.first_record = directory.first_record;
    layer->experts.n_experts = n_experts;
    return bind_set(&layer->experts, file, hparams->hidden, layer->ffn, "experts", err);
}

static bool bind_shared(struct model_layer *layer, const struct hparams *hparams,
                        const struct model_file *file, uint32_t number, struct error *err)
{
    struct tensor_record record;
    if (!model_file_find_tensor(file, ROLE_SHARED_EXPERT, number, &record)) {
        return error_set(err, "%s: the file has no %s tensor for layer %" PRIu32, file->map.path,
                         role_name(ROLE_SHARED_EXPERT), number);
    }
    layer->shared_ffn = hparams->shared_ffn;
    layer->shared.first_record = record.index;
    layer->shared.n_experts = 1;
    return bind_set(&layer->shared, file, hparams->hidden, layer->shared_ffn, "shared expert", err);
}

bool expert_sets_bind(struct model_layer *layer, const struct hparams *hparams,
                      const struct model_file *file, uint32_t number, struct error *err)
{
    return bind_experts(layer, hparams, file, number, err) &&
           (!layer->has_shared || bind_shared(layer, hparams, file, number, err));
}

void expert_sets_free(struct model_layer *layer)
{
    free(layer->experts.classes);
    free(layer->shared.classes);
    layer->experts = layer->shared = (struct expert_set){0};
}
