#include "engine/model/forward.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/blocks.h"

/* Ops a layer can need at most (attention 11, experts 6), and those around the layers. */
#define MAX_LAYER_OPS 20
#define MAX_OTHER_OPS 8
/* Tensors declared once, and per layer (two caches, two routes). */
#define MAX_SHARED_TENSORS 32
#define MAX_LAYER_TENSORS 4

static struct tensor *declare(struct forward *f, const char *name, enum dtype dtype, uint64_t rows,
                              uint64_t cols, enum buffer_use use)
{
    assert(f->n_tensors < f->tensor_capacity);
    struct forward_tensor *slot = &f->tensors[f->n_tensors++];
    uint32_t element = dtype == DTYPE_F16 ? 2 : 4;
    slot->use = use;
    slot->tensor =
        (struct tensor){.dtype = dtype, .rows = rows, .cols = cols, .bytes = rows * cols * element};
    snprintf(slot->tensor.name, sizeof(slot->tensor.name), "%s", name);
    return &slot->tensor;
}

static struct tensor *declare_f32(struct forward *f, const char *name, uint64_t rows, uint64_t cols)
{
    return declare(f, name, DTYPE_F32, rows, cols, BUFFER_ACTIVATIONS);
}

static struct tensor *declare_in_layer(struct forward *f, const char *name, uint32_t layer,
                                       enum dtype dtype, uint64_t rows, uint64_t cols,
                                       enum buffer_use use)
{
    char full[TENSOR_NAME_BYTES];
    snprintf(full, sizeof(full), "layer %" PRIu32 " %s", layer, name);
    return declare(f, full, dtype, rows, cols, use);
}

/* The last declared tensor gets an initial value; returns the memory to fill. */
static void *initial_value(struct forward *f)
{
    struct forward_tensor *slot = &f->tensors[f->n_tensors - 1];
    slot->initial = calloc(1, slot->tensor.bytes);
    return slot->initial;
}

static void declare_attention(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    uint64_t chunk = f->options.chunk;
    uint64_t q_dim = (uint64_t)hparams->heads * hparams->head_dim;
    uint64_t kv_dim = (uint64_t)hparams->kv_heads * hparams->head_dim;
    f->q = declare_f32(f, "q", chunk, q_dim);
    f->k = declare_f32(f, "k", chunk, kv_dim);
    f->v = declare_f32(f, "v", chunk, kv_dim);
    if (f->model->arch->qk_norm) {
        f->q_normed = declare_f32(f, "q normed", chunk, q_dim);
        f->k_normed = declare_f32(f, "k normed", chunk, kv_dim);
    }
    f->q_rotated = declare_f32(f, "q rotated", chunk, q_dim);
    f->k_rotated = declare_f32(f, "k rotated", chunk, kv_dim);
    f->attended = declare_f32(f, "attended", chunk, q_dim);
    f->projected = declare_f32(f, "projected", chunk, hparams->hidden);
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        f->states[layer] = (struct state){
            .kind = STATE_KV,
            .layer = layer,
            .k_cache = declare_in_layer(f, "k cache", layer, f->options.kv_type, f->options.context,
                                        kv_dim, BUFFER_ACTIVATIONS),
            .v_cache = declare_in_layer(f, "v cache", layer, f->options.kv_type, f->options.context,
                                        kv_dim, BUFFER_ACTIVATIONS),
        };
    }
}

static void declare_routes(struct forward *f, uint32_t top_k)
{
    enum buffer_use use = f->options.keep_routes ? BUFFER_RESULT : BUFFER_ACTIVATIONS;
    for (uint32_t layer = 0; layer < f->model->hparams.layers; layer++) {
        bool own = layer == 0 || f->options.keep_routes;
        f->ids[layer] =
            own ? declare_in_layer(f, "expert ids", layer, DTYPE_U32, f->options.chunk, top_k, use)
                : f->ids[0];
        f->weights[layer] = own ? declare_in_layer(f, "expert weights", layer, DTYPE_F32,
                                                   f->options.chunk, top_k, use)
                                : f->weights[0];
    }
}

static bool declare_experts(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    uint64_t chunk = f->options.chunk;
    uint32_t top_k = 1, experts = 1, ffn = 1, dense = 0;
    for (uint32_t number = 0; number < hparams->layers; number++) {
        const struct model_layer *layer = &f->model->layers[number];
        /* h holds (tokens * top_k, ffn) of whichever layer is running. */
        uint32_t width = layer->ffn * (layer->has_router ? hparams->experts_per_token : 1);
        ffn = width > ffn ? width : ffn;
        dense += !layer->has_router;
    }
    if (dense < hparams->layers) {
        top_k = hparams->experts_per_token;
        experts = hparams->experts;
    }
    declare_routes(f, top_k);
    f->offsets = declare(f, "expert offsets", DTYPE_U32, 1, experts + 1, BUFFER_ACTIVATIONS);
    f->pairs = declare(f, "expert pairs", DTYPE_U32, 1, chunk * top_k, BUFFER_ACTIVATIONS);
    f->h = declare_f32(f, "h", chunk, ffn);
    f->parts = declare_f32(f, "parts", chunk * top_k, hparams->hidden);
    if (dense == 0) {
        return true;
    }
    f->dense_ids = declare(f, "dense ids", DTYPE_U32, chunk, 1, BUFFER_ACTIVATIONS);
    if (!initial_value(f)) {
        return false;
    }
    f->dense_weights = declare_f32(f, "dense weights", chunk, 1);
    float *ones = initial_value(f);
    for (uint64_t i = 0; ones && i < chunk; i++) {
        ones[i] = 1;
    }
    return ones != NULL;
}

static bool declare_all(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    uint64_t chunk = f->options.chunk;
    f->step = declare(f, "step", DTYPE_U32, 1, sizeof(struct step) / 4 + chunk, BUFFER_STEP);
    f->frequencies = declare_f32(f, "rope frequencies", 1, hparams->head_dim / 2);
    float *frequencies = initial_value(f);
    if (!frequencies) {
        return false;
    }
    model_rope_frequencies(hparams, frequencies);
    f->x = declare_f32(f, "x", chunk, hparams->hidden);
    f->y = declare_f32(f, "y", chunk, hparams->hidden);
    f->normed = declare_f32(f, "normed", chunk, hparams->hidden);
    declare_attention(f);
    if (!declare_experts(f)) {
        return false;
    }
    f->last = declare_f32(f, "last", 1, hparams->hidden);
    f->logits = declare(f, "logits", DTYPE_F32, 1, hparams->vocabulary, BUFFER_RESULT);
    f->best = declare(f, "best", DTYPE_U32, 1, 1, BUFFER_RESULT);
    return true;
}

bool forward_init(struct forward *f, const struct model *model,
                  const struct forward_options *options, struct error *err)
{
    uint32_t layers = model->hparams.layers;
    *f = (struct forward){.model = model, .options = *options};
    f->tensor_capacity = MAX_SHARED_TENSORS + layers * MAX_LAYER_TENSORS;
    f->tensors = calloc(f->tensor_capacity, sizeof(*f->tensors));
    f->ids = calloc(layers, sizeof(*f->ids));
    f->weights = calloc(layers, sizeof(*f->weights));
    f->states = calloc(layers, sizeof(*f->states));
    if (!f->tensors || !f->ids || !f->weights || !f->states || !declare_all(f)) {
        forward_free(f);
        return error_set(err, "not enough memory for a session");
    }
    return true;
}

void forward_free(struct forward *f)
{
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        free(f->tensors[i].initial);
    }
    free(f->tensors);
    free(f->ids);
    free(f->weights);
    free(f->states);
    *f = (struct forward){0};
}

uint64_t forward_bytes(const struct forward *f)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        bytes += f->tensors[i].tensor.bytes;
    }
    return bytes;
}

uint64_t forward_state_bytes(const struct forward *f)
{
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < f->model->hparams.layers; layer++) {
        bytes += f->states[layer].k_cache->bytes + f->states[layer].v_cache->bytes;
    }
    return bytes;
}

bool forward_write(const struct forward *f, uint32_t max_tokens, struct op_list *list,
                   struct error *err)
{
    const struct model *model = f->model;
    const struct hparams *hparams = &model->hparams;
    const struct weight *head = model->tied ? &model->token_embedding : &model->output;
    assert(max_tokens >= 1 && max_tokens <= f->options.chunk);
    if (!op_list_init(list, max_tokens, hparams->layers * MAX_LAYER_OPS + MAX_OTHER_OPS, err)) {
        return false;
    }
    struct op *embed =
        op_list_add(list, OP_embed, model->token_embedding.tensor.dtype,
                    (const struct tensor *[]){f->step, &model->token_embedding.tensor, f->x});
    embed->args.embed.rows = hparams->vocabulary;
    embed->args.embed.dim = hparams->hidden;

    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        block_attention(f, layer, list);
        block_moe(f, layer, list);
    }

    block_norm(f, f->x, &model->output_norm, f->last, 1, hparams->hidden, true, list);
    block_matmul(f, head, f->last, f->logits, true, list);
    struct op *argmax =
        op_list_add(list, OP_argmax, DTYPE_F32, (const struct tensor *[]){f->logits, f->best});
    argmax->args.argmax.dim = hparams->vocabulary;
    return true;
}
