/* The choice of experts by a token's logits: of the experts in the best groups, the top_k by logit,
 * or by probability + correction, in descending order (ties: the lower expert first); weights =
 * their probabilities, divided by their sum if normalise, times scale (struct router_args).
 *
 * Each invocation counts, for its groups and then for its experts, those that go before: the count
 * is the place among the chosen. Scores are compared as integers (lib/order.glsl); 0 is an expert
 * whose group was dropped. NaN counts as minus infinity; if no logit is a number the weights are
 * NaN. n_experts <= ROUTER_MAX_EXPERTS, a multiple of n_groups; top_k <= ROUTER_MAX_TOP_K and <= the
 * experts of top_groups groups.
 *
 * Wants args with rule, correction, ids and weights, router_logit(), GROUP_SIZE, lib/bias.glsl and
 * lib/reduce.glsl. Shared memory: 12 ROUTER_MAX_EXPERTS + 4 ROUTER_MAX_TOP_K bytes.
 */
#include "order.glsl"

#define LOWEST (-3.402823466e38)

shared float logits[ROUTER_MAX_EXPERTS];
shared uint keys[ROUTER_MAX_EXPERTS];
shared uint group_keys[ROUTER_MAX_EXPERTS];
shared float chosen[ROUTER_MAX_TOP_K];

/* Of the softmax. */
float largest;
float divisor;

float number_or_lowest(float value)
{
    return is_nan(value) ? LOWEST : max(value, LOWEST);
}

void read_logits(uint t)
{
    for (uint e = gl_LocalInvocationIndex; e < args.rule.n_experts; e += GROUP_SIZE) {
        logits[e] = number_or_lowest(router_logit(t, e));
    }
    barrier();
}

/* Largest logit and sum of exponentials; NaN if no logit is a number. */
void make_divisor()
{
    largest = LOWEST;
    for (uint e = gl_LocalInvocationIndex; e < args.rule.n_experts; e += GROUP_SIZE) {
        largest = max(largest, logits[e]);
    }
    largest = reduce_max(largest);
    float sum = 0.0;
    for (uint e = gl_LocalInvocationIndex; e < args.rule.n_experts; e += GROUP_SIZE) {
        sum += exp(logits[e] - largest);
    }
    sum = reduce_sum(sum);
    divisor = args.rule.score == ROUTER_SIGMOID ? 1.0 : sum;
    if (largest == LOWEST) {
        divisor = uintBitsToFloat(0x7FC00000u);
    }
}

float probability(uint expert)
{
    float logit = logits[expert];
    if (args.rule.score == ROUTER_SIGMOID) {
        return 1.0 / (1.0 + exp(min(-logit, 80.0))) / divisor;
    }
    return exp(logit - largest) / divisor;
}

float selection_score(uint expert)
{
    return number_or_lowest(probability(expert) + bias_at(args.correction, expert));
}

/* What experts are compared by. */
void make_keys()
{
    bool by_logit = uvec2(args.correction) == uvec2(0u);
    for (uint e = gl_LocalInvocationIndex; e < args.rule.n_experts; e += GROUP_SIZE) {
        keys[e] = order_key(by_logit ? logits[e] : selection_score(e));
    }
    barrier();
}

/* What the group of `size` experts from `first` on is worth, as a key. */
uint group_key(uint first, uint size)
{
    if (args.rule.group_score == ROUTER_GROUP_MAX || size == 1u) {
        uint key = 0u;
        for (uint e = first; e < first + size; e++) {
            key = max(key, keys[e]);
        }
        return key;
    }
    float best = LOWEST;
    float second = LOWEST;
    for (uint e = first; e < first + size; e++) {
        float score = selection_score(e);
        second = max(second, min(best, score));
        best = max(best, score);
    }
    return order_key(max(best + second, LOWEST));
}

/* Takes the experts of all but the best groups out of the choice. */
void drop_groups()
{
    uint size = args.rule.n_experts / args.rule.n_groups;
    for (uint group = gl_LocalInvocationIndex; group < args.rule.n_groups; group += GROUP_SIZE) {
        group_keys[group] = group_key(group * size, size);
    }
    barrier();
    for (uint group = gl_LocalInvocationIndex; group < args.rule.n_groups; group += GROUP_SIZE) {
        uint key = group_keys[group];
        uint rank = 0u;
        for (uint other = 0u; other < args.rule.n_groups; other++) {
            uint other_key = group_keys[other];
            rank += other_key > key || (other_key == key && other < group) ? 1u : 0u;
        }
        for (uint e = group * size; rank >= args.rule.top_groups && e < (group + 1u) * size; e++) {
            keys[e] = 0u;
        }
    }
    barrier();
}

/* How many experts are chosen before this one. */
uint rank_of(uint expert)
{
    uint key = keys[expert];
    uint rank = 0u;
    for (uint other = 0u; other < args.rule.n_experts; other++) {
        uint other_key = keys[other];
        rank += other_key > key || (other_key == key && other < expert) ? 1u : 0u;
    }
    return rank;
}

/* Every invocation of the work-group must call. */
void choose(uint t)
{
    uint me = gl_LocalInvocationIndex;
    read_logits(t);
    make_divisor();
    make_keys();
    if (args.rule.n_groups > 1u) {
        drop_groups();
    }
    for (uint e = me; e < args.rule.n_experts; e += GROUP_SIZE) {
        uint rank = rank_of(e);
        if (rank < args.rule.top_k) {
            chosen[rank] = probability(e);
            args.ids.v[t * args.rule.top_k + rank] = e;
        }
    }
    barrier();
    float sum = 1.0;
    if (args.rule.normalise != 0u) {
        sum = 1e-20;
        for (uint slot = 0u; slot < args.rule.top_k; slot++) {
            sum += chosen[slot];
        }
    }
    for (uint slot = me; slot < args.rule.top_k; slot += GROUP_SIZE) {
        args.weights.v[t * args.rule.top_k + slot] = chosen[slot] / sum * args.rule.scale;
    }
}
