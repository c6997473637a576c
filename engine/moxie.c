/* Opening and closing: file -> model -> back end -> placement; and what can be asked of a model. */
#include "engine/moxie.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/device.h"
#include "engine/model/virtual_model.h"
#include "engine/moxie_internal.h"
#include "engine/source_text.h"
#include "engine/vk/vk.h"

bool moxie_error_export(struct moxie_error *out, const struct error *err)
{
    static_assert(sizeof(out->text) == sizeof(err->text), "one sentence, one length");
    if (out) {
        memcpy(out->text, err->text, sizeof(out->text));
    }
    return false;
}

struct moxie_options moxie_options_defaults(void)
{
    return (struct moxie_options){0};
}

void moxie_free(void *memory)
{
    free(memory);
}

/* Collects what model_each visits into the arrays of a placement request. */
static bool collect_weight(void *context, struct weight *weight)
{
    struct placement_request *request = context;
    request->weights[request->n_weights++] = weight;
    return true;
}

static bool collect_experts(void *context, struct expert_set *experts)
{
    struct placement_request *request = context;
    request->experts[request->n_experts++] = experts;
    return true;
}

static bool place(struct moxie_model *m, const struct moxie_options *options,
                  uint64_t session_bytes, struct error *err)
{
    uint64_t capacity =
        (uint64_t)m->model.arch->n_weights * m->model.hparams.layers + m->model.arch->n_weights;
    struct placement_request request = {
        .weights = calloc(capacity, sizeof(*request.weights)),
        .experts = calloc(2 * (size_t)m->model.hparams.layers, sizeof(*request.experts)),
        .session_bytes = session_bytes,
        .progress = options->progress,
        .progress_context = options->progress_context,
    };
    if (!request.weights || !request.experts) {
        error_set(err, "not enough memory to place the weights");
    } else {
        model_each(&m->model, collect_weight, collect_experts, &request);
        m->placement = placement_create(m->backend, &m->file, &request, err);
    }
    free(request.weights);
    free(request.experts);
    return m->placement != NULL;
}

static bool open_on(struct moxie_model *m, const struct moxie_options *options, const char *device,
                    struct error *err)
{
    struct device_request request = {
        .device = device,
        .threads = options->threads,
        .memory_limit = options->device_memory,
        .cache_folder = options->cache_folder,
        .validation = options->validation,
        .arithmetic = options->arithmetic,
    };
    m->backend = device_open(&request, err);
    if (!m->backend) {
        return false;
    }
    /* Where the choice is ours, a device must have room for a session too. */
    uint64_t session_bytes = device_is_auto(device) ? session_default_bytes(m) : 0;
    if (!place(m, options, session_bytes, err)) {
        m->backend->functions->destroy(m->backend);
        m->backend = NULL;
        return false;
    }
    return true;
}

static bool open_text(struct moxie_model *m, struct error *err)
{
    const void *section;
    const char *name;
    uint64_t bytes;
    if (model_file_get_string(&m->file, "name", &name, &bytes)) {
        m->name = strndup(name, bytes);
    } else {
        m->name = strdup("");
    }
    if (!m->name) {
        return error_set(err, "not enough memory");
    }
    if (model_file_tokenizer(&m->file, &section, &bytes)) {
        m->tokenizer = tokenizer_create(section, bytes, err);
        return m->tokenizer != NULL;
    }
    return true;
}

static uint64_t sum_weights(const struct model_file *file)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < model_file_n_tensors(file); i++) {
        struct tensor_record record;
        model_file_tensor_at(file, i, &record);
        bytes += record.raw_bytes;
    }
    return bytes;
}

/* The types to run the weights as; NULL: as they are. */
static bool find_types(const char *name, const struct type_mix **mix, struct error *err)
{
    char names[256];
    *mix = name ? type_mix_find(name) : NULL;
    if (*mix || !name) {
        return true;
    }
    type_mix_names(names, sizeof(names));
    return error_set(err, "there is no type \"%.32s\"; there are %s", name, names);
}

/* A .moxie file, or something that is run as it is, or a model that is to be run as another type.
 */
static bool open_file(struct moxie_model *m, const struct moxie_options *options, const char *path,
                      struct error *err)
{
    const struct type_mix *mix;
    if (!find_types(options->type, &mix, err)) {
        return false;
    }
    if (!mix && !source_is_foreign(path)) {
        return model_file_open(&m->file, path, err);
    }
    struct source *source = source_open(path, err);
    if (source && !source_text_attach(source, err)) {
        source_close(&source);
    }
    return source && virtual_model_open(&m->file, source, mix, options->threads, err);
}

struct moxie_model *moxie_open(const char *path, const struct moxie_options *options,
                               struct moxie_error *out)
{
    struct error err = {0};
    struct moxie_options defaults = moxie_options_defaults();
    options = options ? options : &defaults;
    struct moxie_model *m = calloc(1, sizeof(*m));
    if (!m) {
        error_set(&err, "not enough memory");
        moxie_error_export(out, &err);
        return NULL;
    }
    bool ok = open_file(m, options, path, &err) && model_bind(&m->model, &m->file, &err) &&
              open_text(m, &err);
    if (ok) {
        m->weight_bytes = sum_weights(&m->file);
        ok = open_on(m, options, options->device, &err);
        if (!ok && device_is_auto(options->device)) {
            ok = open_on(m, options, "cpu", &err); /* the GPU could not take the model */
        }
    }
    if (!ok) {
        moxie_error_export(out, &err);
        moxie_close(&m);
    }
    return m;
}

void moxie_close(struct moxie_model **model)
{
    struct moxie_model *m = *model;
    if (!m) {
        return;
    }
    assert(m->n_sessions == 0);
    placement_destroy(&m->placement);
    if (m->backend) {
        m->backend->functions->destroy(m->backend);
    }
    chat_template_destroy(&m->chat_template);
    tokenizer_destroy(&m->tokenizer);
    model_free(&m->model);
    model_file_close(&m->file);
    free(m->name);
    free(m);
    *model = NULL;
}

/* Weights of the whole model, and the type most of them have. */
static uint64_t count_parameters(const struct model_file *file, const char **type)
{
    uint64_t total = 0, most = 0, counts[64] = {0};
    assert(dtype_count() <= 64);
    for (uint64_t i = 0; i < model_file_n_tensors(file); i++) {
        struct tensor_record record;
        model_file_tensor_at(file, i, &record);
        bool slab = record.expert != MODEL_FILE_NO_EXPERT;
        uint64_t n = record.rows * record.cols, down = slab ? n / 2 : 0;
        counts[dtype_info(record.type) - dtype_at(0)] += n;
        if (slab) {
            counts[dtype_info(record.down_type) - dtype_at(0)] += down;
        }
        total += n + down;
    }
    *type = "";
    for (uint32_t i = 0; i < dtype_count(); i++) {
        if (counts[i] > most) {
            most = counts[i];
            *type = dtype_at(i)->name;
        }
    }
    return total;
}

void moxie_model_info(const struct moxie_model *m, struct moxie_model_info *info)
{
    const struct hparams *hparams = &m->model.hparams;
    const char *type;
    uint64_t parameters = count_parameters(&m->file, &type);
    *info = (struct moxie_model_info){
        .name = m->name,
        .architecture = m->model.arch->name,
        .device = m->backend->name,
        .layers = hparams->layers,
        .hidden = hparams->hidden,
        .heads = hparams->heads,
        .kv_heads = hparams->kv_heads,
        .head_dim = hparams->head_dim,
        .experts = hparams->experts,
        .experts_per_token = hparams->experts ? hparams->experts_per_token : 0,
        .vocabulary = hparams->vocabulary,
        .context = hparams->context,
        .file_bytes = m->file.map.bytes,
        .type = type,
        .parameters = parameters,
        .weight_bytes = m->weight_bytes,
    };
}

uint32_t moxie_validation_messages(const struct moxie_model *m, char *first, uint32_t first_bytes)
{
    return vk_backend_validation_messages(m->backend, first, first_bytes);
}
