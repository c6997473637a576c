#include "engine/model/conversion_plan.h"

#include <assert.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/f16.h"

#define SCAN_BYTES (8u << 20) /* source bytes looked at between two calls of progress */

/* The planning of one conversion. */
struct planner {
    struct conversion_plan *plan;
    const struct source *source;
    const struct conversion_rules *rules;
    const struct conversion_work *work;
    const struct type_mix *mix; /* NULL: keep */
    bool asks_f16;              /* somewhere: values must be looked at */
    bool *matched;              /* (rules->n_patterns) */
    struct error *err;
};

uint64_t source_matrix_bytes(const struct source_matrix *matrix)
{
    uint64_t elements = matrix->rows * matrix->cols;
    switch (matrix->encoding) {
    case SOURCE_F32:
        return elements * 4;
    case SOURCE_F16:
    case SOURCE_BF16:
        return elements * 2;
    case SOURCE_F8_E4M3:
        return elements;
    case SOURCE_MXFP4_PAIR:
        return elements / 32 * 17;
    case SOURCE_BLOCKS:
    case SOURCE_PLANES:
        break;
    }
    return elements / matrix->block_type->block_elements * matrix->block_type->ggml_block_bytes;
}

void conversion_item_name(const struct conversion_item *item, char name[CONVERSION_NAME])
{
    int used = 0;
    if (item->layer != MODEL_FILE_NO_LAYER) {
        used = snprintf(name, CONVERSION_NAME, "layer.%" PRIu32 ".", item->layer);
    }
    size_t room = CONVERSION_NAME - (size_t)used;
    if (item->role == ROLE_EXPERT) {
        snprintf(name + used, room, "expert.%" PRIu32, item->expert);
    } else {
        snprintf(name + used, room, "%s", role_name(item->role));
    }
}

uint32_t conversion_item_parts(const struct conversion_item *item)
{
    return item->row ? 1 : SOURCE_PARTS;
}

void conversion_item_source(const struct conversion_plan *plan, const struct conversion_item *item,
                            uint32_t part, struct source_matrix *matrix)
{
    const struct source_functions *functions = plan->source->functions;
    uint32_t layer = item->layer == MODEL_FILE_NO_LAYER ? 0 : item->layer;
    if (!item->row) {
        functions->ffn(plan->source, item->kind, layer, item->expert, part, matrix);
        return;
    }
    bool found = functions->matrix(plan->source, item->row, layer, matrix);
    assert(found); /* the plan has only what is there */
    (void)found;
}

bool conversion_item_write(const struct conversion_item *item, struct model_writer *writer,
                           const void *data, struct error *err)
{
    char name[CONVERSION_NAME];
    conversion_item_name(item, name);
    if (item->row) {
        struct tensor_spec spec = {
            .name = name,
            .role = item->role,
            .layer = item->layer,
            .type = item->type,
            .rows = item->rows,
            .cols = item->cols,
        };
        return model_writer_tensor(writer, &spec, data, err);
    }
    struct expert_spec spec = {
        .name = name,
        .layer = item->layer,
        .expert = item->expert,
        .shared = item->kind == FFN_SHARED,
        .type = item->type,
        .down_type = item->down_type,
        .hidden = item->cols,
        .ffn = item->rows / 2,
    };
    return model_writer_expert(writer, &spec, data, err);
}

/* ---- values that do not fit f16 ---- */

struct scan {
    const struct source_matrix *matrix;
    float *rows; /* (threads, cols) */
    uint64_t begin;
    atomic_bool exceeds;
};

static void scan_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct scan *scan = context;
    uint64_t cols = scan->matrix->cols;
    float *values = scan->rows + thread * cols;
    for (uint64_t row = begin; row < end; row++) {
        source_matrix_read(scan->matrix, scan->begin + row, values);
        uint32_t bad = 0;
        for (uint64_t i = 0; i < cols; i++) {
            /* 65520 is the first number that rounds to infinity. */
            uint32_t magnitude = f32_to_bits(values[i]) & 0x7FFFFFFFu;
            bad |= magnitude >= 0x477FF000u && magnitude < 0x7F800000u;
        }
        if (bad) {
            atomic_store(&scan->exceeds, true);
        }
    }
}

static bool scan_matrix(struct planner *p, const struct source_matrix *matrix, bool *exceeds)
{
    const struct conversion_work *work = p->work;
    uint32_t threads = work->pool ? thread_pool_size(work->pool) : 1;
    struct scan scan = {.matrix = matrix, .rows = malloc(threads * matrix->cols * sizeof(float))};
    if (!scan.rows) {
        return error_set(p->err, "not enough memory to look at %s", p->source->name);
    }
    uint64_t stretch = SCAN_BYTES / (source_matrix_bytes(matrix) / matrix->rows + 1) + 1;
    bool ok = true;
    for (uint64_t begin = 0; ok && begin < matrix->rows; begin += stretch) {
        uint64_t n = matrix->rows - begin < stretch ? matrix->rows - begin : stretch;
        scan.begin = begin;
        thread_pool_for(work->pool, n, 8, scan_rows, &scan);
        p->source->functions->release(p->source, matrix, begin, n);
        ok = !work->progress || work->progress(work->progress_context, 0, p->plan->source_bytes) ||
             error_set(p->err, "stopped before anything was written");
    }
    *exceeds = *exceeds || atomic_load(&scan.exceeds);
    free(scan.rows);
    return ok;
}

/* ---- types ---- */

/* Takes a matrix into what is known; reads it if the type depends on its values. */
static bool consider(struct planner *p, struct type_query *query, struct source_matrix *matrix)
{
    query->any_f32 = query->any_f32 || matrix->encoding == SOURCE_F32;
    query->any_bf16 =
        query->any_bf16 || matrix->encoding == SOURCE_BF16 || matrix->encoding == SOURCE_F8_E4M3;
    if (!p->asks_f16 || matrix->encoding == SOURCE_F16 || query->exceeds_f16) {
        return true;
    }
    void *memory;
    bool ok = source_load(p->source, matrix, &memory, p->err) &&
              scan_matrix(p, matrix, &query->exceeds_f16);
    free(memory);
    return ok;
}

/* The type that keeps these matrices (which must share one) as they are. */
static enum dtype kept_type(const struct source_matrix *matrices, uint32_t n,
                            enum type_choice_reason *reason)
{
    enum dtype type = source_matrix_exact(&matrices[0]);
    *reason = TYPE_KEPT;
    bool all_fp8 = true;
    for (uint32_t i = 0; i < n; i++) {
        all_fp8 = all_fp8 && matrices[i].encoding == SOURCE_F8_E4M3;
        if (source_matrix_exact(&matrices[i]) != type) {
            *reason = TYPE_FOR_SHARING;
        }
    }
    if (all_fp8) {
        *reason = TYPE_FOR_SCALES;
        return DTYPE_BF16;
    }
    return *reason == TYPE_FOR_SHARING ? DTYPE_F32 : type;
}

/* `name` is the item's, "layer.3.expert.5.down" for a slab's down. */
static void apply_patterns(struct planner *p, const char *name, const struct type_query *query,
                           enum dtype *type, enum type_choice_reason *reason)
{
    for (uint32_t i = 0; i < p->rules->n_patterns; i++) {
        if (fnmatch(p->rules->patterns[i].pattern, name, 0) == 0) {
            p->matched[i] = true;
            *reason = TYPE_BY_PATTERN;
            *type = type_choice_fit(p->rules->patterns[i].type, query, reason);
        }
    }
}

static bool add_item(struct planner *p, const struct conversion_item *item)
{
    struct conversion_plan *plan = p->plan;
    if (plan->n_items == plan->capacity) {
        uint64_t capacity = plan->capacity ? 2 * plan->capacity : 256;
        struct conversion_item *items = realloc(plan->items, capacity * sizeof(*items));
        if (!items) {
            return error_set(p->err, "not enough memory to plan the conversion");
        }
        plan->items = items;
        plan->capacity = capacity;
    }
    plan->items[plan->n_items++] = *item;
    plan->weight_bytes += item->bytes;
    plan->source_bytes += item->source_bytes;
    return true;
}

/* ---- matrices ---- */

static bool plan_matrix(struct planner *p, const struct arch_weight *row, uint32_t layer)
{
    struct source_matrix matrix;
    if (!source_has(p->source, row, layer) ||
        !p->source->functions->matrix(p->source, row, layer, &matrix)) {
        return true;
    }
    bool in_layer = row->flags & WEIGHT_PER_LAYER;
    struct conversion_item item = {
        .role = row->role,
        .layer = in_layer ? layer : MODEL_FILE_NO_LAYER,
        .expert = MODEL_FILE_NO_EXPERT,
        .rows = matrix.rows,
        .cols = matrix.cols,
        .source_bytes = source_matrix_bytes(&matrix),
        .row = row,
        .type = DTYPE_F32,
        .reason = TYPE_SENSITIVE,
    };
    if (!(row->flags & WEIGHT_KEEP_F32)) {
        struct type_query query = {
            .hparams = &p->source->hparams,
            .role = row->role,
            .layer = layer,
            .is_head =
                row->role == ROLE_OUTPUT || (row->role == ROLE_TOKEN_EMBEDDING && p->source->tied),
            .has_importance = p->rules->importance != NULL,
            .cols = item.cols,
        };
        if (!consider(p, &query, &matrix)) {
            return false;
        }
        item.type = p->mix ? type_mix_choose(p->mix, &query, &item.reason)
                           : kept_type(&matrix, 1, &item.reason);
        char name[CONVERSION_NAME];
        conversion_item_name(&item, name);
        apply_patterns(p, name, &query, &item.type, &item.reason);
    }
    item.bytes = dtype_matrix_bytes(dtype_info(item.type), item.rows, item.cols);
    return add_item(p, &item);
}

/* All weights of the table that are (or are not) in a layer, the embedding or all others. */
static bool plan_matrices(struct planner *p, bool in_layer, uint32_t layer, bool embedding)
{
    const struct arch *arch = p->source->arch;
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        const struct arch_weight *row = &arch->weights[i];
        if (in_layer == !!(row->flags & WEIGHT_PER_LAYER) &&
            embedding == (row->role == ROLE_TOKEN_EMBEDDING) && !plan_matrix(p, row, layer)) {
            return false;
        }
    }
    return true;
}

/* ---- slabs ---- */

/* What is known of gate and up, and of down, of all networks of a kind in a layer. */
static bool consider_layer(struct planner *p, enum arch_ffn_kind kind, uint32_t layer, uint32_t n,
                           struct type_query *gate_up, struct type_query *down)
{
    for (uint32_t expert = 0; expert < n; expert++) {
        for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
            struct source_matrix matrix;
            p->source->functions->ffn(p->source, kind, layer, expert, part, &matrix);
            if (!consider(p, part == SOURCE_DOWN ? down : gate_up, &matrix)) {
                return false;
            }
        }
    }
    return true;
}

static void choose_slab(struct planner *p, struct conversion_item *item,
                        const struct source_matrix matrices[SOURCE_PARTS],
                        const struct type_query *gate_up, const struct type_query *down)
{
    if (p->mix) {
        item->type = type_mix_choose(p->mix, gate_up, &item->reason);
        item->down_type = type_mix_choose(p->mix, down, &item->down_reason);
    } else {
        item->type = kept_type(matrices, 2, &item->reason);
        item->down_type = kept_type(&matrices[SOURCE_DOWN], 1, &item->down_reason);
    }
    enum dtype type, down_type;
    if (item->kind == FFN_ROUTED && p->rules->expert_types &&
        p->rules->expert_types(p->rules->context, item->layer, item->expert, &type, &down_type)) {
        item->reason = item->down_reason = TYPE_BY_EXPERT;
        item->type = type_choice_fit(type, gate_up, &item->reason);
        item->down_type = type_choice_fit(down_type, down, &item->down_reason);
    }
    char name[CONVERSION_NAME], part[CONVERSION_NAME + 16];
    conversion_item_name(item, name);
    snprintf(part, sizeof(part), "%s.gate_up", name);
    apply_patterns(p, part, gate_up, &item->type, &item->reason);
    snprintf(part, sizeof(part), "%s.down", name);
    apply_patterns(p, part, down, &item->down_type, &item->down_reason);
}

static bool plan_slab(struct planner *p, enum arch_ffn_kind kind, uint32_t layer, uint32_t expert,
                      const struct type_query *gate_up, const struct type_query *down)
{
    struct source_matrix matrices[SOURCE_PARTS];
    uint64_t ffn = source_ffn_width(p->source, kind), hidden = p->source->hparams.hidden;
    struct conversion_item item = {
        .role = gate_up->role,
        .layer = layer,
        .expert = expert,
        .rows = 2 * ffn,
        .cols = hidden,
        .kind = kind,
    };
    for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
        p->source->functions->ffn(p->source, kind, layer, expert, part, &matrices[part]);
        item.source_bytes += source_matrix_bytes(&matrices[part]);
    }
    choose_slab(p, &item, matrices, gate_up, down);
    struct expert_spec spec = {
        .type = item.type, .down_type = item.down_type, .hidden = hidden, .ffn = ffn};
    item.down_offset = model_writer_down_offset(&spec);
    item.bytes = model_writer_slab_bytes(&spec);
    return add_item(p, &item);
}

static bool plan_slabs(struct planner *p, enum arch_ffn_kind kind, uint32_t layer)
{
    uint32_t n = kind == FFN_ROUTED ? p->source->hparams.experts : 1;
    struct type_query gate_up = {
        .hparams = &p->source->hparams,
        .role = kind == FFN_SHARED ? ROLE_SHARED_EXPERT : ROLE_EXPERT,
        .routed = kind == FFN_ROUTED,
        .layer = layer,
        .has_importance = p->rules->importance != NULL,
        .cols = p->source->hparams.hidden,
    };
    struct type_query down = gate_up;
    down.down = true;
    down.cols = source_ffn_width(p->source, kind);
    if (!consider_layer(p, kind, layer, n, &gate_up, &down)) {
        return false;
    }
    for (uint32_t expert = 0; expert < n; expert++) {
        if (!plan_slab(p, kind, layer, expert, &gate_up, &down)) {
            return false;
        }
    }
    return true;
}

/* ---- all ---- */

/* Calls fn for every matrix of the source; stops at the first true and returns it. */
static bool any_matrix(const struct source *source, bool (*fn)(const struct source_matrix *matrix))
{
    struct source_matrix matrix;
    for (uint32_t layer = 0; layer < source->hparams.layers; layer++) {
        for (uint32_t i = 0; i < source->arch->n_weights; i++) {
            const struct arch_weight *row = &source->arch->weights[i];
            if ((row->flags & WEIGHT_PER_LAYER || layer == 0) && source_has(source, row, layer) &&
                source->functions->matrix(source, row, layer, &matrix) && fn(&matrix)) {
                return true;
            }
        }
        for (uint32_t expert = 0; expert < source_experts(source, layer); expert++) {
            for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
                source->functions->ffn(source, source_ffn_kind(source, layer), layer, expert, part,
                                       &matrix);
                if (fn(&matrix)) {
                    return true;
                }
            }
        }
    }
    return false;
}

static bool is_quantised(const struct source_matrix *matrix)
{
    return matrix->encoding == SOURCE_MXFP4_PAIR ||
           ((matrix->encoding == SOURCE_BLOCKS || matrix->encoding == SOURCE_PLANES) &&
            matrix->block_type->block_elements > 1);
}

static bool plan_all(struct planner *p)
{
    if (!plan_matrices(p, false, 0, true)) {
        return false;
    }
    for (uint32_t layer = 0; layer < p->source->hparams.layers; layer++) {
        if (!plan_matrices(p, true, layer, false) ||
            !plan_slabs(p, source_ffn_kind(p->source, layer), layer) ||
            (source_has_shared(p->source, layer) && !plan_slabs(p, FFN_SHARED, layer))) {
            return false;
        }
    }
    return plan_matrices(p, false, 0, false);
}

static bool check_matched(const struct planner *p)
{
    for (uint32_t i = 0; i < p->rules->n_patterns; i++) {
        if (!p->matched[i]) {
            return error_set(p->err,
                             "no matrix of %s has a name like \"%s\"; `--dry-run` lists the names",
                             p->source->name, p->rules->patterns[i].pattern);
        }
    }
    return true;
}

bool conversion_plan_make(struct conversion_plan *plan, const struct source *source,
                          const struct conversion_rules *rules, const struct conversion_work *work,
                          struct error *err)
{
    static const struct conversion_work alone;
    *plan = (struct conversion_plan){.source = source, .rules = *rules};
    struct planner planner = {
        .plan = plan,
        .source = source,
        .rules = rules,
        .work = work ? work : &alone,
        .mix = rules->mix,
        .matched = calloc(rules->n_patterns + 1, sizeof(bool)),
        .err = err,
    };
    if (!rules->mix && !rules->keep && !any_matrix(source, is_quantised)) {
        planner.mix = type_mix_find("q8_0");
    }
    plan->type_name = planner.mix ? type_mix_name(planner.mix) : "kept";
    planner.asks_f16 = planner.mix && type_mix_type(planner.mix) == DTYPE_F16;
    for (uint32_t i = 0; i < rules->n_patterns; i++) {
        plan->type_name = planner.mix ? type_mix_name(planner.mix) : "kept";
        planner.asks_f16 = planner.asks_f16 || rules->patterns[i].type == DTYPE_F16;
    }
    bool ok = planner.matched || error_set(err, "not enough memory to plan the conversion");
    ok = ok && plan_all(&planner) && check_matched(&planner);
    free(planner.matched);
    if (!ok) {
        conversion_plan_free(plan);
    }
    return ok;
}

void conversion_plan_free(struct conversion_plan *plan)
{
    free(plan->items);
    *plan = (struct conversion_plan){0};
}
