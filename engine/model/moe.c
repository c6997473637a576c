/* A mixture of experts: router, the chosen experts' gated feed-forward, weighted sum (Shazeer et
 * al. 2017; Jiang et al. 2024). */
#include "engine/model/blocks.h"

/* Which experts each token takes, with what weight. */
struct route {
    const struct tensor *ids, *weights;
    uint32_t n_experts, top_k;
};

static struct route route_tokens(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct hparams *hparams = &f->model->hparams;
    const struct model_layer *layer = &f->model->layers[number];
    if (!layer->has_router) {
        return (struct route){f->dense_ids, f->dense_weights, 1, 1};
    }
    struct route route = {f->ids[number], f->weights[number], hparams->experts,
                          hparams->experts_per_token};
    struct op *op = op_list_add(list, OP_router, DTYPE_F32,
                                (const struct tensor *[]){f->step, f->normed, &layer->router.tensor,
                                                          route.ids, route.weights});
    op->args.router.hidden = hparams->hidden;
    op->args.router.n_experts = route.n_experts;
    op->args.router.top_k = route.top_k;
    op->args.router.score = f->model->arch->router_score;
    op->args.router.normalise = hparams->router_normalise;
    op->args.router.scale = 1;
    return route;
}

void block_moe(const struct forward *f, uint32_t number, struct op_list *list)
{
    const struct model_layer *layer = &f->model->layers[number];
    uint32_t hidden = f->model->hparams.hidden;
    bool grouped = list->max_tokens > 1;
    const struct tensor *offsets = grouped ? f->offsets : NULL;
    const struct tensor *pairs = grouped ? f->pairs : NULL;
    const struct tensor *slabs = &layer->experts.slabs;

    block_norm(f, f->y, &layer->ffn_norm, f->normed, 1, hidden, false, list);
    struct route route = route_tokens(f, number, list);
    if (grouped) {
        struct op *group =
            op_list_add(list, OP_expert_group, DTYPE_F32,
                        (const struct tensor *[]){f->step, route.ids, offsets, pairs});
        group->args.expert_group.n_experts = route.n_experts;
        group->args.expert_group.top_k = route.top_k;
    }

    struct op *up = op_list_add(
        list, OP_expert_gate_up, layer->gate_up_type,
        (const struct tensor *[]){f->step, slabs, route.ids, f->normed, offsets, pairs, f->h});
    up->args.expert_gate_up.hidden = hidden;
    up->args.expert_gate_up.ffn = layer->ffn;
    up->args.expert_gate_up.n_experts = route.n_experts;
    up->args.expert_gate_up.top_k = route.top_k;
    up->args.expert_gate_up.activation = f->model->arch->activation;

    struct op *down = op_list_add(
        list, OP_expert_down, layer->down_type,
        (const struct tensor *[]){f->step, slabs, route.ids, f->h, offsets, pairs, f->parts});
    down->args.expert_down.hidden = hidden;
    down->args.expert_down.ffn = layer->ffn;
    down->args.expert_down.n_experts = route.n_experts;
    down->args.expert_down.top_k = route.top_k;
    down->args.expert_down.down_offset = layer->down_offset;

    struct op *combine =
        op_list_add(list, OP_expert_combine, DTYPE_F32,
                    (const struct tensor *[]){f->step, f->parts, route.weights, f->y, f->x});
    combine->args.expert_combine.hidden = hidden;
    combine->args.expert_combine.top_k = route.top_k;
}
