#include "engine/model/importance_weights.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Where the statistics of a matrix are: `groups` matrices of `columns` in an entry. */
struct place {
    const struct importance_entry *entry;
    uint64_t groups, group;
    uint64_t columns;
    bool average; /* one weight a column for all groups together: the heads of one matrix */
};

/* ---- finding ---- */

/* The first name that there are statistics for; `name` is the usual one if there are none. */
static const struct importance_entry *find_name(const struct importance *importance,
                                                const char *pattern, uint32_t layer,
                                                uint32_t expert, char name[GGUF_MAX_NAME + 1])
{
    char tried[GGUF_MAX_NAME + 1];
    for (uint32_t i = 0; arch_tensor_name(tried, sizeof(tried), pattern, i, layer, expert); i++) {
        const struct importance_entry *entry = importance_find(importance, tried);
        if (i == 0 || entry) {
            memcpy(name, tried, sizeof(tried));
        }
        if (entry) {
            return entry;
        }
    }
    return NULL;
}

static void find_row(const struct importance_weights *w, const struct arch_weight *row,
                     uint32_t layer, struct place *place, char name[GGUF_MAX_NAME + 1])
{
    const struct hparams *h = &w->source->hparams;
    bool per_head = row->role == ROLE_LATENT_K_B || row->role == ROLE_LATENT_V_B;
    *place = (struct place){
        .groups = per_head ? h->heads : 1,
        .columns = arch_dim_value(row->cols, h),
        .average = per_head,
    };
    name[0] = 0;
    for (uint32_t i = 0; !place->entry && i < 2; i++) {
        const struct arch_place *at = &row->gguf[i];
        /* A tensor of both keys and values is multiplied with something else. */
        if (at->name && at->part != PART_HEAD_KEYS && at->part != PART_HEAD_VALUES) {
            place->entry = find_name(w->importance, at->name, layer, 0, name);
        }
    }
}

static void find_ffn(const struct importance_weights *w, enum arch_ffn_kind kind, uint32_t layer,
                     uint32_t expert, uint32_t part, struct place *place,
                     char name[GGUF_MAX_NAME + 1])
{
    const struct arch_ffn *layouts = w->source->arch->gguf_ffn[kind];
    uint64_t width = source_ffn_width(w->source, kind);
    *place = (struct place){.columns = part == SOURCE_DOWN ? width : w->source->hparams.hidden};
    name[0] = 0;
    char tried[GGUF_MAX_NAME + 1];
    for (uint32_t i = 0; i < ARCH_FFN_LAYOUTS && layouts[i].layout != FFN_NONE; i++) {
        const struct arch_ffn *ffn = &layouts[i];
        bool fused = ffn->layout == FFN_FUSED || ffn->layout == FFN_FUSED_PAIRS;
        const char *const patterns[SOURCE_PARTS] = {ffn->gate, fused ? ffn->gate : ffn->up,
                                                    ffn->down};
        bool each = ffn->layout == FFN_SEPARATE;
        place->groups = each ? 1 : source_experts(w->source, layer);
        place->group = each ? 0 : expert;
        place->entry = find_name(w->importance, patterns[part], layer, expert, tried);
        if (i == 0 || place->entry) {
            memcpy(name, tried, sizeof(tried));
        }
        if (place->entry) {
            return;
        }
    }
}

/* ---- blending ---- */

static void blend(const struct importance_entry *entry, const struct place *place, float *values)
{
    uint64_t columns = place->columns, groups = place->groups;
    bool own_counts = entry->n_counts == groups;
    for (uint64_t c = 0; c < columns; c++) {
        double sum = 0, count = 0;
        for (uint64_t g = 0; g < groups; g++) {
            sum += (double)entry->sums[g * columns + c];
            count += (double)entry->counts[own_counts ? g : 0];
        }
        double mean = sum / count;
        for (uint64_t g = 0; !place->average && g < groups; g++) {
            double own = (double)entry->counts[own_counts ? g : 0];
            double prior = groups > 1 ? IMPORTANCE_PRIOR : 0;
            values[g * columns + c] =
                (float)(((double)entry->sums[g * columns + c] + prior * mean) / (own + prior));
        }
        if (place->average) {
            values[c] = (float)mean;
        }
    }
}

static bool check_size(const struct importance_weights *w, const struct place *place,
                       struct error *err)
{
    const struct importance_entry *entry = place->entry;
    if (entry->n_values == place->groups * place->columns &&
        (entry->n_counts == 1 || entry->n_counts == place->groups)) {
        return true;
    }
    return error_set(err,
                     "%s: the statistics of %s are %" PRIu64 " sums and %" PRIu64
                     " counts where %s needs %" PRIu64 " x %" PRIu64
                     ": they were made with another model",
                     w->importance->path, entry->name, entry->n_values, entry->n_counts,
                     w->source->name, place->groups, place->columns);
}

/* Makes the weights of the entry at `place`, once. */
static bool prepare(struct importance_weights *w, const struct place *place, const char *name,
                    struct error *err)
{
    w->n_matrices += place->group == 0;
    double tokens = 0;
    for (uint64_t i = 0; place->entry && i < place->entry->n_counts; i++) {
        tokens += (double)place->entry->counts[i];
    }
    if (tokens == 0) {
        if (w->n_without++ == 0) {
            memcpy(w->first_without, name, GGUF_MAX_NAME + 1);
        }
        return true;
    }
    if (!check_size(w, place, err)) {
        return false;
    }
    float **values = &w->values[place->entry - w->importance->entries];
    if (*values) {
        return true;
    }
    *values = malloc(place->entry->n_values * sizeof(float));
    if (!*values) {
        return error_set(err, "not enough memory for the activation statistics");
    }
    blend(place->entry, place, *values);
    return true;
}

/* ---- all of a model ---- */

static bool prepare_ffn(struct importance_weights *w, enum arch_ffn_kind kind, uint32_t layer,
                        struct error *err)
{
    struct place place;
    char name[GGUF_MAX_NAME + 1];
    uint32_t experts = kind == FFN_ROUTED ? source_experts(w->source, layer) : 1;
    for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
        for (uint32_t expert = 0; expert < experts; expert++) {
            find_ffn(w, kind, layer, expert, part, &place, name);
            if (!prepare(w, &place, name, err)) {
                return false;
            }
            if (place.groups > 1) {
                break; /* one entry for all */
            }
        }
    }
    return true;
}

static void count_experts(struct importance_weights *w, uint32_t layer)
{
    const float *counts;
    if (!importance_weights_usage(w, layer, &counts)) {
        return;
    }
    for (uint32_t expert = 0; expert < w->source->hparams.experts; expert++) {
        w->n_experts++;
        w->n_never += counts[expert] == 0;
        w->n_rarely += counts[expert] > 0 && counts[expert] < IMPORTANCE_PRIOR;
    }
}

static bool prepare_layer(struct importance_weights *w, uint32_t layer, struct error *err)
{
    const struct source *source = w->source;
    struct place place;
    char name[GGUF_MAX_NAME + 1];
    for (uint32_t i = 0; i < source->arch->n_weights; i++) {
        const struct arch_weight *row = &source->arch->weights[i];
        struct source_matrix matrix;
        bool once = !(row->flags & WEIGHT_PER_LAYER);
        if (observed_input_of(&source->hparams, row->role, source->tied) == OBSERVED_INPUTS ||
            (once && layer > 0) || !source_has(source, row, layer) ||
            !source->functions->matrix(source, row, layer, &matrix)) {
            continue;
        }
        find_row(w, row, layer, &place, name);
        if (!prepare(w, &place, name, err)) {
            return false;
        }
    }
    count_experts(w, layer);
    return prepare_ffn(w, source_ffn_kind(source, layer), layer, err) &&
           (!source_has_shared(source, layer) || prepare_ffn(w, FFN_SHARED, layer, err));
}

bool importance_weights_make(struct importance_weights *w, const struct importance *importance,
                             const struct source *source, struct error *err)
{
    *w = (struct importance_weights){.importance = importance, .source = source};
    w->values = calloc(importance->n_entries, sizeof(*w->values));
    bool ok = w->values || error_set(err, "not enough memory for the activation statistics");
    for (uint32_t layer = 0; ok && layer < source->hparams.layers; layer++) {
        ok = prepare_layer(w, layer, err);
    }
    if (ok && w->n_without == w->n_matrices) {
        ok = error_set(err,
                       "%s has statistics of no matrix of %s: they were made with another model",
                       importance->path, source->name);
    }
    if (!ok) {
        importance_weights_free(w);
    }
    return ok;
}

void importance_weights_free(struct importance_weights *w)
{
    for (uint64_t i = 0; w->values && i < w->importance->n_entries; i++) {
        free(w->values[i]);
    }
    free(w->values);
    *w = (struct importance_weights){0};
}

/* ---- asking ---- */

static const struct arch_weight *row_of(const struct source *source, enum tensor_role role)
{
    for (uint32_t i = 0; i < source->arch->n_weights; i++) {
        if (source->arch->weights[i].role == role) {
            return &source->arch->weights[i];
        }
    }
    return NULL;
}

const float *importance_weights_of(void *context, enum tensor_role role, uint32_t layer,
                                   uint32_t expert, uint32_t part)
{
    const struct importance_weights *w = context;
    struct place place;
    char name[GGUF_MAX_NAME + 1];
    if (role_is_slab(role)) {
        bool shared = role == ROLE_SHARED_EXPERT;
        find_ffn(w, shared ? FFN_SHARED : source_ffn_kind(w->source, layer), layer, expert, part,
                 &place, name);
    } else if (observed_input_of(&w->source->hparams, role, w->source->tied) != OBSERVED_INPUTS) {
        const struct arch_weight *row = row_of(w->source, role);
        find_row(w, row, row->flags & WEIGHT_PER_LAYER ? layer : 0, &place, name);
    } else {
        return NULL;
    }
    const float *values = place.entry ? w->values[place.entry - w->importance->entries] : NULL;
    return values ? values + place.group * place.columns : NULL;
}

bool importance_weights_usage(const struct importance_weights *w, uint32_t layer,
                              const float **counts)
{
    struct place place;
    char name[GGUF_MAX_NAME + 1];
    uint32_t experts = w->source->hparams.experts;
    if (source_ffn_kind(w->source, layer) != FFN_ROUTED) {
        return false;
    }
    for (uint32_t part = 0; part < SOURCE_PARTS; part++) {
        find_ffn(w, FFN_ROUTED, layer, 0, part, &place, name);
        if (place.entry && place.groups == experts && place.entry->n_counts == experts) {
            *counts = place.entry->counts;
            return true;
        }
    }
    return false;
}
