#include "engine/run/prediction.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "engine/op/op_steps.h"

/* Products are measured on matrices of about this many bytes, one after another through a buffer as
 * large as the model's weights, up to where no processor's cache holds it. */
#define MATRIX_BYTES (2u << 20)
#define WEIGHT_BYTES (UINT64_C(256) << 20)
#define MATRIX_MAX_ROWS 8192
/* With many vectors fewer matrices do: it is not memory that limits them. */
#define MIN_MATRICES 4
#define MAX_MATRICES 4096
/* Rates are measured for 1, 2, 4 ... vectors; more do not make a product faster. */
#define MAX_VECTORS 256
#define MAX_COLS 32768
/* Attention is measured at this many positions, whose rows stay in a cache. */
#define ATTENTION_POSITIONS 512
#define MIN_SECONDS 0.02
#define MIN_RUNS 3
#define MAX_MEASURED 256

/* One measurement, and what it is of. */
struct measured {
    enum op_kind kind; /* OP_matmul stands for every product but those of sorted experts */
    enum dtype dtype;
    uint32_t tokens; /* vectors of a product */
    uint32_t rows;   /* of OP_matmul */
    uint64_t shape;  /* columns of OP_matmul; of other ops a number made of all of theirs */
    double value;    /* operations per second of products and attention, else seconds */
};

/* Of experts that are measured, and of what they are given. */
#define MAX_EXPERTS 512
#define MAX_PAIRS 16384
#define OUTPUT_BYTES (UINT64_C(32) << 20)

enum { STEP, WEIGHT, INPUT, OUTPUT, TABLE, N_BUFFERS };

/* What experts find their way by. */
struct table {
    uint64_t slabs[MAX_EXPERTS];
    uint32_t offsets[MAX_EXPERTS + 2]; /* even, so that what follows lies at 8 bytes */
    uint32_t ids[MAX_PAIRS], pairs[MAX_PAIRS];
};

struct prediction {
    struct backend *backend;
    uint64_t resident_bytes; /* of the model's weights */
    struct buffer buffers[N_BUFFERS];
    uint32_t n_buffers;
    struct measured measured[MAX_MEASURED];
    uint32_t n_measured;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Bytes that are harmless numbers in every type, scales included, and not all alike. */
static bool fill(struct prediction *p, const struct buffer *buffer, struct error *err)
{
    uint32_t random = 1;
    uint8_t *bytes = malloc(MATRIX_BYTES);
    if (!bytes) {
        return error_set(err, "not enough memory to predict a speed");
    }
    for (uint64_t i = 0; i < MATRIX_BYTES; i++) {
        random = random * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(0x20 | random >> 27);
    }
    bool ok = true;
    for (uint64_t done = 0; ok && done < buffer->bytes; done += MATRIX_BYTES) {
        uint64_t left = buffer->bytes - done;
        ok = p->backend->functions->write(p->backend, buffer, done, bytes,
                                          left < MATRIX_BYTES ? left : MATRIX_BYTES, err);
    }
    free(bytes);
    return ok;
}

/* As many bytes of weights as the model has, within reason. */
static uint64_t weight_bytes(struct backend *backend, uint64_t resident_bytes)
{
    struct backend_memory memory;
    uint64_t bytes = resident_bytes < WEIGHT_BYTES ? resident_bytes : WEIGHT_BYTES;
    backend->functions->memory(backend, &memory);
    bytes = bytes < memory.available / 4 ? bytes : memory.available / 4;
    uint64_t least = MIN_MATRICES * (uint64_t)MATRIX_BYTES;
    return bytes > least ? bytes : least;
}

struct prediction *prediction_create(struct backend *backend, uint64_t resident_bytes,
                                     struct error *err)
{
    const struct {
        uint64_t bytes;
        enum buffer_use use;
    } wanted[N_BUFFERS] = {
        [STEP] = {sizeof(struct step), BUFFER_STEP},
        [WEIGHT] = {weight_bytes(backend, resident_bytes), BUFFER_WEIGHTS},
        [INPUT] = {(uint64_t)MAX_VECTORS * MAX_COLS * sizeof(float), BUFFER_ACTIVATIONS},
        [OUTPUT] = {OUTPUT_BYTES, BUFFER_ACTIVATIONS},
        [TABLE] = {sizeof(struct table), BUFFER_ACTIVATIONS},
    };
    struct prediction *p = calloc(1, sizeof(*p));
    if (!p) {
        error_set(err, "not enough memory to predict a speed");
        return NULL;
    }
    p->backend = backend;
    p->resident_bytes = resident_bytes;
    for (uint32_t i = 0; i < N_BUFFERS; i++) {
        if (!backend->functions->buffer_create(backend, wanted[i].bytes, wanted[i].use,
                                               &p->buffers[i], err)) {
            prediction_destroy(&p);
            return NULL;
        }
        p->n_buffers++;
    }
    if (!fill(p, &p->buffers[WEIGHT], err) || !fill(p, &p->buffers[INPUT], err)) {
        prediction_destroy(&p);
    }
    return p;
}

void prediction_destroy(struct prediction **prediction)
{
    struct prediction *p = *prediction;
    if (p) {
        for (uint32_t i = 0; i < p->n_buffers; i++) {
            p->backend->functions->buffer_destroy(p->backend, &p->buffers[i]);
        }
        free(p);
    }
    *prediction = NULL;
}

/* Seconds of a run of a bound list, on average as a benchmark measures: whatever else the machine
 * does slows this down as it does that. */
static bool time_list(struct prediction *p, const struct op_list *list, uint32_t n,
                      uint32_t position, double *seconds, struct error *err)
{
    const struct backend_functions *functions = p->backend->functions;
    struct step step = {.n_tokens = n, .position = position};
    struct program *program = functions->program_create(p->backend, list, err);
    bool ok = program &&
              functions->write(p->backend, &p->buffers[STEP], 0, &step, sizeof(step), err) &&
              functions->run(p->backend, program, err);
    double begin = now(), spent = 0;
    uint32_t runs = 0;
    while (ok && (runs < MIN_RUNS || spent < MIN_SECONDS)) {
        ok = functions->run(p->backend, program, err);
        spent = now() - begin;
        runs++;
    }
    *seconds = runs > 0 ? spent / runs : 0;
    functions->program_destroy(p->backend, program);
    return ok;
}

/* Without what waiting costs, which is counted once a list. */
static double without_waiting(double seconds, uint32_t steps, const struct backend_peaks *peaks)
{
    double waiting = steps * peaks->step_seconds + peaks->submit_seconds;
    return fmax(seconds - waiting, seconds / 10);
}

static bool measure_product(struct prediction *p, struct measured *m,
                            const struct backend_peaks *peaks, struct error *err)
{
    uint64_t row_bytes = dtype_matrix_bytes(dtype_info(m->dtype), 1, m->shape);
    uint64_t stride = (m->rows * row_bytes + 255) / 256 * 256;
    uint64_t n = p->buffers[WEIGHT].bytes / stride, wanted = n / m->tokens;
    n = n < MAX_MATRICES ? n : MAX_MATRICES;
    n = n < wanted ? n : wanted > MIN_MATRICES ? wanted : n < MIN_MATRICES ? n : MIN_MATRICES;
    struct tensor tensors[N_BUFFERS];
    for (uint32_t i = 0; i < N_BUFFERS; i++) {
        tensors[i] = (struct tensor){
            .dtype = DTYPE_F32, .bytes = p->buffers[i].bytes, .address = p->buffers[i].address};
    }
    struct tensor *weights = calloc(n, sizeof(*weights));
    struct op_list list = {0};
    if (!weights || !op_list_init(&list, m->tokens, (uint32_t)n, err)) {
        free(weights);
        return error_set(err, "not enough memory to predict a speed");
    }
    for (uint64_t i = 0; i < n; i++) {
        weights[i] = tensors[WEIGHT];
        weights[i].address += i * stride;
        struct op *op =
            op_list_add(&list, OP_matmul, m->dtype,
                        (const struct tensor *[]){&tensors[STEP], &weights[i], &tensors[INPUT],
                                                  NULL, NULL, NULL, &tensors[OUTPUT]});
        op->args.matmul.rows = m->rows;
        op->args.matmul.cols = (uint32_t)m->shape;
    }
    op_list_bind(&list);
    double seconds;
    bool ok = time_list(p, &list, m->tokens, 0, &seconds, err);
    if (ok) {
        double operations = op_cost_of(&list.ops[0], m->tokens, 0, NULL).operations * (double)n;
        m->value = operations / without_waiting(seconds, (uint32_t)n, peaks);
    }
    op_list_free(&list);
    free(weights);
    return ok;
}

/* How many vectors of each expert of a sorted list are measured: of `experts` experts, top_k a
 * token. */
struct trial {
    uint32_t experts, top_k, tokens, pairs;
};

/* As many experts as fit and as tell what memory takes, fewer where there are many vectors.
 * experts 0: none fit. */
static struct trial plan_trial(const struct prediction *p, uint32_t vectors, uint32_t n_experts,
                               uint32_t top_k, uint64_t slab_bytes, uint64_t widest)
{
    uint64_t n = p->buffers[WEIGHT].bytes / slab_bytes, most = OUTPUT_BYTES / (widest * 4);
    most = (most < MAX_PAIRS ? most : MAX_PAIRS) / vectors;
    n = n < n_experts ? n : n_experts;
    n = n < MAX_EXPERTS ? n : MAX_EXPERTS;
    n = n < most ? n : most;
    uint64_t enough = n / vectors > 2 * MIN_MATRICES ? n / vectors : 2 * MIN_MATRICES;
    struct trial trial = {.experts = (uint32_t)(n < enough ? n : enough)};
    trial.top_k = trial.experts < top_k ? trial.experts : top_k;
    if (trial.experts > 0) {
        trial.experts -= trial.experts % trial.top_k;
        trial.tokens = trial.experts / trial.top_k * vectors;
        trial.pairs = trial.experts * vectors;
    }
    return trial;
}

static bool write_table(struct prediction *p, const struct trial *trial, uint64_t slab_bytes,
                        struct error *err)
{
    uint32_t vectors = trial->pairs / trial->experts;
    struct table *table = calloc(1, sizeof(*table));
    if (!table) {
        return error_set(err, "not enough memory to predict a speed");
    }
    for (uint32_t e = 0; e < trial->experts; e++) {
        table->slabs[e] = p->buffers[WEIGHT].address + e * slab_bytes;
        table->offsets[e + 1] = (e + 1) * vectors;
    }
    for (uint32_t pair = 0; pair < trial->pairs; pair++) {
        uint32_t e = pair % trial->experts;
        table->ids[pair] = e;
        table->pairs[e * vectors + pair / trial->experts] = pair;
    }
    bool ok =
        p->backend->functions->write(p->backend, &p->buffers[TABLE], 0, table, sizeof(*table), err);
    free(table);
    return ok;
}

/* The op of sorted experts, alone, with slabs of ours, each of which gets as many vectors. *fits
 * false: too many vectors to do so. */
static bool measure_experts(struct prediction *p, struct measured *m, const struct op *original,
                            const struct backend_peaks *peaks, bool *fits, struct error *err)
{
    bool up = original->kind == OP_expert_gate_up;
    struct op op = *original;
    struct expert_gate_up_args *gate_up = &op.args.expert_gate_up;
    struct expert_down_args *down = &op.args.expert_down;
    uint32_t rows = up ? 2 * gate_up->ffn : down->hidden, cols = up ? gate_up->hidden : down->ffn;
    uint64_t slab_bytes = (dtype_matrix_bytes(dtype_info(op.dtype), rows, cols) + 255) / 256 * 256;
    struct trial trial =
        plan_trial(p, m->tokens, up ? gate_up->n_experts : down->n_experts,
                   up ? gate_up->top_k : down->top_k, slab_bytes, rows > cols ? rows : cols);
    *fits = trial.experts > 0;
    if (!*fits || !write_table(p, &trial, slab_bytes, err)) {
        return !*fits;
    }
    uint64_t table = p->buffers[TABLE].address;
    struct tensor step = {.address = p->buffers[STEP].address},
                  x = {.address = p->buffers[INPUT].address},
                  y = {.address = p->buffers[OUTPUT].address},
                  slabs = {.address = table + offsetof(struct table, slabs)},
                  offsets = {.address = table + offsetof(struct table, offsets)},
                  ids = {.address = table + offsetof(struct table, ids)},
                  pairs = {.address = table + offsetof(struct table, pairs)};
    op.max_tokens = trial.tokens;
    op.experts_here = trial.experts;
    op.tensors[0] = &step;
    op.tensors[1] = &slabs;
    op.tensors[2] = &ids;
    op.tensors[3] = &x;
    op.tensors[up ? 5 : 4] = &offsets;
    op.tensors[up ? 6 : 5] = &pairs;
    op.tensors[op.n_tensors - 1] = &y;
    if (up) {
        gate_up->n_experts = trial.experts;
        gate_up->top_k = trial.top_k;
    } else {
        down->n_experts = trial.experts;
        down->top_k = trial.top_k;
        down->down_offset = 0;
    }
    struct op_list list = {.max_tokens = trial.tokens, .n_ops = 1, .capacity = 1, .ops = &op};
    op_list_bind(&list);
    double seconds;
    if (!time_list(p, &list, trial.tokens, 0, &seconds, err)) {
        return false;
    }
    m->value = 2.0 * rows * cols * trial.pairs / without_waiting(seconds, 1, peaks);
    return true;
}

/* The caches that an op writes become a buffer of ours. False: it is too small. */
static bool redirect_caches(const struct prediction *p, struct op *op, uint32_t n,
                            struct tensor caches[2])
{
    uint32_t first = op->kind == OP_kv_store ? 3 : 8;
    uint64_t dim;
    if (op->kind == OP_kv_store) {
        struct kv_store_args *a = &op->args.kv_store;
        dim = a->k_dim > a->v_dim ? a->k_dim : a->v_dim;
        a->capacity = n;
    } else {
        struct attention_prepare_args *a = &op->args.attention_prepare;
        dim = (uint64_t)a->kv_heads * a->head_dim;
        a->capacity = n;
    }
    for (uint32_t i = 0; i < 2; i++) {
        caches[i] = (struct tensor){.address = p->buffers[OUTPUT].address + i * OUTPUT_BYTES / 2};
        op->tensors[first + i] = &caches[i];
    }
    return n * dim * sizeof(float) <= OUTPUT_BYTES / 2;
}

/* The op itself, alone, with a step of our own. */
static bool measure_alone(struct prediction *p, const struct op *original, uint32_t n,
                          uint32_t position, const struct backend_peaks *peaks, double *seconds,
                          struct error *err)
{
    struct tensor step = {.address = p->buffers[STEP].address, .bytes = p->buffers[STEP].bytes};
    struct op op = *original;
    struct tensor caches[2];
    if ((op.kind == OP_kv_store || op.kind == OP_attention_prepare) &&
        !redirect_caches(p, &op, n, caches)) {
        *seconds = 0;
        return true;
    }
    struct op_list list = {.max_tokens = op.max_tokens, .n_ops = 1, .capacity = 1, .ops = &op};
    if (op.kind != OP_argmax) {
        op.tensors[0] = &step;
    }
    op_list_bind(&list);
    if (!time_list(p, &list, n, position, seconds, err)) {
        return false;
    }
    *seconds = without_waiting(*seconds, 1, peaks);
    return true;
}

/* The measurement that agrees with `m`, made now if there is none. */
static bool find_or_measure(struct prediction *p, struct measured *m, const struct op *op,
                            const struct backend_peaks *peaks, struct error *err)
{
    for (uint32_t i = 0; i < p->n_measured; i++) {
        const struct measured *known = &p->measured[i];
        if (known->kind == m->kind && known->dtype == m->dtype && known->tokens == m->tokens &&
            known->rows == m->rows && known->shape == m->shape) {
            *m = *known;
            return true;
        }
    }
    bool fits = true;
    if (m->kind == OP_expert_gate_up || m->kind == OP_expert_down) {
        if (!measure_experts(p, m, op, peaks, &fits, err)) {
            return false;
        }
        if (!fits) { /* about as fast as with the vectors that do */
            m->tokens /= 2;
            return m->tokens > 0 ? find_or_measure(p, m, op, peaks, err)
                                 : error_set(err, "experts are too large to be measured");
        }
    } else if (m->kind == OP_matmul) {
        if (!measure_product(p, m, peaks, err)) {
            return false;
        }
    } else {
        uint32_t capacity = op->kind == OP_attention          ? op->args.attention.capacity
                            : op->kind == OP_attention_latent ? op->args.attention_latent.capacity
                                                              : m->tokens;
        uint32_t room = capacity - m->tokens;
        uint32_t position = room < ATTENTION_POSITIONS ? room : ATTENTION_POSITIONS;
        double seconds;
        if (!measure_alone(p, op, m->tokens, position, peaks, &seconds, err)) {
            return false;
        }
        double operations = op_cost_of(op, m->tokens, position, NULL).operations;
        m->value = operations > 0 ? operations / seconds : seconds;
    }
    if (p->n_measured < MAX_MEASURED) {
        p->measured[p->n_measured++] = *m;
    }
    return true;
}

/* The matrix of a product with weights: its columns, and how many vectors it is multiplied with (of
 * an expert: on average). False: the op is none. */
static bool is_product(const struct op *op, uint32_t n, uint32_t *rows, uint32_t *cols,
                       double *vectors)
{
    *vectors = n;
    switch (op->kind) {
    case OP_matmul:
        *rows = op->args.matmul.rows;
        *cols = op->args.matmul.cols;
        *vectors = op->args.matmul.one_row ? 1 : n;
        return true;
    case OP_head_matmul:
        *rows = op->args.head_matmul.rows;
        *cols = op->args.head_matmul.cols;
        return true;
    case OP_expert_gate_up: {
        const struct expert_gate_up_args *a = &op->args.expert_gate_up;
        *rows = 2 * a->ffn;
        *cols = a->hidden;
        *vectors = (double)n * a->top_k / op_cost_experts(a->n_experts, 0, a->top_k, n);
        return true;
    }
    case OP_expert_down: {
        const struct expert_down_args *a = &op->args.expert_down;
        *rows = a->hidden;
        *cols = a->ffn;
        *vectors = (double)n * a->top_k / op_cost_experts(a->n_experts, 0, a->top_k, n);
        return true;
    }
    case OP_expert_down_sum: {
        const struct expert_down_sum_args *a = &op->args.expert_down_sum;
        *rows = a->hidden;
        *cols = a->ffn;
        *vectors = (double)n * a->top_k / op_cost_experts(a->n_experts, 0, a->top_k, n);
        return true;
    }
    default:
        return false;
    }
}

/* A number made of all numbers of the arguments, which follow the addresses. */
static uint64_t shape_of(const struct op *op)
{
    uint64_t shape = UINT64_C(14695981039346656037);
    for (uint32_t i = op->n_tensors * 8; i < op_args_bytes(op->kind); i++) {
        shape = (shape ^ op->args.bytes[i]) * UINT64_C(1099511628211); /* FNV-1a */
    }
    return shape;
}

/* What is measured for a product. Experts of lists for one token, which are not sorted, are
 * matrices like others. */
static struct measured product_key(const struct op *op, uint32_t rows, uint32_t cols)
{
    struct measured m = {.kind = op->kind, .dtype = op->dtype};
    bool sorted = (op->kind == OP_expert_gate_up && op->tensors[5]) ||
                  (op->kind == OP_expert_down && op->tensors[4]);
    if (sorted) {
        m.shape = shape_of(op);
        return m;
    }
    m.kind = OP_matmul;
    m.shape = cols < MAX_COLS ? cols : MAX_COLS;
    uint64_t most = MATRIX_BYTES / dtype_matrix_bytes(dtype_info(op->dtype), 1, m.shape);
    most = most > MATRIX_MAX_ROWS ? MATRIX_MAX_ROWS : most;
    most = most < 1 ? 1 : most;
    m.rows = rows < most ? rows : (uint32_t)most;
    return m;
}

/* Seconds of so many operations with so many vectors: between the rates of the two powers of two
 * around their number. */
static bool product_seconds(struct prediction *p, const struct op *op, const struct measured *key,
                            double vectors, double operations, const struct backend_peaks *peaks,
                            double *seconds, struct error *err)
{
    vectors = fmax(1, fmin(vectors, MAX_VECTORS));
    double power = floor(log2(vectors) + 1e-9), part = log2(vectors) - power;
    struct measured low = *key, high = *key;
    low.tokens = (uint32_t)exp2(power);
    high.tokens = 2 * low.tokens;
    if (!find_or_measure(p, &low, op, peaks, err)) {
        return false;
    }
    high.value = low.value;
    if (part > 0.01 && !find_or_measure(p, &high, op, peaks, err)) {
        return false;
    }
    *seconds = operations / (low.value + part * (high.value - low.value));
    return true;
}

/* Of experts whose vectors were counted: some have many, which are fast, and many have few. */
static bool loaded_seconds(struct prediction *p, const struct op *op, const struct measured *key,
                           const struct op_loads *loads, double operations,
                           const struct backend_peaks *peaks, double *seconds, struct error *err)
{
    double pairs = 0;
    for (uint32_t v = 1; v <= loads->n_tokens; v++) {
        pairs += v * loads->experts[v];
    }
    *seconds = 0;
    for (uint32_t v = 1; v <= loads->n_tokens; v++) {
        double more, part = v * loads->experts[v] / pairs;
        if (part > 0) {
            if (!product_seconds(p, op, key, v, operations * part, peaks, &more, err)) {
                return false;
            }
            *seconds += more;
        }
    }
    return true;
}

/* Ops that add to what outlives a list, or that find their way by ids in memory, which may hold
 * anything now, must not be run for a measurement. */
static bool can_run_alone(enum op_kind kind)
{
    return kind != OP_observe && kind != OP_embed && kind != OP_expert_group;
}

static bool op_seconds(struct prediction *p, const struct op *op, uint32_t n, uint32_t position,
                       const struct op_loads *loads, const struct backend_peaks *peaks,
                       double resident, double *seconds, struct error *err)
{
    struct op_cost cost = op_cost_of(op, n, position, loads);
    double memory = (cost.weight_bytes + cost.cache_bytes) / resident +
                    cost.activation_bytes / backend_peaks_read(peaks, cost.activation_bytes);
    double vectors;
    uint32_t rows, cols;
    *seconds = 0;
    if (is_product(op, n, &rows, &cols, &vectors)) {
        struct measured key = product_key(op, rows, cols);
        bool ok = loads
                      ? loaded_seconds(p, op, &key, loads, cost.operations, peaks, seconds, err)
                      : product_seconds(p, op, &key, vectors, cost.operations, peaks, seconds, err);
        if (!ok) {
            return false;
        }
    } else if (can_run_alone(op->kind)) {
        struct measured m = {
            .kind = op->kind, .dtype = op->dtype, .tokens = n, .shape = shape_of(op)};
        if (!find_or_measure(p, &m, op, peaks, err)) {
            return false;
        }
        *seconds = cost.operations > 0 ? cost.operations / m.value : m.value;
    }
    *seconds = fmax(*seconds, memory);
    return true;
}

bool prediction_of_list(struct prediction *p, const struct op_list *list, uint32_t n,
                        uint32_t position, const struct op_loads *loads,
                        const struct backend_peaks *peaks, double *seconds, struct error *err)
{
    uint32_t routers = 0;
    assert(n <= list->max_tokens);
    double resident = backend_peaks_read(peaks, (double)p->resident_bytes);
    *seconds = peaks->submit_seconds + op_list_steps(list, NULL) * peaks->step_seconds;
    for (uint32_t i = 0; i < list->n_ops; i++) {
        double more;
        const struct op *op = &list->ops[i];
        const struct op_loads *of_op = op_loads_at(loads, op, &routers);
        if (!op_seconds(p, op, n, position, of_op, peaks, resident, &more, err)) {
            return false;
        }
        *seconds += more;
    }
    return true;
}
