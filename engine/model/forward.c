#include "engine/model/forward.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/sampling.h"
#include "engine/model/blocks.h"
#include "engine/model/rope.h"

/* Ops a layer can need at most (attention 16, experts 10, observations 8), beside two for each
 * class of experts; and those around the layers. */
#define MAX_LAYER_OPS 34
#define MAX_OTHER_OPS 10
/* Tensors declared once, and per layer (two caches, two routes, two an observation). */
#define MAX_SHARED_TENSORS 50
#define MAX_LAYER_TENSORS 20

struct tensor *forward_declare(struct forward *f, const char *name, enum dtype dtype, uint64_t rows,
                               uint64_t cols, enum buffer_use use)
{
    assert(f->n_tensors < f->tensor_capacity);
    struct forward_tensor *slot = &f->tensors[f->n_tensors++];
    slot->use = use;
    slot->tensor = (struct tensor){.dtype = dtype, .rows = rows, .cols = cols};
    slot->tensor.bytes = dtype == DTYPE_Q8_0 ? dtype_matrix_bytes(dtype_info(dtype), rows, cols)
                                             : rows * cols * (dtype == DTYPE_F16 ? 2 : 4);
    snprintf(slot->tensor.name, sizeof(slot->tensor.name), "%s", name);
    return &slot->tensor;
}

struct tensor *forward_declare_f32(struct forward *f, const char *name, uint64_t cols)
{
    return forward_declare(f, name, DTYPE_F32, f->options.chunk, cols, BUFFER_ACTIVATIONS);
}

struct tensor *forward_declare_in_layer(struct forward *f, const char *name, uint32_t layer,
                                        enum dtype dtype, uint64_t rows, uint64_t cols,
                                        enum buffer_use use)
{
    char full[TENSOR_NAME_BYTES];
    snprintf(full, sizeof(full), "layer %" PRIu32 " %s", layer, name);
    return forward_declare(f, full, dtype, rows, cols, use);
}

void *forward_initial(struct forward *f)
{
    struct forward_tensor *slot = &f->tensors[f->n_tensors - 1];
    slot->initial = calloc(1, slot->tensor.bytes);
    return slot->initial;
}

static bool is_latent(const struct forward *f)
{
    return f->model->arch->attention == ATTENTION_LATENT;
}

static void declare_sampling(struct forward *f)
{
    f->sampling = forward_declare(f, "sampling", DTYPE_U32, 1,
                                  sizeof(struct sampling_state) / sizeof(uint32_t), BUFFER_STEP);
    f->recent = forward_declare(f, "recent", DTYPE_U32, 1, f->options.context, BUFFER_STEP);
    f->occurrences = forward_declare(f, "occurrences", DTYPE_U32, 1, f->model->hparams.vocabulary,
                                     BUFFER_ACTIVATIONS);
    f->chosen = forward_declare(f, "chosen", DTYPE_U32, 1, SAMPLE_RESULTS, BUFFER_RESULT);
}

static bool declare_all(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    f->step = forward_declare(f, "step", DTYPE_U32, 1, sizeof(struct step) / 4 + f->options.chunk,
                              BUFFER_STEP);
    f->frequencies = forward_declare(f, "rope frequencies", DTYPE_F32, 1, hparams->rope_dim / 2,
                                     BUFFER_ACTIVATIONS);
    float *frequencies = forward_initial(f);
    if (!frequencies) {
        return false;
    }
    rope_frequencies(hparams, f->model->rope_divisors, frequencies);
    f->x = forward_declare_f32(f, "x", hparams->hidden);
    f->y = forward_declare_f32(f, "y", hparams->hidden);
    f->normed = forward_declare_f32(f, "normed", hparams->hidden);
    if (is_latent(f)) {
        block_attention_latent_declare(f);
    } else {
        block_attention_declare(f);
    }
    uint32_t value_dim = is_latent(f) ? hparams->kv_rank : hparams->head_dim;
    f->attention_parts = forward_declare(f, "attention parts", DTYPE_F32, 1,
                                         op_attention_parts(value_dim), BUFFER_ACTIVATIONS);
    if (!forward_initial(f)) {
        return false;
    }
    if (!block_moe_declare(f)) {
        return false;
    }
    if (!observation_declare(f)) {
        return false;
    }
    f->last = forward_declare(f, "last", DTYPE_F32, 1, hparams->hidden, BUFFER_ACTIVATIONS);
    f->logits = forward_declare(f, "logits", DTYPE_F32, 1, hparams->vocabulary, BUFFER_RESULT);
    f->best = forward_declare(f, "best", DTYPE_U32, 1, 1, BUFFER_RESULT);
    declare_sampling(f);
    return true;
}

/* Blocks of q8_0 may not reach across heads. */
static bool check_kv_type(const struct model *model, const struct forward_options *options,
                          struct error *err)
{
    const struct hparams *hparams = &model->hparams;
    bool latent = model->arch->attention == ATTENTION_LATENT;
    uint32_t dims[2] = {latent ? hparams->kv_rank : hparams->head_dim,
                        latent ? hparams->rope_dim : hparams->head_dim};
    if (options->kv_type != DTYPE_Q8_0 || (dims[0] % 32 == 0 && dims[1] % 32 == 0)) {
        return true;
    }
    return error_set(err,
                     "the context cannot be kept as q8_0, which has blocks of 32: %s of this model "
                     "have %" PRIu32 " values; use f16",
                     latent ? "latents or rotary keys" : "heads",
                     dims[0] % 32 != 0 ? dims[0] : dims[1]);
}

bool forward_init(struct forward *f, const struct model *model,
                  const struct forward_options *options, struct error *err)
{
    uint32_t layers = model->hparams.layers;
    *f = (struct forward){.model = model, .options = *options};
    if (!check_kv_type(model, options, err)) {
        return false;
    }
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
    free(f->observed);
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
        bytes += f->states[layer].caches[0]->bytes + f->states[layer].caches[1]->bytes;
    }
    return bytes;
}

uint32_t forward_list_for(uint32_t n, uint32_t chunk, uint32_t *max_tokens)
{
    static const uint32_t sizes[FORWARD_LISTS] = {1, 2, 4, 8, 16, 32, 128, UINT32_MAX};
    uint32_t i = 0;
    assert(n >= 1 && n <= chunk);
    while (sizes[i] < n) {
        i++;
    }
    *max_tokens = sizes[i] < chunk ? sizes[i] : chunk;
    return i;
}

static uint32_t most_ops(const struct model *model)
{
    uint32_t ops = MAX_OTHER_OPS;
    for (uint32_t layer = 0; layer < model->hparams.layers; layer++) {
        ops += MAX_LAYER_OPS + 2 * model->layers[layer].experts.n_classes;
    }
    return ops;
}

/* What the head is multiplied with. */
static struct block_input last_normed(const struct forward *f, struct op_list *list)
{
    const struct weight *norm = &f->model->output_norm;
    if (list->max_tokens == 1) { /* the last token is the only one */
        return block_normed(f, f->x, norm, f->last, list);
    }
    block_norm(f, f->x, norm, f->last, true, list);
    return block_plain(f->last);
}

/* All up to the logits. */
static bool write_logits(const struct forward *f, uint32_t max_tokens, struct op_list *list,
                         struct error *err)
{
    const struct model *model = f->model;
    const struct hparams *hparams = &model->hparams;
    const struct weight *head = model->tied ? &model->token_embedding : &model->output;
    assert(max_tokens >= 1 && max_tokens <= f->options.chunk);
    if (!op_list_init(list, max_tokens, most_ops(model), err)) {
        return false;
    }
    struct op *embed =
        op_list_add(list, OP_embed, model->token_embedding.tensor.dtype,
                    (const struct tensor *[]){f->step, &model->token_embedding.tensor, f->x});
    embed->args.embed.rows = hparams->vocabulary;
    embed->args.embed.dim = hparams->hidden;

    block_moe_begin(f, list);
    for (uint32_t layer = 0; layer < hparams->layers; layer++) {
        if (is_latent(f)) {
            block_attention_latent(f, layer, list);
        } else {
            block_attention(f, layer, list);
        }
        block_moe(f, layer, list);
    }

    if (f->options.observe) { /* of all tokens, where the head needs only the last */
        block_norm(f, f->x, &model->output_norm, f->normed, false, list);
        observation_write(f, OBSERVED_HEAD, 0, f->normed, NULL, 1, false, list);
    }
    struct block_input last = last_normed(f, list);
    block_matmul(f, head, NULL, last, NULL, f->logits, list)->args.matmul.one_row = true;
    return true;
}

bool forward_write(const struct forward *f, uint32_t max_tokens, struct op_list *list,
                   struct error *err)
{
    if (!write_logits(f, max_tokens, list, err)) {
        return false;
    }
    struct op *argmax =
        op_list_add(list, OP_argmax, DTYPE_F32, (const struct tensor *[]){f->logits, f->best});
    argmax->args.argmax.dim = f->model->hparams.vocabulary;
    return true;
}

static void add_sample(const struct forward *f, struct op_list *list)
{
    struct op *sample =
        op_list_add(list, OP_sample, DTYPE_F32,
                    (const struct tensor *[]){f->step, f->logits, f->sampling, f->recent,
                                              f->occurrences, f->chosen});
    sample->args.sample.vocabulary = f->model->hparams.vocabulary;
}

bool forward_write_next(const struct forward *f, struct op_list *list, struct error *err)
{
    bool ok = write_logits(f, 1, list, err);
    if (ok) {
        add_sample(f, list);
    }
    return ok;
}

bool forward_write_choice(const struct forward *f, struct op_list *list, struct error *err)
{
    bool ok = op_list_init(list, 1, 1, err);
    if (ok) {
        add_sample(f, list);
    }
    return ok;
}
