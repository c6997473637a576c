/* Probabilities of all experts, the groups that remain, the top_k largest selection scores in
 * descending order.
 *
 * The choice is made as shaders/op_args.h says: by logits, or by probability + correction.
 */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

/* What is known of one token's experts. */
struct candidates {
    const float *correction;          /* or NULL */
    float scores[ROUTER_MAX_EXPERTS]; /* logits, then probabilities */
    float keys[ROUTER_MAX_EXPERTS];   /* what they are compared by */
    bool taken[ROUTER_MAX_EXPERTS];   /* chosen, or in a group that was dropped */
};

static float number_or_lowest(float value)
{
    return isnan(value) ? -INFINITY : value;
}

/* The largest of `values` that is not taken; ties: the lower one. */
static uint32_t take_largest(const float *values, uint32_t n, bool *taken)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (!taken[i] && (best == UINT32_MAX || values[i] > values[best])) {
            best = i;
        }
    }
    taken[best] = true;
    return best;
}

/* Turns logits into probabilities; NaN if no logit is a number. */
static void make_probabilities(const struct router_rule *rule, float *scores)
{
    float maximum = -INFINITY, sum = 0;
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        maximum = fmaxf(maximum, scores[e]);
    }
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        bool sigmoid = rule->score == ROUTER_SIGMOID;
        scores[e] = sigmoid ? 1 / (1 + expf(-scores[e])) : expf(scores[e] - maximum);
        sum += scores[e];
    }
    float divisor = maximum == -INFINITY ? NAN : rule->score == ROUTER_SIGMOID ? 1 : sum;
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        scores[e] /= divisor;
    }
}

static float selection_score(const struct candidates *candidates, uint32_t expert)
{
    float correction = candidates->correction ? candidates->correction[expert] : 0;
    return number_or_lowest(candidates->scores[expert] + correction);
}

/* What the group of `size` experts from `first` on is worth. */
static float group_score(const struct router_rule *rule, const struct candidates *candidates,
                         uint32_t first, uint32_t size)
{
    float largest = -INFINITY, second = -INFINITY;
    bool sum = rule->group_score == ROUTER_GROUP_SUM_OF_2;
    for (uint32_t e = first; e < first + size; e++) {
        float value = sum ? selection_score(candidates, e) : candidates->keys[e];
        second = fmaxf(second, fminf(largest, value));
        largest = fmaxf(largest, value);
    }
    return sum && size > 1 ? largest + second : largest;
}

/* Takes the experts of all but the best groups out of the choice. */
static void drop_groups(const struct router_rule *rule, struct candidates *candidates)
{
    float scores[ROUTER_MAX_EXPERTS];
    bool kept[ROUTER_MAX_EXPERTS] = {false};
    uint32_t size = rule->n_experts / rule->n_groups;
    for (uint32_t group = 0; group < rule->n_groups; group++) {
        scores[group] = group_score(rule, candidates, group * size, size);
    }
    for (uint32_t i = 0; i < rule->top_groups; i++) {
        take_largest(scores, rule->n_groups, kept);
    }
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        candidates->taken[e] = !kept[e / size];
    }
}

void cpu_router_choose(const struct router_rule *rule, const float *correction, const float *logits,
                       uint32_t *ids, float *weights)
{
    struct candidates candidates;
    candidates.correction = correction;
    for (uint32_t e = 0; e < rule->n_experts; e++) {
        candidates.keys[e] = candidates.scores[e] = number_or_lowest(logits[e]);
        candidates.taken[e] = false;
    }
    make_probabilities(rule, candidates.scores);
    for (uint32_t e = 0; candidates.correction && e < rule->n_experts; e++) {
        candidates.keys[e] = selection_score(&candidates, e);
    }
    if (rule->n_groups > 1) {
        drop_groups(rule, &candidates);
    }
    float sum = 0;
    for (uint32_t slot = 0; slot < rule->top_k; slot++) {
        ids[slot] = take_largest(candidates.keys, rule->n_experts, candidates.taken);
        weights[slot] = candidates.scores[ids[slot]];
        sum += weights[slot];
    }
    float divisor = rule->normalise ? sum + 1e-20f : 1;
    for (uint32_t slot = 0; slot < rule->top_k; slot++) {
        weights[slot] = weights[slot] / divisor * rule->scale;
    }
}

static void router_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct router_args *args = context;
    for (uint64_t t = begin; t < end; t++) {
        cpu_router_choose(&args->rule, cpu_pointer(args->correction),
                          (const float *)cpu_pointer(args->logits) + t * args->rule.n_experts,
                          (uint32_t *)cpu_pointer(args->ids) + t * args->rule.top_k,
                          (float *)cpu_pointer(args->weights) + t * args->rule.top_k);
    }
}

void cpu_router(const struct cpu_run *run, const struct op *op)
{
    struct router_args args = op->args.router;
    op_assert_router(&args.rule);
    thread_pool_for(run->pool, cpu_step(op, args.step)->n_tokens, 4, router_range, &args);
}

uint64_t cpu_router_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
