/* Ops that are no products with weights: attention, whose time has a fixed part and a part for what
 * every query sees; and small ones, which latency and not bytes decides. They read what the last
 * evaluation left in the session's own activations, and caches of ours. */
#include "engine/run/prediction_internal.h"

#include <math.h>
#include <stdlib.h>

/* Attention is measured at the first position and at this one. */
#define SECOND_POSITION 512
/* Ops of a list with few tokens. */
#define MOST_OPS 64
#define CACHE_ALIGN 256

/* Ops that add to what outlives a list, or that find their way by ids in memory, which may hold
 * anything now, must not be run for a measurement. */
static bool can_run(const struct op *op, uint32_t n)
{
    return op->kind != OP_observe && op->kind != OP_sample && op->kind != OP_expert_group &&
           n <= PREDICTION_MAX_TOKENS;
}

/* The caches of an op that has some. */
struct caches {
    uint32_t first; /* its tensors of that index and the next */
    uint32_t dims[2];
    uint32_t *capacity;
    bool written;
};

static bool caches_of(struct op *op, struct caches *caches)
{
    switch (op->kind) {
    case OP_attention: {
        struct attention_args *a = &op->args.attention;
        *caches = (struct caches){2, {a->kv_heads * a->head_dim, 0}, &a->capacity, false};
        caches->dims[1] = caches->dims[0];
        return true;
    }
    case OP_attention_prepare: {
        struct attention_prepare_args *a = &op->args.attention_prepare;
        *caches = (struct caches){8, {a->kv_heads * a->head_dim, 0}, &a->capacity, true};
        caches->dims[1] = caches->dims[0];
        return true;
    }
    case OP_attention_latent: {
        struct attention_latent_args *a = &op->args.attention_latent;
        *caches = (struct caches){3, {a->rank, a->rope_dim}, &a->capacity, false};
        return true;
    }
    case OP_attention_latent_prepare: {
        struct attention_latent_prepare_args *a = &op->args.attention_latent_prepare;
        *caches = (struct caches){7, {a->rank, a->rope_dim}, &a->capacity, true};
        return true;
    }
    default:
        return false;
    }
}

/* Where the caches of a probe's ops are: in the two halves of a buffer, each op's further on, so
 * that they come from as far away as those of other layers, and none is memory that nobody has
 * written. */
struct cache_places {
    const struct buffer *buffer;
    uint64_t stride;
    uint32_t n_ops, capacity; /* n_ops 0: the buffer is too small */
};

static bool place_caches(struct prediction *p, struct op *op, const struct caches *caches,
                         uint32_t tokens, uint32_t position, struct cache_places *places,
                         struct error *err)
{
    uint32_t dim = caches->dims[caches->dims[1] > caches->dims[0]], rows = position + tokens;
    *places = (struct cache_places){.capacity = caches->written ? rows : *caches->capacity};
    places->buffer =
        caches->written ? &p->buffers[PREDICTION_OUTPUT] : prediction_weights(p, op->dtype, err);
    if (!places->buffer) {
        return false;
    }
    uint64_t half = places->buffer->bytes / 2;
    if ((uint64_t)places->capacity * dim * sizeof(float) > half) {
        places->capacity = rows;
    }
    uint64_t cache = (uint64_t)places->capacity * dim * sizeof(float);
    places->stride = ((uint64_t)rows * dim * sizeof(float) + CACHE_ALIGN - 1) / CACHE_ALIGN;
    places->stride *= CACHE_ALIGN;
    if (cache <= half) {
        uint64_t room = (half - cache) / places->stride + 1;
        uint32_t most = tokens < PREDICTION_MANY_TOKENS ? MOST_OPS : 1;
        places->n_ops = room < most ? (uint32_t)room : most;
    }
    return true;
}

/* tensors: two for every op, and the first of all is the step. */
static void add_ops(struct prediction *p, const struct op *original, struct prediction_probe *probe,
                    const struct cache_places *places, uint32_t n_ops)
{
    probe->tensors[0] = prediction_tensor(&p->buffers[PREDICTION_STEP], 0);
    for (uint32_t i = 0; i < n_ops; i++) {
        struct caches caches;
        struct op *op = &probe->list.ops[probe->list.n_ops++];
        *op = *original;
        if (op->kind != OP_argmax) {
            op->tensors[0] = &probe->tensors[0];
        }
        for (uint32_t k = 0; k < 2 && caches_of(op, &caches); k++) {
            struct tensor *cache = &probe->tensors[1 + 2 * i + k];
            uint64_t begin = k * (places->buffer->bytes / 2 / CACHE_ALIGN * CACHE_ALIGN);
            *cache = prediction_tensor(places->buffer, begin + i * places->stride);
            op->tensors[caches.first + k] = cache;
            *caches.capacity = places->capacity;
        }
    }
}

static bool add_probe(struct prediction *p, const struct op *original, struct measured *m,
                      uint32_t position, struct error *err)
{
    struct prediction_probe *probe = &m->probes[m->n_probes];
    struct op op = *original;
    struct caches caches;
    struct cache_places places = {.n_ops = 1};
    if (caches_of(&op, &caches) &&
        !place_caches(p, &op, &caches, m->tokens, position, &places, err)) {
        return false;
    }
    if (places.n_ops == 0) {
        return true;
    }
    probe->tensors = calloc(1 + 2 * (size_t)places.n_ops, sizeof(*probe->tensors));
    if (!probe->tensors || !op_list_init(&probe->list, op.max_tokens, places.n_ops, err)) {
        return error_set(err, "not enough memory to predict a speed");
    }
    add_ops(p, original, probe, &places, places.n_ops);
    m->operations[m->n_probes] =
        places.n_ops * op_cost_of(original, m->tokens, position, NULL).operations;
    m->n_probes++;
    return prediction_probe_create(p, probe, m->tokens, position, err);
}

static bool is_attention(const struct op *op, uint32_t *capacity)
{
    *capacity =
        op->kind == OP_attention ? op->args.attention.capacity : op->args.attention_latent.capacity;
    return op->kind == OP_attention || op->kind == OP_attention_latent;
}

bool prediction_measure_alone(struct prediction *p, const struct op *op, struct measured *m,
                              struct error *err)
{
    uint32_t capacity;
    if (!can_run(op, m->tokens)) {
        return true;
    }
    if (!add_probe(p, op, m, 0, err)) {
        return false;
    }
    if (!is_attention(op, &capacity) || capacity <= m->tokens) {
        return true;
    }
    uint32_t room = capacity - m->tokens;
    uint32_t position = room < SECOND_POSITION ? room : SECOND_POSITION;
    if (op_cost_of(op, m->tokens, position, NULL).operations <=
        op_cost_of(op, m->tokens, 0, NULL).operations) {
        return true;
    }
    return add_probe(p, op, m, position, err);
}
