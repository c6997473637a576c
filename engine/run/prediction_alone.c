/* Ops that are no products with weights: attention, whose time has a fixed part and a part for what
 * every query sees; and small ones, which latency and not bytes decides. They read what the last
 * evaluation left in the session's own activations. */
#include "engine/run/prediction_internal.h"

#include <math.h>

/* Attention is measured at the first position and at this one. */
#define SECOND_POSITION 512

/* Ops that add to what outlives a list, or that find their way by ids in memory, which may hold
 * anything now, must not be run for a measurement. */
static bool can_run(const struct op *op, uint32_t n)
{
    return op->kind != OP_observe && op->kind != OP_sample && op->kind != OP_expert_group &&
           n <= PREDICTION_MAX_TOKENS;
}

/* The caches that an op writes become a buffer of ours. False: it is too small. */
static bool redirect_caches(const struct prediction *p, struct op *op, uint32_t n,
                            struct tensor caches[2])
{
    uint64_t half = p->buffers[PREDICTION_OUTPUT].bytes / 2, dim;
    uint32_t first = op->kind == OP_attention_latent_prepare ? 7 : 8;
    if (op->kind == OP_attention_latent_prepare) {
        struct attention_latent_prepare_args *a = &op->args.attention_latent_prepare;
        dim = a->rank > a->rope_dim ? a->rank : a->rope_dim;
        a->capacity = n;
    } else {
        struct attention_prepare_args *a = &op->args.attention_prepare;
        dim = (uint64_t)a->kv_heads * a->head_dim;
        a->capacity = n;
    }
    for (uint32_t i = 0; i < 2; i++) {
        caches[i] = prediction_tensor(p, PREDICTION_OUTPUT, i * half);
        op->tensors[first + i] = &caches[i];
    }
    return n * dim * sizeof(float) <= half;
}

static bool time_alone(struct prediction *p, const struct op *original, uint32_t n,
                       uint32_t position, const struct backend_peaks *peaks, double *seconds,
                       struct error *err)
{
    struct tensor step = prediction_tensor(p, PREDICTION_STEP, 0), caches[2];
    struct op op = *original;
    if ((op.kind == OP_attention_prepare || op.kind == OP_attention_latent_prepare) &&
        !redirect_caches(p, &op, n, caches)) {
        *seconds = 0;
        return true;
    }
    struct op_list list = {.max_tokens = op.max_tokens, .n_ops = 1, .capacity = 1, .ops = &op};
    if (op.kind != OP_argmax) {
        op.tensors[0] = &step;
    }
    op_list_bind(&list);
    return prediction_time(p, &list, n, position, peaks, seconds, err);
}

static bool is_attention(const struct op *op, uint32_t *capacity)
{
    *capacity =
        op->kind == OP_attention ? op->args.attention.capacity : op->args.attention_latent.capacity;
    return op->kind == OP_attention || op->kind == OP_attention_latent;
}

bool prediction_measure_alone(struct prediction *p, const struct op *op,
                              const struct backend_peaks *peaks, struct measured *m,
                              struct error *err)
{
    uint32_t capacity;
    if (!can_run(op, m->tokens)) {
        return true;
    }
    if (!time_alone(p, op, m->tokens, 0, peaks, &m->fixed, err)) {
        return false;
    }
    if (!is_attention(op, &capacity)) {
        return true;
    }
    double low = op_cost_of(op, m->tokens, 0, NULL).operations, high = low, seconds = m->fixed;
    if (capacity > m->tokens) {
        uint32_t room = capacity - m->tokens;
        uint32_t position = room < SECOND_POSITION ? room : SECOND_POSITION;
        high = op_cost_of(op, m->tokens, position, NULL).operations;
        if (!time_alone(p, op, m->tokens, position, peaks, &seconds, err)) {
            return false;
        }
    }
    /* Both parts are positive whatever the clock says. */
    m->operation = high > low ? fmax(seconds - m->fixed, 0) / (high - low) : 0;
    m->operation = fmin(m->operation, m->fixed / low);
    m->fixed -= m->operation * low;
    return true;
}
