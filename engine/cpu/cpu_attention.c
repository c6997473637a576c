/* Causal attention, one (token, head) at a time, in one pass over the cache rows that the token
 * sees. */
#include <stddef.h>

#include "engine/cpu/cpu_internal.h"

struct attention_loop {
    const struct attention_args *args;
    const struct cpu_cache_math *math;
    uint64_t element_bytes;
    uint32_t position;
};

static void attend(const struct attention_loop *loop, uint64_t t, uint64_t head)
{
    const struct attention_args *args = loop->args;
    uint64_t dim = args->head_dim;
    uint64_t row_bytes = args->kv_heads * dim * loop->element_bytes;
    uint64_t head_bytes = head / (args->heads / args->kv_heads) * dim * loop->element_bytes;
    uint64_t offset = (t * args->heads + head) * dim;
    const float *q = (const float *)cpu_pointer(args->q) + offset;
    float *y = (float *)cpu_pointer(args->y) + offset;
    const uint8_t *k = (const uint8_t *)cpu_pointer(args->k_cache) + head_bytes;
    const uint8_t *v = (const uint8_t *)cpu_pointer(args->v_cache) + head_bytes;
    const float *sinks = cpu_pointer(args->sinks);
    uint64_t end = loop->position + t + 1;
    uint64_t first = args->window != 0 && end > args->window ? end - args->window : 0;

    struct cpu_softmax softmax = cpu_softmax_begin(sinks ? &sinks[head] : NULL, dim, y);
    for (uint64_t n; first < end; first += n) {
        float scores[CPU_SOFTMAX_ROWS];
        n = end - first < CPU_SOFTMAX_ROWS ? end - first : CPU_SOFTMAX_ROWS;
        for (uint64_t j = 0; j < n; j++) {
            scores[j] = loop->math->dot(k + (first + j) * row_bytes, q, dim) * args->scale;
        }
        cpu_softmax_add(&softmax, loop->math, scores, v + first * row_bytes, row_bytes, n, dim, y);
    }
    cpu_softmax_end(&softmax, dim, y);
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
