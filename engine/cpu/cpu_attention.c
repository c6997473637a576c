/* Causal attention, one (token, head) at a time, in one pass over the cache: scores come in blocks,
 * and when a block raises the maximum, what was summed so far is scaled down (Milakov & Gimelshein
 * 2018, "Online normalizer calculation for softmax").
 */
#include <math.h>

#include "engine/cpu/cpu_internal.h"

#define SCORES 64

struct attention_loop {
    const struct attention_args *args;
    const struct cpu_cache_math *math;
    uint64_t element_bytes;
    uint32_t position;
};

struct running_softmax {
    float maximum, sum;
};

/* Adds cache rows [first, first + n) of one head to y. `k` and `v` point at the head in row 0. */
static void attend_block(const struct attention_loop *loop, const float *q, const uint8_t *k,
                         const uint8_t *v, uint64_t first, uint64_t n,
                         struct running_softmax *softmax, float *y)
{
    const struct attention_args *args = loop->args;
    uint64_t row_bytes = (uint64_t)args->kv_heads * args->head_dim * loop->element_bytes;
    float scores[SCORES];
    float maximum = softmax->maximum;
    for (uint64_t j = 0; j < n; j++) {
        scores[j] = loop->math->dot(k + (first + j) * row_bytes, q, args->head_dim) * args->scale;
        maximum = fmaxf(maximum, scores[j]);
    }
    float shrink = expf(softmax->maximum - maximum);
    softmax->maximum = maximum;
    softmax->sum *= shrink;
    for (uint32_t i = 0; i < args->head_dim; i++) {
        y[i] *= shrink;
    }
    for (uint64_t j = 0; j < n; j++) {
        float p = expf(scores[j] - maximum);
        softmax->sum += p;
        loop->math->add_scaled(v + (first + j) * row_bytes, p, args->head_dim, y);
    }
}

static void attend(const struct attention_loop *loop, uint64_t t, uint64_t head)
{
    const struct attention_args *args = loop->args;
    uint64_t kv_head = head / (args->heads / args->kv_heads);
    uint64_t head_offset = kv_head * args->head_dim * loop->element_bytes;
    uint64_t offset = (t * args->heads + head) * args->head_dim;
    const float *q = (const float *)cpu_pointer(args->q) + offset;
    float *y = (float *)cpu_pointer(args->y) + offset;
    const uint8_t *k = (const uint8_t *)cpu_pointer(args->k_cache) + head_offset;
    const uint8_t *v = (const uint8_t *)cpu_pointer(args->v_cache) + head_offset;
    uint64_t n = (uint64_t)loop->position + t + 1;
    struct running_softmax softmax = {.maximum = -INFINITY};
    for (uint32_t i = 0; i < args->head_dim; i++) {
        y[i] = 0;
    }
    for (uint64_t first = 0; first < n; first += SCORES) {
        attend_block(loop, q, k, v, first, n - first < SCORES ? n - first : SCORES, &softmax, y);
    }
    for (uint32_t i = 0; i < args->head_dim; i++) {
        y[i] /= softmax.sum;
    }
}

static void attention_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct attention_loop *loop = context;
    for (uint64_t i = begin; i < end; i++) {
        attend(loop, i / loop->args->heads, i % loop->args->heads);
    }
}

void cpu_attention(const struct cpu_run *run, const struct op *op)
{
    const struct attention_args *args = &op->args.attention;
    const struct step *step = cpu_step(op, args->step);
    assert(args->heads % args->kv_heads == 0);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    struct attention_loop loop = {
        .args = args,
        .math = cpu_cache_math_of(run->level, op->dtype),
        .element_bytes = dtype_info(op->dtype)->plane_bytes[0],
        .position = step->position,
    };
    thread_pool_for(run->pool, (uint64_t)step->n_tokens * args->heads, 1, attention_range, &loop);
}

uint64_t cpu_attention_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
