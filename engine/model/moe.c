/* A mixture of experts: router, the chosen experts' gated feed-forward, weighted sum (Shazeer et
 * al. 2017; Jiang et al. 2024); beside them, in some families, a shared expert that every token
 * takes (DeepSeek-AI 2024), which is a mixture of one. */
#include "engine/model/blocks.h"

/* What happens to the tokens of one mixture. */
struct mixture {
    const struct expert_set *experts;
    struct block_input x;
    uint32_t ffn, top_k;
    const struct tensor *ids, *weights;           /* which experts each token takes, and how much */
    const struct tensor *offsets, *pairs, *tiles; /* NULL in lists for one token */
    const struct tensor *gate_bias, *up_bias, *down_bias; /* or NULL */
    const struct tensor *h, *parts;
    uint32_t layer;
    bool routed;
    enum observed_input input, down_input;
};

/* ---- tensors ---- */

static void declare_routes(struct forward *f, uint32_t top_k)
{
    enum buffer_use use = f->options.keep_routes ? BUFFER_RESULT : BUFFER_ACTIVATIONS;
    for (uint32_t layer = 0; layer < f->model->hparams.layers; layer++) {
        bool own = layer == 0 || f->options.keep_routes;
        f->ids[layer] = own ? forward_declare_in_layer(f, "expert ids", layer, DTYPE_U32,
                                                       f->options.chunk, top_k, use)
                            : f->ids[0];
        f->weights[layer] = own ? forward_declare_in_layer(f, "expert weights", layer, DTYPE_F32,
                                                           f->options.chunk, top_k, use)
                                : f->weights[0];
    }
}

static uint32_t tile_pairs(const struct forward *f, uint32_t max_tokens, uint32_t top_k,
                           uint32_t experts)
{
    return op_expert_tile_pairs(max_tokens, top_k, experts, f->options.expert_wide);
}

/* Room for the tiles of the list that has the most. */
static struct tensor *declare_tiles(struct forward *f, const char *name, uint32_t top_k,
                                    uint32_t experts)
{
    uint64_t words = 0;
    for (uint32_t n = 1, max_tokens = 0; max_tokens < f->options.chunk; n = max_tokens + 1) {
        forward_list_for(n, f->options.chunk, &max_tokens);
        uint64_t needed = op_expert_tile_words(max_tokens, top_k, experts,
                                               tile_pairs(f, max_tokens, top_k, experts));
        words = needed > words ? needed : words;
    }
    return forward_declare(f, name, DTYPE_U32, 1, words, BUFFER_ACTIVATIONS);
}

/* Ids, weights and grouping of mixtures of one. */
static bool declare_single(struct forward *f)
{
    uint64_t chunk = f->options.chunk;
    f->single_ids = forward_declare(f, "single ids", DTYPE_U32, chunk, 1, BUFFER_ACTIVATIONS);
    if (!forward_initial(f)) {
        return false;
    }
    f->single_weights = forward_declare_f32(f, "single weights", 1);
    float *ones = forward_initial(f);
    for (uint64_t i = 0; ones && i < chunk; i++) {
        ones[i] = 1;
    }
    f->single_offsets = forward_declare(f, "single offsets", DTYPE_U32, 1, 2, BUFFER_ACTIVATIONS);
    f->single_pairs = forward_declare(f, "single pairs", DTYPE_U32, 1, chunk, BUFFER_ACTIVATIONS);
    f->single_tiles = declare_tiles(f, "single tiles", 1, 1);
    return ones != NULL;
}

static bool declare_shared(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    f->shared_ids =
        forward_declare(f, "shared ids", DTYPE_U32, f->options.chunk, 1, BUFFER_ACTIVATIONS);
    f->shared_weights = forward_declare_f32(f, "shared weights", 1);
    f->shared_logit = forward_declare_f32(f, "shared logit", 1);
    f->shared_h = forward_declare_f32(f, "shared h", hparams->shared_ffn);
    f->shared_part = forward_declare_f32(f, "shared part", hparams->hidden);
    f->mixed = forward_declare_f32(f, "mixed", hparams->hidden);
    f->shared_arrived = forward_declare(f, "shared arrived", DTYPE_U32, 1, 1, BUFFER_ACTIVATIONS);
    return forward_initial(f) != NULL;
}

bool block_moe_declare(struct forward *f)
{
    const struct hparams *hparams = &f->model->hparams;
    uint64_t chunk = f->options.chunk, widest = 1;
    uint32_t top_k = 1, experts = 1;
    bool any_single = false, any_shared = false;
    for (uint32_t number = 0; number < hparams->layers; number++) {
        const struct model_layer *layer = &f->model->layers[number];
        if (layer->has_router) {
            top_k = hparams->experts_per_token;
            experts = hparams->experts;
        }
        /* h holds (tokens * top_k, ffn) of whichever layer is running. */
        uint64_t width = (uint64_t)layer->ffn * (layer->has_router ? top_k : 1);
        widest = width > widest ? width : widest;
        any_shared = any_shared || layer->has_shared;
        any_single = any_single || layer->has_shared || !layer->has_router;
    }
    declare_routes(f, top_k);
    f->router_logits = forward_declare_f32(f, "router logits", experts);
    f->router_arrived = forward_declare(f, "router arrived", DTYPE_U32, 1, 1, BUFFER_ACTIVATIONS);
    if (!forward_initial(f)) {
        return false;
    }
    f->offsets =
        forward_declare(f, "expert offsets", DTYPE_U32, 1, experts + 1, BUFFER_ACTIVATIONS);
    f->pairs = forward_declare(f, "expert pairs", DTYPE_U32, 1, chunk * top_k, BUFFER_ACTIVATIONS);
    f->tiles = declare_tiles(f, "expert tiles", top_k, experts);
    f->h = forward_declare_f32(f, "h", widest);
    f->parts =
        forward_declare(f, "parts", DTYPE_F32, chunk * top_k, hparams->hidden, BUFFER_ACTIVATIONS);
    return (!any_shared || declare_shared(f)) && (!any_single || declare_single(f));
}

/* ---- ops ---- */

/* What is read and written: ids, then offsets, pairs and tiles. */
static void group(const struct forward *f, const struct tensor *const tensors[4],
                  uint32_t n_experts, uint32_t top_k, struct op_list *list)
{
    if (list->max_tokens > 1) {
        struct op *op = op_list_add(
            list, OP_expert_group, DTYPE_F32,
            (const struct tensor *[]){f->step, tensors[0], tensors[1], tensors[2], tensors[3]});
        op->args.expert_group.n_experts = n_experts;
        op->args.expert_group.top_k = top_k;
        op->args.expert_group.tile_pairs = tile_pairs(f, list->max_tokens, top_k, n_experts);
    }
}

void block_moe_begin(const struct forward *f, struct op_list *list)
{
    if (f->single_ids) {
        group(f,
              (const struct tensor *const[]){f->single_ids, f->single_offsets, f->single_pairs,
                                             f->single_tiles},
              1, 1, list);
    }
}

/* Which experts a token takes, and how much of each. */
struct route {
    const struct weight *weight, *bias, *correction; /* bias and correction may be absent */
    const struct tensor *logits, *arrived;
    const struct tensor *ids, *weights;
    struct router_rule rule;
};

/* The choice among the experts of the layer. */
static struct route route_of(const struct forward *f, const struct model_layer *layer,
                             const struct mixture *m)
{
    const struct hparams *hparams = &f->model->hparams;
    bool sigmoid = hparams->router_score == ROUTER_SIGMOID;
    return (struct route){
        .weight = &layer->router,
        .bias = &layer->router_bias,
        .correction = &layer->router_correction,
        .logits = f->router_logits,
        .arrived = f->router_arrived,
        .ids = m->ids,
        .weights = m->weights,
        .rule =
            {
                .n_experts = hparams->experts,
                .top_k = hparams->experts_per_token,
                .score = hparams->router_score,
                .normalise = hparams->router_normalise,
                .scale = (float)hparams->router_scale,
                .n_groups = hparams->router_groups,
                .top_groups = hparams->router_top_groups,
                /* DeepSeek-V2 took groups by their best expert; V3 changed both rules at once. */
                .group_score = sigmoid ? ROUTER_GROUP_SUM_OF_2 : ROUTER_GROUP_MAX,
            },
    };
}

/* A choice among one expert: its weight is the sigmoid. */
static struct route route_of_shared(const struct forward *f, const struct model_layer *layer)
{
    return (struct route){
        .weight = &layer->shared_router,
        .logits = f->shared_logit,
        .arrived = f->shared_arrived,
        .ids = f->shared_ids,
        .weights = f->shared_weights,
        .rule = {.n_experts = 1,
                 .top_k = 1,
                 .score = ROUTER_SIGMOID,
                 .scale = 1,
                 .n_groups = 1,
                 .top_groups = 1},
    };
}

/* The logits; for one token also the choice. */
static void route_begin(const struct forward *f, const struct route *route, struct block_input x,
                        struct op_list *list)
{
    if (list->max_tokens > 1) {
        block_matmul(f, route->weight, route->bias, x, NULL, route->logits, list);
        return;
    }
    struct op *op = op_list_add(
        list, OP_matmul_router, route->weight->tensor.dtype,
        (const struct tensor *[]){f->step, &route->weight->tensor, x.x, x.norm,
                                  route->bias ? weight_tensor(route->bias) : NULL,
                                  route->correction ? weight_tensor(route->correction) : NULL,
                                  route->logits, route->arrived, route->ids, route->weights});
    op->args.matmul_router.cols = (uint32_t)route->weight->tensor.cols;
    op->args.matmul_router.epsilon = x.epsilon;
    op->args.matmul_router.rule = route->rule;
}

/* The choice, if it has not been made. */
static void route_end(const struct forward *f, const struct route *route, struct op_list *list)
{
    if (list->max_tokens > 1) {
        struct op *op = op_list_add(
            list, OP_router, DTYPE_F32,
            (const struct tensor *[]){f->step, route->logits,
                                      route->correction ? weight_tensor(route->correction) : NULL,
                                      route->ids, route->weights});
        op->args.router.rule = route->rule;
    }
}

static void gate_up(const struct forward *f, const struct mixture *m,
                    const struct expert_class *class, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    struct op *op = op_list_add(
        list, OP_expert_gate_up, class->type,
        (const struct tensor *[]){f->step, &class->slabs, m->ids, m->x.x, m->x.norm, m->offsets,
                                  m->pairs, m->gate_bias, m->up_bias, m->tiles, m->h});
    op->experts_here = class->n_members;
    op->tile_pairs = tile_pairs(f, list->max_tokens, m->top_k, m->experts->n_experts);
    op->args.expert_gate_up.epsilon = m->x.epsilon;
    op->args.expert_gate_up.hidden = hparams->hidden;
    op->args.expert_gate_up.ffn = m->ffn;
    op->args.expert_gate_up.n_experts = m->experts->n_experts;
    op->args.expert_gate_up.top_k = m->top_k;
    op->args.expert_gate_up.activation = f->model->arch->activation;
    op->args.expert_gate_up.limit = (float)hparams->activation_limit;
    op->args.expert_gate_up.alpha = (float)hparams->activation_alpha;
}

static void down(const struct forward *f, const struct mixture *m, const struct expert_class *class,
                 struct op_list *list)
{
    struct op *op =
        op_list_add(list, OP_expert_down, class->down_type,
                    (const struct tensor *[]){f->step, &class->slabs, m->ids, m->h, m->offsets,
                                              m->pairs, m->down_bias, m->tiles, m->parts});
    op->experts_here = class->n_members;
    op->tile_pairs = tile_pairs(f, list->max_tokens, m->top_k, m->experts->n_experts);
    op->args.expert_down.hidden = f->model->hparams.hidden;
    op->args.expert_down.ffn = m->ffn;
    op->args.expert_down.n_experts = m->experts->n_experts;
    op->args.expert_down.top_k = m->top_k;
    op->args.expert_down.down_offset = class->down_offset;
}

/* The weighted sum of a mixture whose experts agree in type, for one token: with the down matrices
 * in one op. */
static void down_sum(const struct forward *f, const struct mixture *m,
                     const struct tensor *residual, const struct tensor *y, struct op_list *list)
{
    const struct expert_class *class = &m->experts->classes[0];
    struct op *op = op_list_add(list, OP_expert_down_sum, class->down_type,
                                (const struct tensor *[]){f->step, &class->slabs, m->ids, m->h,
                                                          m->weights, m->down_bias, residual, y});
    op->args.expert_down_sum.hidden = f->model->hparams.hidden;
    op->args.expert_down_sum.ffn = m->ffn;
    op->args.expert_down_sum.n_experts = m->experts->n_experts;
    op->args.expert_down_sum.top_k = m->top_k;
    op->args.expert_down_sum.down_offset = class->down_offset;
}

/* The first half of a mixture: h. Every class leaves the pairs of the others alone. */
static void mix_up(const struct forward *f, const struct mixture *m, struct op_list *list)
{
    const struct tensor *groups = m->routed ? m->ids : NULL;
    observation_write(f, m->input, m->layer, m->x.x, groups, m->top_k, false, list);
    for (uint32_t i = 0; i < m->experts->n_classes; i++) {
        gate_up(f, m, &m->experts->classes[i], list);
    }
}

/* The second: y = residual + the mixture. */
static void mix_down(const struct forward *f, const struct mixture *m,
                     const struct tensor *residual, const struct tensor *y, struct op_list *list)
{
    const struct tensor *groups = m->routed ? m->ids : NULL;
    observation_write(f, m->down_input, m->layer, m->h, groups, m->top_k, true, list);
    if (list->max_tokens == 1 && m->experts->n_classes == 1) {
        down_sum(f, m, residual, y, list);
        return;
    }
    for (uint32_t i = 0; i < m->experts->n_classes; i++) {
        down(f, m, &m->experts->classes[i], list);
    }
    struct op *op =
        op_list_add(list, OP_expert_combine, DTYPE_F32,
                    (const struct tensor *[]){f->step, m->parts, m->weights, residual, y});
    op->args.expert_combine.hidden = f->model->hparams.hidden;
    op->args.expert_combine.top_k = m->top_k;
}

/* A mixture of one expert, which every token takes with weight one. */
static struct mixture single_mixture(const struct forward *f, uint32_t layer,
                                     const struct expert_set *experts, uint32_t ffn, bool grouped)
{
    return (struct mixture){
        .experts = experts,
        .ffn = ffn,
        .top_k = 1,
        .ids = f->single_ids,
        .weights = f->single_weights,
        .offsets = grouped ? f->single_offsets : NULL,
        .pairs = grouped ? f->single_pairs : NULL,
        .tiles = grouped ? f->single_tiles : NULL,
        .h = f->h,
        .parts = f->parts,
        .layer = layer,
        .input = OBSERVED_FFN,
        .down_input = OBSERVED_FFN_DOWN,
    };
}

static struct mixture routed_mixture(const struct forward *f, uint32_t number, bool grouped)
{
    const struct model_layer *layer = &f->model->layers[number];
    return (struct mixture){
        .experts = &layer->experts,
        .ffn = layer->ffn,
        .top_k = f->model->hparams.experts_per_token,
        .ids = f->ids[number],
        .weights = f->weights[number],
        .offsets = grouped ? f->offsets : NULL,
        .pairs = grouped ? f->pairs : NULL,
        .tiles = grouped ? f->tiles : NULL,
        .gate_bias = weight_tensor(&layer->expert_gate_bias),
        .up_bias = weight_tensor(&layer->expert_up_bias),
        .down_bias = weight_tensor(&layer->expert_down_bias),
        .h = f->h,
        .parts = f->parts,
        .layer = number,
        .routed = true,
        .input = OBSERVED_FFN,
        .down_input = OBSERVED_FFN_DOWN,
    };
}

static struct mixture shared_mixture(const struct forward *f, uint32_t number, bool grouped)
{
    const struct model_layer *layer = &f->model->layers[number];
    struct mixture m = single_mixture(f, number, &layer->shared, layer->shared_ffn, grouped);
    m.input = OBSERVED_SHARED;
    m.down_input = OBSERVED_SHARED_DOWN;
    m.h = f->shared_h;
    m.parts = f->shared_part;
    if (weight_tensor(&layer->shared_router)) {
        m.weights = f->shared_weights;
    }
    return m;
}

/* A shared expert is computed beside the others, a step or two ahead of them. */
void block_moe(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct model_layer *layer = &f->model->layers[number];
    bool grouped = list->max_tokens > 1, weighs_shared = weight_tensor(&layer->shared_router);
    struct mixture m = layer->has_router
                           ? routed_mixture(f, number, grouped)
                           : single_mixture(f, number, &layer->experts, layer->ffn, grouped);
    struct mixture shared = {0};
    const struct route route = route_of(f, layer, &m), shared_route = route_of_shared(f, layer);
    m.x = block_normed(f, f->y, &layer->ffn_norm, f->normed, list);
    if (layer->has_router) {
        route_begin(f, &route, m.x, list);
    }
    if (weighs_shared) {
        route_begin(f, &shared_route, m.x, list);
    }
    if (layer->has_shared) {
        shared = shared_mixture(f, number, grouped);
        shared.x = m.x;
        mix_up(f, &shared, list);
    }
    if (layer->has_router) {
        route_end(f, &route, list);
    }
    if (weighs_shared) {
        route_end(f, &shared_route, list);
    }
    if (layer->has_router) {
        group(f, (const struct tensor *const[]){m.ids, m.offsets, m.pairs, m.tiles},
              m.experts->n_experts, m.top_k, list);
    }
    mix_up(f, &m, list);
    if (layer->has_shared) {
        mix_down(f, &shared, f->y, f->mixed, list);
    }
    mix_down(f, &m, layer->has_shared ? f->mixed : f->y, f->x, list);
}
