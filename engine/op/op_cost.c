#include "engine/op/op_cost.h"

#include <assert.h>
#include <math.h>

#define F32_BYTES 4.0
#define U32_BYTES 4.0
#define ADDRESS_BYTES 8.0

/* Operations of a matrix and a vector, or of as many rows of a cache and a query. */
static double products(double rows, double cols)
{
    return 2 * rows * cols;
}

static double matrix_bytes(enum dtype dtype, uint64_t rows, uint64_t cols)
{
    const struct dtype_info *type = dtype_info(dtype);
    assert(type);
    return (double)dtype_matrix_bytes(type, rows, cols);
}

/* A row of a cache: of floats it is not padded. */
static double cache_row(enum dtype dtype, uint64_t dim)
{
    return dtype == DTYPE_F32   ? 4.0 * (double)dim
           : dtype == DTYPE_F16 ? 2.0 * (double)dim
                                : matrix_bytes(dtype, 1, dim);
}

/* A tensor that may be absent. */
static bool has(const struct op *op, uint32_t tensor)
{
    return op->tensors[tensor] != NULL;
}

double op_cost_experts(uint32_t n_experts, uint32_t here, uint32_t top_k, uint32_t n_tokens)
{
    double missed = 1 - (double)top_k / n_experts;
    return (here > 0 ? here : n_experts) * (1 - pow(missed, n_tokens));
}

/* The same, counted. Which of the counted ones are here is not known: as many as of all. */
static double experts_read(uint32_t n_experts, uint32_t here, uint32_t top_k, uint32_t n,
                           const struct op_loads *loads)
{
    double experts = 0;
    if (!loads) {
        return op_cost_experts(n_experts, here, top_k, n);
    }
    for (uint32_t v = 1; v <= loads->n_tokens; v++) {
        experts += loads->experts[v];
    }
    return here > 0 ? experts * here / n_experts : experts;
}

/* The number of experts an op chooses or works with; 0: it does neither. */
static uint32_t experts_of(const struct op *op)
{
    switch (op->kind) {
    case OP_router:
        return op->args.router.rule.n_experts;
    case OP_matmul_router:
        return op->args.matmul_router.rule.n_experts;
    case OP_expert_gate_up:
        return op->args.expert_gate_up.n_experts;
    case OP_expert_down:
        return op->args.expert_down.n_experts;
    case OP_expert_down_sum:
        return op->args.expert_down_sum.n_experts;
    default:
        return 0;
    }
}

const struct op_loads *op_loads_at(const struct op_loads *loads, const struct op *op,
                                   uint32_t *routers)
{
    if (!loads || experts_of(op) < 2) {
        return NULL;
    }
    *routers += op->kind == OP_router || op->kind == OP_matmul_router;
    return *routers > 0 ? &loads[*routers - 1] : NULL;
}

/* Rows of a cache that causal attention reads for all tokens together (each once, as an evaluation
 * of several tokens can), and the (query, row) pairs it multiplies. */
struct seen {
    double rows, pairs;
};

static struct seen seen_by(uint32_t n, uint32_t position, uint32_t window)
{
    struct seen seen = {0};
    double first = position + 1.0, last = (double)position + n;
    if (window == 0) {
        seen.rows = last;
        seen.pairs = (first + last) / 2 * n;
        return seen;
    }
    /* Tokens that see fewer rows than the window holds, then those that see a whole window. */
    double growing = first < window ? fmin(window - first, n) : 0;
    seen.pairs = growing * (first + (growing - 1) / 2) + (n - growing) * window;
    seen.rows = fmin(last, (double)window + n - 1);
    return seen;
}

static struct op_cost cost_embed(const struct op *op, uint32_t n, uint32_t position,
                                 const struct op_loads *loads)
{
    const struct embed_args *a = &op->args.embed;
    return (struct op_cost){
        .weight_bytes = n * matrix_bytes(op->dtype, 1, a->dim),
        .activation_bytes = n * a->dim * F32_BYTES,
    };
}

static struct op_cost cost_rms_norm(const struct op *op, uint32_t n, uint32_t position,
                                    const struct op_loads *loads)
{
    const struct rms_norm_args *a = &op->args.rms_norm;
    double tokens = a->last_only ? 1 : n;
    return (struct op_cost){
        .weight_bytes = a->dim * F32_BYTES,
        .activation_bytes = 2 * tokens * a->rows_per_token * a->dim * F32_BYTES,
    };
}

static struct op_cost cost_matmul(const struct op *op, uint32_t n, uint32_t position,
                                  const struct op_loads *loads)
{
    const struct matmul_args *a = &op->args.matmul;
    double tokens = a->one_row ? 1 : n;
    return (struct op_cost){
        .weight_bytes = matrix_bytes(op->dtype, a->rows, a->cols) +
                        (has(op, 3) * (double)a->cols + has(op, 4) * (double)a->rows) * F32_BYTES,
        .activation_bytes = tokens * ((1.0 + has(op, 5)) * (double)a->rows + a->cols) * F32_BYTES,
        .operations = tokens * products(a->rows, a->cols),
    };
}

static struct op_cost cost_head_matmul(const struct op *op, uint32_t n, uint32_t position,
                                       const struct op_loads *loads)
{
    const struct head_matmul_args *a = &op->args.head_matmul;
    uint64_t rows = (uint64_t)a->heads * a->rows;
    return (struct op_cost){
        .weight_bytes = matrix_bytes(op->dtype, rows, a->cols),
        .activation_bytes = (double)n * a->heads * ((double)a->rows + a->cols) * F32_BYTES,
        .operations = n * products((double)rows, a->cols),
    };
}

static struct op_cost cost_attention_prepare(const struct op *op, uint32_t n, uint32_t position,
                                             const struct op_loads *loads)
{
    const struct attention_prepare_args *a = &op->args.attention_prepare;
    uint64_t q_dim = (uint64_t)a->heads * a->head_dim, kv_dim = (uint64_t)a->kv_heads * a->head_dim;
    double norms = (double)has(op, 4) + has(op, 5);
    return (struct op_cost){
        .weight_bytes = norms * a->head_dim * F32_BYTES,
        .cache_bytes = 2.0 * n * cache_row(op->dtype, kv_dim),
        .activation_bytes = (2.0 * n * (double)(q_dim + kv_dim) + a->n_rotated / 2.0) * F32_BYTES,
    };
}

static struct op_cost cost_attention_latent_prepare(const struct op *op, uint32_t n,
                                                    uint32_t position, const struct op_loads *loads)
{
    const struct attention_latent_prepare_args *a = &op->args.attention_latent_prepare;
    double key = (double)a->rank + a->rope_dim;
    return (struct op_cost){
        .weight_bytes = a->rank * F32_BYTES,
        .cache_bytes = n * (cache_row(op->dtype, a->rank) + cache_row(op->dtype, a->rope_dim)),
        .activation_bytes =
            (n * (key + 2.0 * a->heads * a->rope_dim) + a->rope_dim / 2.0) * F32_BYTES,
    };
}

static struct op_cost cost_attention(const struct op *op, uint32_t n, uint32_t position,
                                     const struct op_loads *loads)
{
    const struct attention_args *a = &op->args.attention;
    struct seen seen = seen_by(n, position, a->window);
    return (struct op_cost){
        .weight_bytes = has(op, 4) ? a->heads * F32_BYTES : 0,
        .cache_bytes = 2 * seen.rows * cache_row(op->dtype, (uint64_t)a->kv_heads * a->head_dim),
        .activation_bytes = 2.0 * n * a->heads * a->head_dim * F32_BYTES,
        .operations = 2 * products(seen.pairs, (double)a->heads * a->head_dim),
    };
}

static struct op_cost cost_attention_latent(const struct op *op, uint32_t n, uint32_t position,
                                            const struct op_loads *loads)
{
    const struct attention_latent_args *a = &op->args.attention_latent;
    struct seen seen = seen_by(n, position, 0);
    double key = (double)a->rank + a->rope_dim;
    return (struct op_cost){
        .cache_bytes =
            seen.rows * (cache_row(op->dtype, a->rank) + cache_row(op->dtype, a->rope_dim)),
        .activation_bytes = n * a->heads * (key + a->rank) * F32_BYTES,
        .operations = products(seen.pairs, a->heads * (key + a->rank)),
    };
}

static struct op_cost cost_router(const struct op *op, uint32_t n, uint32_t position,
                                  const struct op_loads *loads)
{
    const struct router_rule *a = &op->args.router.rule;
    return (struct op_cost){
        .weight_bytes = has(op, 2) ? a->n_experts * F32_BYTES : 0,
        .activation_bytes = n * (a->n_experts + 2.0 * a->top_k) * F32_BYTES,
    };
}

static struct op_cost cost_matmul_router(const struct op *op, uint32_t n, uint32_t position,
                                         const struct op_loads *loads)
{
    const struct matmul_router_args *a = &op->args.matmul_router;
    const struct router_rule *rule = &a->rule;
    double per_expert = (double)has(op, 4) + has(op, 5);
    return (struct op_cost){
        .weight_bytes = matrix_bytes(op->dtype, rule->n_experts, a->cols) +
                        (has(op, 3) * (double)a->cols + per_expert * rule->n_experts) * F32_BYTES,
        .activation_bytes = (a->cols + 2.0 * rule->n_experts + 2.0 * rule->top_k) * F32_BYTES,
        .operations = products(rule->n_experts, a->cols),
    };
}

static struct op_cost cost_expert_group(const struct op *op, uint32_t n, uint32_t position,
                                        const struct op_loads *loads)
{
    const struct expert_group_args *a = &op->args.expert_group;
    return (struct op_cost){
        .activation_bytes =
            (2.0 * n * a->top_k + a->n_experts + 1 +
             (double)op_expert_tile_words(n, a->top_k, a->n_experts, a->tile_pairs)) *
            U32_BYTES,
    };
}

/* One of the two products of experts: a matrix [rows, cols] of each, and one vector a pair. */
static struct op_cost cost_experts(const struct op *op, uint32_t n, const struct op_loads *loads,
                                   uint32_t n_experts, uint32_t top_k, uint64_t rows, uint64_t cols,
                                   bool bias)
{
    double experts = experts_read(n_experts, op->experts_here, top_k, n, loads);
    double share = op->experts_here > 0 ? (double)op->experts_here / n_experts : 1;
    double pairs = (double)n * top_k * share;
    return (struct op_cost){
        .weight_bytes =
            experts * (matrix_bytes(op->dtype, rows, cols) + (bias ? (double)rows * F32_BYTES : 0)),
        .activation_bytes = experts * ADDRESS_BYTES + pairs * U32_BYTES,
        .operations = pairs * products((double)rows, (double)cols),
    };
}

static struct op_cost cost_expert_gate_up(const struct op *op, uint32_t n, uint32_t position,
                                          const struct op_loads *loads)
{
    const struct expert_gate_up_args *a = &op->args.expert_gate_up;
    struct op_cost cost = cost_experts(op, n, loads, a->n_experts, a->top_k, 2 * (uint64_t)a->ffn,
                                       a->hidden, has(op, 7));
    cost.weight_bytes += has(op, 4) ? a->hidden * F32_BYTES : 0;
    cost.activation_bytes += n * ((double)a->hidden + (double)a->top_k * a->ffn) * F32_BYTES;
    return cost;
}

static struct op_cost cost_expert_down(const struct op *op, uint32_t n, uint32_t position,
                                       const struct op_loads *loads)
{
    const struct expert_down_args *a = &op->args.expert_down;
    struct op_cost cost =
        cost_experts(op, n, loads, a->n_experts, a->top_k, a->hidden, a->ffn, has(op, 6));
    cost.activation_bytes += (double)n * a->top_k * ((double)a->ffn + a->hidden) * F32_BYTES;
    return cost;
}

static struct op_cost cost_expert_combine(const struct op *op, uint32_t n, uint32_t position,
                                          const struct op_loads *loads)
{
    const struct expert_combine_args *a = &op->args.expert_combine;
    return (struct op_cost){
        .activation_bytes = n * ((a->top_k + 2.0) * a->hidden + a->top_k) * F32_BYTES,
    };
}

static struct op_cost cost_expert_down_sum(const struct op *op, uint32_t n, uint32_t position,
                                           const struct op_loads *loads)
{
    const struct expert_down_sum_args *a = &op->args.expert_down_sum;
    struct op_cost cost =
        cost_experts(op, n, loads, a->n_experts, a->top_k, a->hidden, a->ffn, has(op, 5));
    cost.activation_bytes += n * ((double)a->top_k * (a->ffn + 1.0) + 2.0 * a->hidden) * F32_BYTES;
    return cost;
}

static struct op_cost cost_argmax(const struct op *op, uint32_t n, uint32_t position,
                                  const struct op_loads *loads)
{
    return (struct op_cost){.activation_bytes = op->args.argmax.dim * F32_BYTES + U32_BYTES};
}

static struct op_cost cost_sample(const struct op *op, uint32_t n, uint32_t position,
                                  const struct op_loads *loads)
{
    return (struct op_cost){.activation_bytes = op->args.sample.vocabulary * F32_BYTES + U32_BYTES};
}

static struct op_cost cost_observe(const struct op *op, uint32_t n, uint32_t position,
                                   const struct op_loads *loads)
{
    const struct observe_args *a = &op->args.observe;
    double pairs = (double)n * a->top_k, rows = a->x_per_pair ? pairs : n;
    return (struct op_cost){
        .activation_bytes =
            (rows * a->dim + 2 * (a->dim + 1.0) * fmin(pairs, a->n_groups)) * F32_BYTES +
            (has(op, 2) ? pairs * U32_BYTES : 0),
    };
}

static struct op_cost (*const costs[OP_COUNT])(const struct op *op, uint32_t n, uint32_t position,
                                               const struct op_loads *loads) = {
#define X(name, ...) cost_##name,
    OPS(X)
#undef X
};

struct op_cost op_cost_of(const struct op *op, uint32_t n_tokens, uint32_t position,
                          const struct op_loads *loads)
{
    assert(n_tokens >= 1 && n_tokens <= op->max_tokens && (!loads || loads->n_tokens == n_tokens));
    return costs[op->kind](op, n_tokens, position, loads);
}
