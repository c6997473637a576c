/* Logits of all experts, softmax, the top_k largest in descending order.
 *
 * The choice is made on the logits, which are ordered as the probabilities are but do not round to
 * equal ones. If no logit is a number, the first experts are chosen, with NaN weights: a broken
 * model shows itself.
 */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

struct router_loop {
    const struct router_args *args;
    float *logits; /* (n, n_experts) */
};

/* The expert with the largest logit of those not taken; ties: the lower one. */
static uint32_t take_largest(const float *logits, uint32_t n, bool *taken)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t e = 0; e < n; e++) {
        if (!taken[e] && (best == UINT32_MAX || logits[e] > logits[best])) {
            best = e;
        }
    }
    taken[best] = true;
    return best;
}

static void route_token(const struct router_args *args, float *logits, uint32_t *ids,
                        float *weights)
{
    bool taken[ROUTER_MAX_EXPERTS] = {false};
    float maximum = -INFINITY;
    for (uint32_t e = 0; e < args->n_experts; e++) {
        if (isnan(logits[e])) {
            logits[e] = -INFINITY;
        }
        maximum = fmaxf(maximum, logits[e]);
    }
    float sum = 0, chosen_sum = 0;
    for (uint32_t e = 0; e < args->n_experts; e++) {
        sum += expf(logits[e] - maximum);
    }
    for (uint32_t slot = 0; slot < args->top_k; slot++) {
        ids[slot] = take_largest(logits, args->n_experts, taken);
        weights[slot] = expf(logits[ids[slot]] - maximum) / sum;
        chosen_sum += weights[slot];
    }
    for (uint32_t slot = 0; slot < args->top_k; slot++) {
        weights[slot] =
            (args->normalise ? weights[slot] / chosen_sum : weights[slot]) * args->scale;
    }
}

static void router_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct router_loop *loop = context;
    const struct router_args *args = loop->args;
    for (uint64_t t = begin; t < end; t++) {
        route_token(args, loop->logits + t * args->n_experts,
                    (uint32_t *)cpu_pointer(args->ids) + t * args->top_k,
                    (float *)cpu_pointer(args->weights) + t * args->top_k);
    }
}

void cpu_router(const struct cpu_run *run, const struct op *op)
{
    const struct router_args *args = &op->args.router;
    const struct step *step = cpu_step(op, args->step);
    assert(args->score == ROUTER_SOFTMAX);
    assert(args->n_experts <= ROUTER_MAX_EXPERTS && args->top_k <= ROUTER_MAX_TOP_K);
    assert(args->top_k <= args->n_experts);
    /* Rows are not padded here, unlike a stored matrix's. */
    struct cpu_matrix matrix = {
        .type = dtype_info(DTYPE_F32),
        .planes = {cpu_pointer(args->weight)},
        .strides = {(uint64_t)args->hidden * sizeof(float)},
        .rows = args->n_experts,
        .cols = args->hidden,
    };
    struct router_loop loop = {args, (float *)run->scratch};
    struct cpu_vectors x = {cpu_pointer(args->x), (uint64_t)args->hidden * sizeof(float)};
    cpu_matrix_vectors(run, &matrix, cpu_dot_of(run->level, DTYPE_F32), x, step->n_tokens,
                       loop.logits);
    thread_pool_for(run->pool, step->n_tokens, 4, router_range, &loop);
}

uint64_t cpu_router_scratch(const struct cpu_level *level, const struct op *op)
{
    assert(!cpu_dot_of(level, DTYPE_F32)->prepare);
    return (uint64_t)op->max_tokens * op->args.router.n_experts * sizeof(float);
}
