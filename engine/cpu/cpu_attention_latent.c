/* Latent attention in absorbed form. All heads of a token read the same rows, so a task takes
 * several heads of a token through the cache together, block by block: a block comes from memory
 * once and serves the scores and the sums of all of them.
 */
#include <stddef.h>

#include "engine/cpu/cpu_internal.h"

#define HEADS_PER_TASK 8

struct latent_loop {
    const struct attention_latent_args *args;
    const struct cpu_cache_math *math;
    uint64_t element_bytes;
    uint32_t position;
};

/* Cache rows [first, first + n) for row `query` of q, q_rope and y. */
static void attend_block(const struct latent_loop *loop, uint64_t query, uint64_t first, uint64_t n,
                         struct cpu_softmax *softmax)
{
    const struct attention_latent_args *args = loop->args;
    uint64_t row_bytes = args->rank * loop->element_bytes;
    uint64_t rope_bytes = args->rope_dim * loop->element_bytes;
    const uint8_t *latent = (const uint8_t *)cpu_pointer(args->latent_cache) + first * row_bytes;
    const uint8_t *rope = (const uint8_t *)cpu_pointer(args->rope_cache) + first * rope_bytes;
    const float *q = (const float *)cpu_pointer(args->q) + query * args->rank;
    const float *q_rope = (const float *)cpu_pointer(args->q_rope) + query * args->rope_dim;
    float *y = (float *)cpu_pointer(args->y) + query * args->rank;
    float scores[CPU_SOFTMAX_ROWS];
    for (uint64_t j = 0; j < n; j++) {
        float score = loop->math->dot(latent + j * row_bytes, q, args->rank) +
                      loop->math->dot(rope + j * rope_bytes, q_rope, args->rope_dim);
        scores[j] = score * args->scale;
    }
    cpu_softmax_add(softmax, loop->math, scores, latent, row_bytes, n, args->rank, y);
}

/* Heads [first_head, end_head) of token t. */
static void attend(const struct latent_loop *loop, uint64_t t, uint64_t first_head,
                   uint64_t end_head)
{
    const struct attention_latent_args *args = loop->args;
    struct cpu_softmax softmaxes[HEADS_PER_TASK];
    uint64_t first_query = t * args->heads + first_head, n_queries = end_head - first_head;
    uint64_t end = loop->position + t + 1;
    float *y = (float *)cpu_pointer(args->y) + first_query * args->rank;
    for (uint64_t i = 0; i < n_queries; i++) {
        softmaxes[i] = cpu_softmax_begin(NULL, args->rank, y + i * args->rank);
    }
    for (uint64_t first = 0; first < end; first += CPU_SOFTMAX_ROWS) {
        uint64_t n = end - first < CPU_SOFTMAX_ROWS ? end - first : CPU_SOFTMAX_ROWS;
        for (uint64_t i = 0; i < n_queries; i++) {
            attend_block(loop, first_query + i, first, n, &softmaxes[i]);
        }
    }
    for (uint64_t i = 0; i < n_queries; i++) {
        cpu_softmax_end(&softmaxes[i], args->rank, y + i * args->rank);
    }
}

static uint64_t tasks_per_token(const struct attention_latent_args *args)
{
    return ((uint64_t)args->heads + HEADS_PER_TASK - 1) / HEADS_PER_TASK;
}

static void latent_range(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct latent_loop *loop = context;
    uint64_t per_token = tasks_per_token(loop->args), heads = loop->args->heads;
    for (uint64_t i = begin; i < end; i++) {
        uint64_t first_head = i % per_token * HEADS_PER_TASK;
        uint64_t left = heads - first_head;
        attend(loop, i / per_token, first_head,
               first_head + (left < HEADS_PER_TASK ? left : HEADS_PER_TASK));
    }
}

void cpu_attention_latent(const struct cpu_run *run, const struct op *op)
{
    const struct attention_latent_args *args = &op->args.attention_latent;
    const struct step *step = cpu_step(op, args->step);
    assert((uint64_t)step->position + step->n_tokens <= args->capacity);
    assert(args->rank <= ATTENTION_LATENT_MAX_RANK && args->rope_dim <= ATTENTION_LATENT_MAX_ROPE);
    struct latent_loop loop = {
        .args = args,
        .math = cpu_cache_math_of(run->level, op->dtype),
        .element_bytes = dtype_info(op->dtype)->plane_bytes[0],
        .position = step->position,
    };
    thread_pool_for(run->pool, step->n_tokens * tasks_per_token(args), 1, latent_range, &loop);
}

uint64_t cpu_attention_latent_scratch(const struct cpu_level *level, const struct op *op)
{
    return 0;
}
