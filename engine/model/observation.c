#include "engine/model/observation.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/model/blocks.h"

enum observed_input observed_input_of(const struct hparams *hparams, enum tensor_role role,
                                      bool tied)
{
    switch (role) {
    case ROLE_ATTENTION_Q:
    case ROLE_ATTENTION_K:
    case ROLE_ATTENTION_V:
    case ROLE_LATENT_Q_A:
    case ROLE_LATENT_KV_A:
    case ROLE_LATENT_K_ROPE:
        return OBSERVED_ATTENTION;
    case ROLE_LATENT_Q_NOPE:
    case ROLE_LATENT_Q_ROPE:
        return hparams->q_rank > 0 ? OBSERVED_LATENT_Q : OBSERVED_ATTENTION;
    case ROLE_LATENT_K_B:
        return OBSERVED_LATENT_K_B;
    case ROLE_LATENT_V_B:
        return OBSERVED_LATENT_V_B;
    case ROLE_ATTENTION_OUTPUT:
        return OBSERVED_ATTENTION_OUTPUT;
    case ROLE_OUTPUT:
        return OBSERVED_HEAD;
    case ROLE_TOKEN_EMBEDDING: /* rows of it are looked up, which weighs no column */
        return tied ? OBSERVED_HEAD : OBSERVED_INPUTS;
    default:
        return OBSERVED_INPUTS;
    }
}

/* Columns of an input; 0: the layer does not have it. */
static uint64_t columns(const struct forward *f, enum observed_input input, uint32_t number)
{
    const struct hparams *h = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    bool latent = f->model->arch->attention == ATTENTION_LATENT;
    uint64_t heads = h->heads;
    switch (input) {
    case OBSERVED_ATTENTION:
    case OBSERVED_FFN:
        return h->hidden;
    case OBSERVED_LATENT_Q:
        return latent ? h->q_rank : 0;
    case OBSERVED_LATENT_K_B:
        return latent ? heads * h->nope_dim : 0;
    case OBSERVED_LATENT_V_B:
        return latent ? heads * h->kv_rank : 0;
    case OBSERVED_ATTENTION_OUTPUT:
        return f->attended->cols;
    case OBSERVED_FFN_DOWN:
        return layer->ffn;
    case OBSERVED_SHARED:
        return layer->has_shared ? h->hidden : 0;
    case OBSERVED_SHARED_DOWN:
        return layer->has_shared ? layer->shared_ffn : 0;
    case OBSERVED_HEAD:
        return number == 0 ? h->hidden : 0;
    case OBSERVED_INPUTS:
        break;
    }
    return 0;
}

static bool declare(struct forward *f, enum observed_input input, uint32_t layer)
{
    static const char *const names[] = {
        "attention input", "latent q input", "latent k input",      "latent v input",
        "output input",    "experts' input", "experts' down input", "shared input",
        "shared down in",  "head input",
    };
    uint64_t cols = columns(f, input, layer);
    if (cols == 0) {
        return true;
    }
    bool routed =
        (input == OBSERVED_FFN || input == OBSERVED_FFN_DOWN) && f->model->layers[layer].has_router;
    uint64_t groups = routed ? f->model->hparams.experts : 1;
    struct observation *o = &f->observed[layer * OBSERVED_INPUTS + input];
    o->sums = forward_declare_in_layer(f, names[input], layer, DTYPE_F32, groups, cols,
                                       BUFFER_ACTIVATIONS);
    bool ok = forward_initial(f) != NULL;
    o->counts =
        forward_declare_in_layer(f, "counts", layer, DTYPE_F32, 1, groups, BUFFER_ACTIVATIONS);
    return ok && forward_initial(f) != NULL;
}

bool observation_declare(struct forward *f)
{
    uint32_t layers = f->model->hparams.layers;
    if (!f->options.observe) {
        return true;
    }
    f->observed = calloc((size_t)layers * OBSERVED_INPUTS, sizeof(*f->observed));
    bool ok = f->observed != NULL;
    for (uint32_t layer = 0; ok && layer < layers; layer++) {
        for (uint32_t input = 0; ok && input < OBSERVED_INPUTS; input++) {
            ok = declare(f, (enum observed_input)input, layer);
        }
    }
    return ok;
}

const struct observation *observation_of(const struct forward *f, enum observed_input input,
                                         uint32_t layer)
{
    return &f->observed[layer * OBSERVED_INPUTS + input];
}

void observation_write(const struct forward *f, enum observed_input input, uint32_t layer,
                       const struct tensor *x, const struct tensor *ids, uint32_t top_k,
                       bool x_per_pair, struct op_list *list)
{
    if (!f->options.observe) {
        return;
    }
    const struct observation *o = observation_of(f, input, layer);
    assert(o->sums);
    struct op *op = op_list_add(list, OP_observe, DTYPE_F32,
                                (const struct tensor *[]){f->step, x, ids, o->sums, o->counts});
    op->args.observe.dim = (uint32_t)o->sums->cols;
    op->args.observe.n_groups = (uint32_t)o->sums->rows;
    op->args.observe.top_k = top_k;
    op->args.observe.x_per_pair = x_per_pair;
}
