#include "engine/model/expert_budget.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "format/quant.h"

/* Few types, so that an expert layer is few classes, each an op of its own when it runs. */
static const enum dtype ladder[] = {DTYPE_Q2_K, DTYPE_Q3_K, DTYPE_Q4_K,
                                    DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_Q8_0};
#define N_LADDER (sizeof(ladder) / sizeof(ladder[0]))
static_assert(2 * N_LADDER <= EXPERT_MAX_LEVELS, "a step of gate and up, then one of down");

#define SAMPLE_ROWS 24 /* of each matrix */
/* How much more r(down) counts. The columns of a layer's input go together, which makes the true
 * |gate x|^2 and |up x|^2 larger, and their relative errors smaller, than sums over single columns
 * tell. Measured on the demo model: 2 loses less than 1. */
#define DOWN_FACTOR 2
/* An expert that no token reached in the sample text is not one that none ever will. */
#define LEAST_TOKENS 0.5

/* One routed expert. */
struct candidate {
    uint64_t item;
    double tokens;
    double relative[2][N_LADDER]; /* r of gate and up together, and of down, by type */
    double error[EXPERT_MAX_LEVELS];
};

/* From one level of a candidate to a higher one. */
struct upgrade {
    uint64_t candidate;
    uint32_t from, to;
    uint64_t bytes; /* more */
    double gain;    /* error saved a byte */
};

struct chooser {
    struct expert_budget *budget;
    const struct conversion_plan *plan;
    const struct importance_weights *weights;
    const struct conversion_work *work;
    struct candidate *candidates;
    uint64_t n_candidates, first;  /* first: of the stretch at work */
    enum dtype types[2][N_LADDER]; /* the ladder as rows of hidden and of ffn columns allow */
    float *rows;                   /* (threads, 2, columns) */
    uint8_t *codes;                /* (threads, code_bytes) */
    uint64_t columns, code_bytes;
    atomic_bool failed;
    pthread_mutex_t mutex;
    struct error failure;
};

static bool is_routed(const struct conversion_item *item)
{
    return !item->row && item->kind == FFN_ROUTED;
}

uint64_t expert_budget_bytes(const struct conversion_plan *plan)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < plan->n_items; i++) {
        bytes += is_routed(&plan->items[i]) ? plan->items[i].bytes : 0;
    }
    return bytes;
}

/* ---- errors ---- */

static double weight_of(const float *weights, uint64_t column)
{
    return weights ? sqrt((double)weights[column]) : 1;
}

/* Weighted squares of a row, and of its error in each type. */
static void measure_row(struct chooser *c, const struct source_matrix *matrix, uint64_t row,
                        const float *weights, bool down, uint32_t thread, double *square,
                        double errors[N_LADDER])
{
    float *values = c->rows + (uint64_t)thread * 2 * c->columns, *decoded = values + c->columns;
    uint8_t *codes = c->codes + thread * c->code_bytes;
    uint64_t cols = matrix->cols;
    source_matrix_read(matrix, row, values);
    for (uint64_t i = 0; i < cols; i++) {
        double x = (double)values[i];
        *square += weight_of(weights, i) * x * x;
    }
    for (uint32_t t = 0; t < N_LADDER; t++) {
        enum dtype type = c->types[down][t];
        if (t > 0 && type == c->types[down][t - 1]) { /* both fell back to the same */
            errors[t] = errors[t - 1];
            continue;
        }
        if (type == source_matrix_exact(matrix)) { /* copied bit for bit */
            continue;
        }
        const struct dtype_info *info = dtype_info(type);
        quant_encode_matrix_row(info, values, weights, codes, 1, cols, 0);
        quant_decode_matrix_row(info, codes, 1, cols, 0, decoded);
        for (uint64_t i = 0; i < cols; i++) {
            double e = (double)values[i] - (double)decoded[i];
            errors[t] += weight_of(weights, i) * e * e;
        }
    }
}

static bool measure_part(struct chooser *c, struct candidate *candidate, uint32_t part,
                         uint32_t thread, struct error *err)
{
    const struct conversion_item *item = &c->plan->items[candidate->item];
    const float *weights =
        importance_weights_of((void *)c->weights, item->role, item->layer, item->expert, part);
    bool down = part == SOURCE_DOWN;
    struct source_matrix matrix;
    void *memory;
    conversion_item_source(c->plan, item, part, &matrix);
    if (!source_load(c->plan->source, &matrix, &memory, err)) {
        return false;
    }
    uint64_t n = matrix.rows < SAMPLE_ROWS ? matrix.rows : SAMPLE_ROWS;
    double square = 0, errors[N_LADDER] = {0};
    for (uint64_t i = 0; i < n; i++) {
        measure_row(c, &matrix, (2 * i + 1) * matrix.rows / (2 * n), weights, down, thread, &square,
                    errors);
    }
    free(memory);
    for (uint32_t t = 0; t < N_LADDER; t++) {
        candidate->relative[down][t] += square > 0 ? errors[t] / square : 0;
    }
    return true;
}

static void measure_candidates(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct chooser *c = context;
    for (uint64_t i = begin; i < end && !atomic_load(&c->failed); i++) {
        for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
            struct error err;
            if (!measure_part(c, &c->candidates[c->first + i], part, thread, &err)) {
                pthread_mutex_lock(&c->mutex);
                c->failure = err;
                pthread_mutex_unlock(&c->mutex);
                atomic_store(&c->failed, true);
                return;
            }
        }
    }
}

static bool measure_all(struct chooser *c, struct error *err)
{
    const struct conversion_work *work = c->work;
    uint32_t threads = work->pool ? thread_pool_size(work->pool) : 1;
    c->rows = malloc((uint64_t)threads * 2 * c->columns * sizeof(float));
    c->codes = malloc(threads * c->code_bytes);
    if (!c->rows || !c->codes) {
        return error_set(err, "not enough memory to measure the experts");
    }
    for (; c->first < c->n_candidates; c->first += 4 * threads) {
        uint64_t left = c->n_candidates - c->first;
        thread_pool_for(work->pool, left < 4 * threads ? left : 4 * threads, 1, measure_candidates,
                        c);
        if (atomic_load(&c->failed)) {
            *err = c->failure;
            return false;
        }
        if (work->progress && !work->progress(work->progress_context, 0, c->plan->source_bytes)) {
            return error_set(err, "stopped before anything was written");
        }
    }
    return true;
}

/* ---- levels ---- */

static void add_level(struct chooser *c, enum dtype type, enum dtype down_type)
{
    struct expert_budget *b = c->budget;
    const struct hparams *h = &c->plan->source->hparams;
    struct expert_spec spec = {
        .type = type, .down_type = down_type, .hidden = h->hidden, .ffn = h->expert_ffn};
    uint64_t bytes = model_writer_slab_bytes(&spec);
    /* Types that fall back to the same one make no level of their own. */
    if (b->n_levels == 0 || bytes > b->levels[b->n_levels - 1].bytes) {
        b->levels[b->n_levels++] = (struct expert_level){type, down_type, bytes, 0};
    }
}

/* The ladder, down one step before gate and up, as the usual mixes have it. */
static void make_levels(struct chooser *c)
{
    struct type_query query = {.hparams = &c->plan->source->hparams, .any_f32 = true};
    enum type_choice_reason reason;
    for (uint32_t down = 0; down < 2; down++) {
        query.cols = down ? query.hparams->expert_ffn : query.hparams->hidden;
        c->columns = query.cols > c->columns ? query.cols : c->columns;
        for (uint32_t t = 0; t < N_LADDER; t++) {
            c->types[down][t] = type_choice_fit(ladder[t], &query, &reason);
            uint64_t bytes = dtype_matrix_bytes(dtype_info(c->types[down][t]), 1, query.cols);
            c->code_bytes = bytes > c->code_bytes ? bytes : c->code_bytes;
        }
    }
    for (uint32_t t = 0; t < N_LADDER; t++) {
        add_level(c, c->types[0][t], c->types[1][t]);
        if (t + 1 < N_LADDER) {
            add_level(c, c->types[0][t], c->types[1][t + 1]);
        }
    }
}

static double relative_of(const struct chooser *c, const struct candidate *candidate, bool down,
                          enum dtype type)
{
    uint32_t t = 0;
    while (c->types[down][t] != type) {
        t++;
    }
    return candidate->relative[down][t];
}

static void weigh_all(struct chooser *c)
{
    for (uint64_t i = 0; i < c->n_candidates; i++) {
        struct candidate *candidate = &c->candidates[i];
        for (uint32_t level = 0; level < c->budget->n_levels; level++) {
            const struct expert_level *l = &c->budget->levels[level];
            candidate->error[level] =
                candidate->tokens * (relative_of(c, candidate, false, l->type) +
                                     DOWN_FACTOR * relative_of(c, candidate, true, l->down_type));
        }
    }
}

/* ---- giving ---- */

/* The upgrades of a candidate that save the more error a byte the earlier they come: the lower
 * convex hull of errors over bytes. Returns how many. */
static uint32_t make_upgrades(const struct chooser *c, uint64_t number, struct upgrade *upgrades)
{
    const struct expert_budget *b = c->budget;
    const double *error = c->candidates[number].error;
    uint32_t n = 0;
    for (uint32_t at = 0; at + 1 < b->n_levels;) {
        struct upgrade best = {.candidate = number, .from = at};
        for (uint32_t to = at + 1; to < b->n_levels; to++) {
            uint64_t bytes = b->levels[to].bytes - b->levels[at].bytes;
            double gain = (error[at] - error[to]) / (double)bytes;
            if (gain > best.gain) {
                best.to = to;
                best.bytes = bytes;
                best.gain = gain;
            }
        }
        if (best.to == 0) {
            break; /* nothing more to be saved */
        }
        upgrades[n++] = best;
        at = best.to;
    }
    return n;
}

static int compare_upgrades(const void *a, const void *b)
{
    const struct upgrade *x = a, *y = b;
    if (x->gain != y->gain) {
        return x->gain > y->gain ? -1 : 1;
    }
    if (x->candidate != y->candidate) {
        return x->candidate < y->candidate ? -1 : 1;
    }
    return x->from < y->from ? -1 : x->from > y->from;
}

static uint8_t *chosen_of(const struct chooser *c, uint64_t candidate)
{
    const struct conversion_item *item = &c->plan->items[c->candidates[candidate].item];
    return &c->budget->chosen[(uint64_t)item->layer * c->budget->experts + item->expert];
}

/* Everybody has the first level; takes the best upgrades that fit. */
static bool give(struct chooser *c, uint64_t bytes, struct error *err)
{
    struct expert_budget *b = c->budget;
    struct upgrade *upgrades = malloc((c->n_candidates * b->n_levels + 1) * sizeof(*upgrades));
    if (!upgrades) {
        return error_set(err, "not enough memory to choose the experts' types");
    }
    uint64_t n = 0;
    for (uint64_t i = 0; i < c->n_candidates; i++) {
        n += make_upgrades(c, i, upgrades + n);
    }
    qsort(upgrades, n, sizeof(*upgrades), compare_upgrades);
    b->bytes = c->n_candidates * b->levels[0].bytes;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t *chosen = chosen_of(c, upgrades[i].candidate);
        if (*chosen == upgrades[i].from && upgrades[i].bytes <= bytes - b->bytes) {
            *chosen = (uint8_t)upgrades[i].to;
            b->bytes += upgrades[i].bytes;
        }
    }
    free(upgrades);
    for (uint64_t i = 0; i < c->n_candidates; i++) {
        b->levels[*chosen_of(c, i)].n_experts++;
        b->error += c->candidates[i].error[*chosen_of(c, i)];
    }
    return true;
}

/* ---- all ---- */

static bool list_candidates(struct chooser *c, struct error *err)
{
    const struct conversion_plan *plan = c->plan;
    c->candidates = calloc(plan->n_items + 1, sizeof(*c->candidates));
    if (!c->candidates) {
        return error_set(err, "not enough memory to measure the experts");
    }
    for (uint64_t i = 0; i < plan->n_items; i++) {
        const struct conversion_item *item = &plan->items[i];
        const float *counts;
        if (!is_routed(item)) {
            continue;
        }
        if (!importance_weights_usage(c->weights, item->layer, &counts)) {
            return error_set(err,
                             "%s does not tell how often each expert of layer %" PRIu32
                             " is used; make statistics with `moxie imatrix`",
                             c->weights->importance->path, item->layer);
        }
        double tokens = (double)counts[item->expert];
        c->candidates[c->n_candidates++] =
            (struct candidate){.item = i, .tokens = tokens > LEAST_TOKENS ? tokens : LEAST_TOKENS};
        c->budget->routed[item->layer] = true;
    }
    return c->n_candidates > 0 ||
           error_set(err, "%s has no experts that a router chooses, so there is nothing to budget",
                     plan->source->name);
}

static bool check_budget(const struct chooser *c, uint64_t bytes, struct error *err)
{
    uint64_t least = c->n_candidates * c->budget->levels[0].bytes;
    return bytes >= least ||
           error_set(err,
                     "a budget of %" PRIu64 " bytes for the experts is too small: with %s and %s "
                     "they take %" PRIu64 " bytes",
                     bytes, dtype_name(c->budget->levels[0].type),
                     dtype_name(c->budget->levels[0].down_type), least);
}

bool expert_budget_make(struct expert_budget *budget, const struct conversion_plan *plan,
                        const struct importance_weights *weights, uint64_t bytes,
                        const struct conversion_work *work, struct error *err)
{
    static const struct conversion_work alone;
    const struct hparams *h = &plan->source->hparams;
    *budget = (struct expert_budget){.layers = h->layers, .experts = h->experts};
    budget->chosen = calloc((size_t)h->layers * h->experts + 1, 1);
    budget->routed = calloc(h->layers, sizeof(bool));
    struct chooser c = {
        .budget = budget,
        .plan = plan,
        .weights = weights,
        .work = work ? work : &alone,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
    };
    bool ok = (budget->chosen && budget->routed) ||
              error_set(err, "not enough memory to measure the experts");
    ok = ok && list_candidates(&c, err);
    if (ok) {
        make_levels(&c);
        ok = check_budget(&c, bytes, err) && measure_all(&c, err);
    }
    if (ok) {
        weigh_all(&c);
        ok = give(&c, bytes, err);
    }
    free(c.candidates);
    free(c.rows);
    free(c.codes);
    if (!ok) {
        expert_budget_free(budget);
    }
    return ok;
}

void expert_budget_free(struct expert_budget *budget)
{
    free(budget->chosen);
    free(budget->routed);
    *budget = (struct expert_budget){0};
}

bool expert_budget_types(void *context, uint32_t layer, uint32_t expert, enum dtype *type,
                         enum dtype *down_type)
{
    const struct expert_budget *b = context;
    if (!b->routed[layer]) {
        return false;
    }
    const struct expert_level *level = &b->levels[b->chosen[(uint64_t)layer * b->experts + expert]];
    *type = level->type;
    *down_type = level->down_type;
    return true;
}
