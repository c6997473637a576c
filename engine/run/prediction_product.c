/* How fast products with weights are: an op of its own form (types, rows, columns, norm and sums
 * included) is run with weights of ours, as many matrices as the model has bytes, one after
 * another, so that they come from where the model's come from and what the arithmetic of a type
 * adds to reading it is in. */
#include "engine/run/prediction_internal.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* With many tokens so many weights tell how fast more are, as it is not memory that limits them: a
 * few matrices, or one of that size, so that preparing the tokens weighs as it does in a list. */
#define MATRICES_BYTES (UINT64_C(8) << 20)
#define FEW_MATRICES 4
#define MAX_OPS 4096
#define MAX_EXPERTS 1024
#define MAX_PAIRS 32768
#define WEIGHT_ALIGN 256
/* Weights of which that part is read come from where all of them come from. */
#define ENOUGH_OF_MEMORY 4

/* Experts find their way by these: ops without sorted pairs have their experts at slabs[i * top_k],
 * each in its slot; an op with sorted ones has all. */
struct tables {
    uint64_t slabs[MAX_EXPERTS];
    uint32_t offsets[MAX_EXPERTS + 4]; /* what follows lies at 16 bytes */
    uint32_t ids[MAX_PAIRS], pairs[MAX_PAIRS];
    uint32_t tiles[1 + EXPERT_TILE_WORDS * MAX_PAIRS];
};

bool prediction_is_sorted(const struct op *op)
{
    return (op->kind == OP_expert_gate_up && op->tensors[5]) ||
           (op->kind == OP_expert_down && op->tensors[4]);
}

bool prediction_is_product(enum op_kind kind)
{
    return kind == OP_matmul || kind == OP_head_matmul || kind == OP_expert_gate_up ||
           kind == OP_expert_down || kind == OP_expert_down_sum;
}

/* What a measurement is made of. */
struct trial {
    const struct op *original;
    const struct buffer *weights;
    uint64_t rows, cols; /* of a matrix */
    uint64_t stride;     /* bytes from one to the next */
    uint32_t matrices, n_ops, tokens;
    uint32_t top_k;     /* 0: no experts */
    uint32_t experts;   /* of an op, with matrices each after those of the op before */
    uint32_t n_experts; /* with those that nobody has chosen */
};

/* Bytes of x and y of one token, whichever is more. */
static uint64_t token_bytes(const struct trial *t)
{
    uint64_t most = t->rows > t->cols ? t->rows : t->cols;
    return most * (t->top_k > 0 ? t->top_k : 1) * sizeof(float);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- matrices that all tokens are multiplied with ---- */

static void plan_matrices(const struct prediction *p, struct trial *t)
{
    const struct op *op = t->original;
    bool heads = op->kind == OP_head_matmul;
    t->rows = heads ? (uint64_t)op->args.head_matmul.rows * op->args.head_matmul.heads
                    : op->args.matmul.rows;
    t->cols = heads ? (uint64_t)op->args.head_matmul.cols * op->args.head_matmul.heads
                    : op->args.matmul.cols;
    uint64_t cols = heads ? op->args.head_matmul.cols : t->cols;
    uint64_t row_bytes = dtype_matrix_bytes(dtype_info(op->dtype), 1, cols);
    uint64_t room = p->weight_bytes;
    if (!heads) {
        uint64_t most = t->tokens < PREDICTION_MANY_TOKENS ? room / FEW_MATRICES : MATRICES_BYTES;
        most = most / row_bytes > 64 ? most / row_bytes : 64;
        t->rows = smaller(t->rows, most);
    }
    t->stride = (dtype_matrix_bytes(dtype_info(op->dtype), t->rows, cols) + WEIGHT_ALIGN - 1) /
                WEIGHT_ALIGN * WEIGHT_ALIGN;
    t->matrices = (uint32_t)smaller(room / t->stride, MAX_OPS);
    if (t->tokens >= PREDICTION_MANY_TOKENS) {
        uint64_t enough = MATRICES_BYTES / t->stride > 1 ? MATRICES_BYTES / t->stride : 1;
        t->matrices = (uint32_t)smaller(t->matrices, smaller(enough, FEW_MATRICES));
    }
    t->n_ops = t->matrices;
}

static void shape_matrix(const struct trial *t, struct op *op)
{
    if (op->kind == OP_matmul) {
        op->args.matmul.rows = (uint32_t)t->rows;
    }
}

/* ---- experts ---- */

static void expert_shape(struct trial *t)
{
    const struct op *op = t->original;
    switch (op->kind) {
    case OP_expert_gate_up:
        t->rows = 2 * (uint64_t)op->args.expert_gate_up.ffn;
        t->cols = op->args.expert_gate_up.hidden;
        t->top_k = op->args.expert_gate_up.top_k;
        break;
    case OP_expert_down:
        t->rows = op->args.expert_down.hidden;
        t->cols = op->args.expert_down.ffn;
        t->top_k = op->args.expert_down.top_k;
        break;
    default:
        t->rows = op->args.expert_down_sum.hidden;
        t->cols = op->args.expert_down_sum.ffn;
        t->top_k = op->args.expert_down_sum.top_k;
        break;
    }
}

static uint32_t n_experts_of(const struct op *op)
{
    return op->kind == OP_expert_gate_up ? op->args.expert_gate_up.n_experts
           : op->kind == OP_expert_down  ? op->args.expert_down.n_experts
                                         : op->args.expert_down_sum.n_experts;
}

/* Back ends have other kernels for up to so many tokens. */
#define FEW_TOKENS 32

/* Ops with sorted pairs have t->tokens of them for each expert. Together they are no more than the
 * original's, and few only if those are; they come from as many experts in proportion: so that
 * back ends choose the kernels that they choose for the original. */
static void plan_sorted(const struct prediction *p, struct trial *t, uint64_t n)
{
    const struct op *op = t->original;
    n = smaller(n, n_experts_of(op));
    t->top_k = (uint32_t)smaller(n, t->top_k);
    if (t->top_k == 0) {
        t->n_ops = 0;
        return;
    }
    uint64_t pairs = smaller((uint64_t)op->max_tokens * t->top_k, MAX_PAIRS);
    uint64_t vectors = smaller(t->tokens, op->max_tokens);
    uint64_t enough = larger(n / vectors, 2 * FEW_MATRICES);
    uint64_t many = (FEW_TOKENS / vectors + 1) * t->top_k;
    uint64_t experts = smaller(smaller(n, pairs / vectors), larger(enough, many));
    experts = larger(experts - experts % t->top_k, t->top_k);
    vectors = smaller(vectors, pairs / experts);
    while (vectors > 1 &&
           experts / t->top_k * vectors * token_bytes(t) > p->buffers[PREDICTION_OUTPUT].bytes) {
        vectors /= 2;
    }
    t->experts = (uint32_t)experts;
    t->tokens = (uint32_t)vectors;
    t->n_ops = (uint32_t)(smaller(n, larger(enough, experts)) / experts);
    t->n_experts = (uint32_t)larger(experts, n_experts_of(op) * experts * vectors / pairs);
}

/* t->tokens are those of each expert where pairs are sorted. As many experts as fit and as tell
 * what memory takes, fewer where there are many tokens. */
static void plan_experts(const struct prediction *p, struct trial *t)
{
    expert_shape(t);
    t->stride =
        (dtype_matrix_bytes(dtype_info(t->original->dtype), t->rows, t->cols) + WEIGHT_ALIGN - 1) /
        WEIGHT_ALIGN * WEIGHT_ALIGN;
    uint64_t n = smaller(p->weight_bytes / t->stride, MAX_EXPERTS);
    if (prediction_is_sorted(t->original)) {
        plan_sorted(p, t, n);
    } else {
        t->top_k = t->experts = (uint32_t)smaller(n, t->top_k);
        t->n_ops = t->top_k > 0 ? (uint32_t)n / t->top_k : 0;
        t->n_experts = n_experts_of(t->original);
    }
    t->matrices = t->n_ops * t->experts;
}

/* Experts lie in memory in another order than they are asked for in. */
static bool write_tables(struct prediction *p, const struct trial *t,
                         struct prediction_probe *probe, struct error *err)
{
    const struct backend_functions *functions = p->backend->functions;
    struct tables *tables = calloc(1, sizeof(*tables));
    if (!tables) {
        return error_set(err, "not enough memory to predict a speed");
    }
    bool sorted = prediction_is_sorted(t->original);
    uint32_t random = 1, n = t->matrices, pairs = t->tokens * (sorted ? t->experts : t->top_k);
    for (uint32_t e = 0; e < n; e++) {
        tables->slabs[e] = t->weights->address + e * t->stride;
    }
    for (uint32_t e = 0; e < MAX_EXPERTS; e++) { /* those that an op has too many have no pairs */
        tables->offsets[e + 1] = (uint32_t)smaller((uint64_t)(e + 1) * t->tokens, pairs);
    }
    for (uint32_t e = n; !sorted && e > 1; e--) {
        random = random * 1664525u + 1013904223u;
        uint32_t other = (uint32_t)((uint64_t)random * e >> 32);
        uint64_t slab = tables->slabs[e - 1];
        tables->slabs[e - 1] = tables->slabs[other];
        tables->slabs[other] = slab;
    }
    for (uint32_t pair = 0; pair < pairs; pair++) {
        uint32_t e = pair % t->experts;
        tables->ids[pair] = e;
        tables->pairs[sorted ? e * t->tokens + pair / t->experts : pair] = pair;
    }
    if (sorted) {
        op_expert_cut(tables->offsets, t->experts, t->original->tile_pairs, tables->tiles);
    }
    bool ok = functions->buffer_create(p->backend, sizeof(*tables), BUFFER_ACTIVATIONS,
                                       &probe->tables, err);
    probe->tables.bytes = ok ? sizeof(*tables) : 0;
    ok = ok && functions->write(p->backend, &probe->tables, 0, tables, sizeof(*tables), err);
    free(tables);
    return ok;
}

static void shape_experts(const struct trial *t, struct op *op)
{
    op->experts_here = 0;
    switch (op->kind) {
    case OP_expert_gate_up:
        op->args.expert_gate_up.n_experts = t->n_experts;
        op->args.expert_gate_up.top_k = t->top_k;
        break;
    case OP_expert_down:
        op->args.expert_down.n_experts = t->n_experts;
        op->args.expert_down.top_k = t->top_k;
        op->args.expert_down.down_offset = 0;
        break;
    default:
        op->args.expert_down_sum.n_experts = t->n_experts;
        op->args.expert_down_sum.top_k = t->top_k;
        op->args.expert_down_sum.down_offset = 0;
        break;
    }
}

/* ---- both ---- */

/* Where each tensor of the op is in a measurement: S step, I input, O output, D F P C the tables of
 * ids, offsets, pairs and tiles, m the model's own. Weights and slabs are set op by op. */
static const char *places_of(enum op_kind kind)
{
    switch (kind) {
    case OP_matmul:
        return "SWIImIO";
    case OP_head_matmul:
        return "SWIO";
    case OP_expert_gate_up:
        return "SLDIIFPmmCO";
    case OP_expert_down:
        return "SLDIFPmCO";
    default:
        return "SLDIImIO";
    }
}

/* The tensor `which` of the op in a measurement; `offset` is into what is read and written. */
static struct tensor placed(const struct prediction *p, const struct op *op,
                            const struct buffer *tables, uint32_t which, uint64_t offset)
{
    switch (places_of(op->kind)[which]) {
    case 'S':
        return prediction_tensor(&p->buffers[PREDICTION_STEP], 0);
    case 'I':
        return prediction_tensor(&p->buffers[PREDICTION_INPUT], offset);
    case 'O':
        return prediction_tensor(&p->buffers[PREDICTION_OUTPUT], offset);
    case 'D':
        return prediction_tensor(tables, offsetof(struct tables, ids));
    case 'F':
        return prediction_tensor(tables, offsetof(struct tables, offsets));
    case 'C':
        return prediction_tensor(tables, offsetof(struct tables, tiles));
    case 'P':
        return prediction_tensor(tables, offsetof(struct tables, pairs));
    default:
        return *op->tensors[which];
    }
}

/* Ops take turns with sets of tensors, so that with many tokens what an op reads and writes lies
 * elsewhere than that of the op before, as in a list. Each set has OP_MAX_TENSORS of them. */
static uint32_t place_tensors(const struct prediction *p, const struct trial *t, uint32_t tokens,
                              const struct buffer *tables, struct tensor *sets)
{
    const struct op *op = t->original;
    uint64_t piece = (tokens * token_bytes(t) + WEIGHT_ALIGN - 1) / WEIGHT_ALIGN * WEIGHT_ALIGN;
    bool apart = tokens >= PREDICTION_MANY_TOKENS &&
                 p->buffers[PREDICTION_INPUT].bytes / piece > FEW_MATRICES;
    uint32_t n_sets = apart ? FEW_MATRICES : 1;
    assert(strlen(places_of(op->kind)) == op->n_tensors);
    for (uint32_t set = 0; set < n_sets; set++) {
        for (uint32_t k = 0; k < op->n_tensors; k++) {
            /* Those of index 1 are set op by op. */
            if (op->tensors[k] && k != 1) {
                sets[set * OP_MAX_TENSORS + k] = placed(p, op, tables, k, set * piece);
            }
        }
    }
    return n_sets;
}

static void add_op(const struct trial *t, uint32_t i, uint32_t tokens, struct tensor *set,
                   struct tensor *weight, struct prediction_probe *probe)
{
    struct op *op = &probe->list.ops[probe->list.n_ops++];
    *op = *t->original;
    op->max_tokens = tokens;
    for (uint32_t k = 0; k < op->n_tensors; k++) {
        op->tensors[k] = op->tensors[k] ? &set[k] : NULL;
    }
    op->tensors[1] = weight;
    if (t->top_k > 0) {
        uint64_t first = (uint64_t)i * t->experts;
        *weight = prediction_tensor(&probe->tables, first * sizeof(uint64_t));
        shape_experts(t, op);
    } else {
        *weight = prediction_tensor(t->weights, i * t->stride);
        shape_matrix(t, op);
    }
}

static bool make_probe(struct prediction *p, const struct trial *t, struct measured *m,
                       struct error *err)
{
    struct prediction_probe *probe = &m->probes[m->n_probes++];
    bool sorted = prediction_is_sorted(t->original);
    uint32_t tokens = sorted ? t->experts / t->top_k * t->tokens : t->tokens;
    size_t shared = (size_t)FEW_MATRICES * OP_MAX_TENSORS;
    probe->tensors = calloc(shared + t->n_ops, sizeof(struct tensor));
    if (!probe->tensors || !op_list_init(&probe->list, tokens, t->n_ops, err)) {
        return error_set(err, "not enough memory to predict a speed");
    }
    if (t->top_k > 0 && !write_tables(p, t, probe, err)) {
        return false;
    }
    uint32_t n_sets = place_tensors(p, t, tokens, &probe->tables, probe->tensors);
    for (uint32_t i = 0; i < t->n_ops; i++) {
        struct tensor *set = probe->tensors + (size_t)(i % n_sets) * OP_MAX_TENSORS;
        add_op(t, i, tokens, set, probe->tensors + shared + i, probe);
    }
    double pairs = t->top_k > 0 ? (double)tokens * t->top_k : tokens;
    double heads = 1;
    if (t->original->kind == OP_head_matmul) {
        heads = t->original->args.head_matmul.heads;
    }
    m->operations[0] = 2.0 * (double)t->rows * (double)t->cols * pairs * t->n_ops / heads;
    m->from_memory = t->matrices * t->stride >= p->weight_bytes / ENOUGH_OF_MEMORY;
    return prediction_probe_create(p, probe, tokens, 0, err);
}

bool prediction_measure_product(struct prediction *p, const struct op *op, struct measured *m,
                                struct error *err)
{
    struct trial t = {
        .original = op, .tokens = m->tokens, .weights = prediction_weights(p, op->dtype, err)};
    if (!t.weights) {
        return false;
    }
    if (op->kind != OP_matmul && op->kind != OP_head_matmul) {
        plan_experts(p, &t);
    } else {
        plan_matrices(p, &t);
    }
    if (t.n_ops == 0 || t.matrices == 0 || t.tokens == 0) {
        return error_set(err, "a matrix of %s is too large to be measured", op_name(op->kind));
    }
    while (!prediction_is_sorted(op) && t.tokens > 1 &&
           t.tokens * token_bytes(&t) > p->buffers[PREDICTION_OUTPUT].bytes) {
        t.tokens /= 2;
    }
    return make_probe(p, &t, m, err);
}
