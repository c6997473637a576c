/* logits = weight x; the top_k largest logits in descending order (ties: the lower expert first);
 * weights = softmax over all experts at these, divided by their sum if normalise, times scale.
 *
 * Work-group y has token y. Eight invocations share the dot product of an expert; then each
 * invocation counts, for its experts, those that go before: the count is the place among the
 * chosen. NaN counts as minus infinity; if no logit is a number the weights are NaN. n_experts <=
 * ROUTER_MAX_EXPERTS, top_k <= ROUTER_MAX_TOP_K and <= n_experts; GROUP_SIZE is a multiple of 8.
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lib/types.glsl"
#include "lib/order.glsl"

layout(constant_id = 0) const uint GROUP_SIZE = 256u;
layout(local_size_x_id = 0, local_size_x = 256) in;

#include "lib/reduce.glsl"

#define LANES 8u
#define LOWEST (-3.402823466e38)

layout(push_constant) uniform push
{
    router_args args;
};

shared float lane_sums[GROUP_SIZE];
shared float logits[ROUTER_MAX_EXPERTS];
shared uint keys[ROUTER_MAX_EXPERTS];
shared float chosen[ROUTER_MAX_TOP_K];

float lane_product(uint expert, uint lane, uint x_row)
{
    float sum = 0.0;
    for (uint column = lane * 4u; column < args.hidden; column += LANES * 4u) {
        sum += dot(row_load4(args.weight, expert * args.hidden, args.hidden, column),
                   row_load4(args.x, x_row, args.hidden, column));
    }
    return sum;
}

void make_logits(uint t)
{
    uint lane = gl_LocalInvocationIndex % LANES;
    uint team = gl_LocalInvocationIndex / LANES;
    for (uint first = 0u; first < args.n_experts; first += GROUP_SIZE / LANES) {
        uint expert = first + team;
        float sum = 0.0;
        if (expert < args.n_experts) {
            sum = lane_product(expert, lane, t * args.hidden);
        }
        lane_sums[gl_LocalInvocationIndex] = sum;
        barrier();
        if (lane == 0u && expert < args.n_experts) {
            for (uint i = 1u; i < LANES; i++) {
                sum += lane_sums[gl_LocalInvocationIndex + i];
            }
            logits[expert] = is_nan(sum) ? LOWEST : max(sum, LOWEST);
            keys[expert] = order_key(logits[expert]);
        }
        barrier();
    }
}

/* How many experts are chosen before this one. */
uint rank_of(uint expert)
{
    uint key = keys[expert];
    uint rank = 0u;
    for (uint other = 0u; other < args.n_experts; other++) {
        uint other_key = keys[other];
        rank += other_key > key || (other_key == key && other < expert) ? 1u : 0u;
    }
    return rank;
}

void main()
{
    uint t = gl_WorkGroupID.y;
    if (t >= args.step.n_tokens) {
        return;
    }
    uint me = gl_LocalInvocationIndex;
    make_logits(t);
    float largest = LOWEST;
    for (uint e = me; e < args.n_experts; e += GROUP_SIZE) {
        largest = max(largest, logits[e]);
    }
    largest = reduce_max(largest);
    float sum = 0.0;
    for (uint e = me; e < args.n_experts; e += GROUP_SIZE) {
        sum += exp(logits[e] - largest);
    }
    sum = reduce_sum(sum);
    if (largest == LOWEST) {
        sum = uintBitsToFloat(0x7FC00000u);
    }
    for (uint e = me; e < args.n_experts; e += GROUP_SIZE) {
        uint rank = rank_of(e);
        if (rank < args.top_k) {
            chosen[rank] = exp(logits[e] - largest) / sum;
            args.ids.v[t * args.top_k + rank] = e;
        }
    }
    barrier();
    float divisor = 1.0;
    if (args.normalise != 0u) {
        divisor = 0.0;
        for (uint slot = 0u; slot < args.top_k; slot++) {
            divisor += chosen[slot];
        }
    }
    for (uint slot = me; slot < args.top_k; slot += GROUP_SIZE) {
        args.weights.v[t * args.top_k + slot] = chosen[slot] / divisor * args.scale;
    }
}
