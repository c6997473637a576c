#include "engine/model/synthetic_model.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/model/synthetic_blocks.h"
#include "engine/model/synthetic_values.h"

/* One matrix of the model. The source's matrices point at theirs where a file's point at bytes. */
struct entry {
    enum tensor_role role;
    enum arch_ffn_kind kind; /* of experts */
    uint32_t layer, expert, part;
    uint64_t rows, cols;
    enum dtype type;
    bool sensitive; /* f32 whatever is asked: norms, biases, routers */
    uint64_t seed;
};

struct deck_list {
    struct synthetic_deck deck;
    struct deck_list *next;
};

struct synthetic_model {
    struct source source; /* first, so that a pointer to it is one to this */
    double popularity;
    struct synthetic_options options;
    uint32_t n_tokens;
    struct entry *entries;
    uint64_t n_entries, room;
    uint64_t *first_of_layer; /* (layers + 1): its entries; those of no layer come first */
    pthread_mutex_t mutex;    /* of the decks */
    struct deck_list *decks;
};

/* ---- which matrices there are ---- */

static bool add_entry(struct synthetic_model *m, struct entry entry, struct error *err)
{
    if (m->n_entries == m->room) {
        uint64_t room = m->room ? 2 * m->room : 256;
        struct entry *entries = realloc(m->entries, room * sizeof(*entries));
        if (!entries) {
            return error_set(err, "not enough memory to plan %s", m->source.name);
        }
        m->entries = entries;
        m->room = room;
    }
    uint64_t place = ((uint64_t)entry.role << 8 | (uint64_t)entry.kind << 2 | entry.part) << 32;
    entry.seed = synthetic_seed(synthetic_seed(m->options.seed, place | entry.layer), entry.expert);
    m->entries[m->n_entries++] = entry;
    return true;
}

static bool add_row(struct synthetic_model *m, const struct arch_weight *row, uint32_t layer,
                    struct error *err)
{
    bool absent = (row->flags & WEIGHT_OPTIONAL) && row->role != ROLE_OUTPUT;
    if (absent || !source_has(&m->source, row, layer)) {
        return true;
    }
    const struct hparams *h = &m->source.hparams;
    struct entry entry = {.role = row->role,
                          .layer = layer,
                          .rows = arch_dim_value(row->rows, h),
                          .cols = arch_dim_value(row->cols, h),
                          .type = DTYPE_F32,
                          .sensitive = row->flags & WEIGHT_KEEP_F32};
    if (!entry.sensitive) {
        struct type_query query = {.hparams = h,
                                   .role = row->role,
                                   .layer = layer,
                                   .is_head = row->role == ROLE_OUTPUT,
                                   .cols = entry.cols};
        enum type_choice_reason reason;
        entry.type = type_mix_choose(m->options.mix, &query, &reason);
    }
    return add_entry(m, entry, err);
}

static bool add_ffn(struct synthetic_model *m, enum arch_ffn_kind kind, uint32_t layer,
                    uint32_t experts, struct error *err)
{
    const struct hparams *h = &m->source.hparams;
    uint64_t width = source_ffn_width(&m->source, kind);
    for (uint32_t i = 0; i < experts * SOURCE_PARTS; i++) {
        uint32_t part = i % SOURCE_PARTS;
        bool down = part == SOURCE_DOWN;
        struct entry entry = {.role = kind == FFN_SHARED ? ROLE_SHARED_EXPERT : ROLE_EXPERT,
                              .kind = kind,
                              .layer = layer,
                              .expert = i / SOURCE_PARTS,
                              .part = part,
                              .rows = down ? h->hidden : width,
                              .cols = down ? width : h->hidden};
        struct type_query query = {.hparams = h,
                                   .role = entry.role,
                                   .routed = kind == FFN_ROUTED,
                                   .down = down,
                                   .layer = layer,
                                   .cols = entry.cols};
        enum type_choice_reason reason;
        entry.type = type_mix_choose(m->options.mix, &query, &reason);
        if (!add_entry(m, entry, err)) {
            return false;
        }
    }
    return true;
}

static bool add_rows(struct synthetic_model *m, bool in_layer, uint32_t layer, struct error *err)
{
    const struct arch *arch = m->source.arch;
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        if (in_layer == !!(arch->weights[i].flags & WEIGHT_PER_LAYER) &&
            !add_row(m, &arch->weights[i], layer, err)) {
            return false;
        }
    }
    return true;
}

/* Of a layer: rows of the table, then its experts, then the shared one. */
static bool add_entries(struct synthetic_model *m, struct error *err)
{
    struct source *source = &m->source;
    uint32_t layers = source->hparams.layers;
    m->first_of_layer = calloc(layers + 1, sizeof(*m->first_of_layer));
    if (!m->first_of_layer) {
        return error_set(err, "not enough memory to plan %s", source->name);
    }
    bool ok = add_rows(m, false, 0, err);
    for (uint32_t layer = 0; ok && layer < layers; layer++) {
        m->first_of_layer[layer] = m->n_entries;
        ok =
            add_rows(m, true, layer, err) &&
            add_ffn(m, source_ffn_kind(source, layer), layer, source_experts(source, layer), err) &&
            (!source_has_shared(source, layer) || add_ffn(m, FFN_SHARED, layer, 1, err));
        m->first_of_layer[layer + 1] = m->n_entries;
    }
    source->n_tensors = m->n_entries;
    return ok;
}

/* ---- the container's functions ---- */

static struct source_matrix view(const struct entry *entry, const void *data)
{
    enum source_encoding encoding = entry->type == DTYPE_F32    ? SOURCE_F32
                                    : entry->type == DTYPE_F16  ? SOURCE_F16
                                    : entry->type == DTYPE_BF16 ? SOURCE_BF16
                                                                : SOURCE_BLOCKS;
    return source_matrix_whole(encoding, encoding == SOURCE_BLOCKS ? dtype_info(entry->type) : NULL,
                               data, entry->rows, entry->cols);
}

static bool find_matrix(const struct source *source, const struct arch_weight *row, uint32_t layer,
                        struct source_matrix *matrix)
{
    const struct synthetic_model *m = (const struct synthetic_model *)source;
    bool in_layer = row->flags & WEIGHT_PER_LAYER;
    uint64_t begin = in_layer ? m->first_of_layer[layer] : 0;
    uint64_t end = in_layer ? m->first_of_layer[layer + 1] : m->first_of_layer[0];
    for (uint64_t i = begin; i < end && !role_is_slab(m->entries[i].role); i++) {
        if (m->entries[i].role == row->role) {
            *matrix = view(&m->entries[i], &m->entries[i]);
            return true;
        }
    }
    return false;
}

static void find_ffn(const struct source *source, enum arch_ffn_kind kind, uint32_t layer,
                     uint32_t expert, uint32_t part, struct source_matrix *matrix)
{
    const struct synthetic_model *m = (const struct synthetic_model *)source;
    uint64_t i = m->first_of_layer[layer + 1]; /* the experts stand at the end of a layer */
    if (source_has_shared(source, layer)) {
        i -= SOURCE_PARTS;
    }
    if (kind != FFN_SHARED) {
        i -= (uint64_t)(source_experts(source, layer) - expert) * SOURCE_PARTS;
    }
    const struct entry *entry = &m->entries[i + part];
    assert(entry->kind == kind && entry->expert == expert && entry->part == part);
    *matrix = view(entry, entry);
}

static void release_rows(const struct source *source, const struct source_matrix *matrix,
                         uint64_t row, uint64_t n)
{
}

static bool is_part(const struct source *source, const char *path)
{
    return false;
}

static void close_model(struct source *source)
{
    struct synthetic_model *m = (struct synthetic_model *)source;
    while (m->decks) {
        struct deck_list *next = m->decks->next;
        synthetic_deck_free(&m->decks->deck);
        free(m->decks);
        m->decks = next;
    }
    pthread_mutex_destroy(&m->mutex);
    free(m->entries);
    free(m->first_of_layer);
    free(m);
}

/* ---- values ---- */

static struct deck_list *make_deck(struct synthetic_model *m, const struct synthetic_deck *wanted,
                                   struct error *err)
{
    struct deck_list *made = malloc(sizeof(*made));
    if (!made) {
        error_set(err, "not enough memory for random weights");
        return NULL;
    }
    *made = (struct deck_list){*wanted, m->decks};
    /* From what it is, not from when it is asked for: that depends on the threads. */
    uint64_t bits[2] = {0};
    memcpy(&bits[0], &wanted->deviation, sizeof(double));
    memcpy(&bits[1], &wanted->common, sizeof(double));
    uint64_t seed = synthetic_seed(m->options.seed, wanted->type->dtype);
    seed = synthetic_seed(synthetic_seed(seed, bits[0]), bits[1]);
    if (!synthetic_deck_make(&made->deck, synthetic_seed(seed, wanted->first), err)) {
        free(made);
        return NULL;
    }
    m->decks = made;
    return made;
}

/* The deck, made when it is first asked for. */
static const struct synthetic_deck *
find_deck(struct synthetic_model *m, const struct synthetic_deck *wanted, struct error *err)
{
    pthread_mutex_lock(&m->mutex);
    struct deck_list *at = m->decks;
    while (at && (at->deck.type != wanted->type || at->deck.deviation != wanted->deviation ||
                  at->deck.first != wanted->first || at->deck.common != wanted->common)) {
        at = at->next;
    }
    at = at ? at : make_deck(m, wanted, err);
    pthread_mutex_unlock(&m->mutex);
    return at ? &at->deck : NULL;
}

static bool deal_matrix(struct synthetic_model *m, const struct entry *entry,
                        const struct source_matrix *matrix, uint8_t *bytes, struct error *err)
{
    const struct source *source = &m->source;
    const struct hparams *h = &source->hparams;
    struct synthetic_values values =
        role_is_slab(entry->role)
            ? synthetic_values_of_ffn(h, entry->kind, entry->part == SOURCE_DOWN)
            : synthetic_values_of(source->arch, h, entry->role, entry->layer, m->n_tokens);
    struct synthetic_deck wanted = {.type = dtype_info(entry->type), .deviation = values.deviation};
    const struct synthetic_deck *deck = find_deck(m, &wanted, err), *first[2] = {NULL, NULL};
    for (uint32_t common = 0; deck && values.reads_stream && common < 2; common++) {
        wanted.first = true;
        wanted.common = common ? values.common : values.other;
        first[common] = find_deck(m, &wanted, err);
        deck = first[common] ? deck : NULL;
    }
    for (uint64_t row = 0; deck && row < entry->rows; row++) {
        bool common = synthetic_values_is_common(&values, h, row);
        synthetic_deck_deal(deck, first[common], entry->cols, synthetic_seed(entry->seed, row),
                            bytes + row * matrix->row_bytes);
    }
    return deck != NULL;
}

static bool make_matrix(const struct source *source, struct source_matrix *matrix, void **memory,
                        struct error *err)
{
    struct synthetic_model *m = (struct synthetic_model *)source;
    const struct entry *entry = (const struct entry *)matrix->data;
    uint8_t *bytes = malloc(matrix->row_bytes * entry->rows);
    if (!bytes) {
        return error_set(err, "not enough memory for a matrix of %s", source->name);
    }
    if (entry->sensitive) {
        synthetic_values_fill(&source->hparams, entry->role, entry->layer, m->popularity,
                              entry->rows, entry->cols, entry->seed, (float *)bytes);
    } else if (!deal_matrix(m, entry, matrix, bytes, err)) {
        free(bytes);
        return false;
    }
    *memory = bytes;
    matrix->data = bytes;
    return true;
}

static const struct source_functions functions = {
    .matrix = find_matrix,
    .ffn = find_ffn,
    .load = make_matrix,
    .release = release_rows,
    .is_part = is_part,
    .close = close_model,
};

/* ---- opening ---- */

static bool read_shape(struct synthetic_model *m, const struct synthetic_shape *shape,
                       struct error *err)
{
    struct source *source = &m->source;
    json_t *config = json_loads(shape->config, 0, NULL);
    assert(config); /* a row of our own table */
    const char *family =
        json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    source->arch = arch_find_config(family);
    assert(source->arch);
    if (m->options.layers > 0) {
        json_object_set_new(config, "num_hidden_layers", json_integer(m->options.layers));
    }
    bool ok = hparams_from_config(&source->hparams, source->arch, config, shape->name, err);
    json_decref(config);
    return ok;
}

struct source *synthetic_model_open(const struct synthetic_shape *shape,
                                    const struct synthetic_options *options, struct error *err)
{
    struct synthetic_model *m = calloc(1, sizeof(*m));
    if (!m) {
        error_set(err, "not enough memory to make %s", shape->name);
        return NULL;
    }
    char name[128];
    snprintf(name, sizeof(name), "%s synthetic", shape->name);
    struct source *source = &m->source;
    pthread_mutex_init(&m->mutex, NULL);
    m->options = *options;
    m->popularity = shape->popularity;
    source->functions = &functions;
    source->format = "synthetic";
    source->name = strdup(name);
    source->path = strdup(shape->name);
    bool ok = (source->name && source->path) ||
              error_set(err, "not enough memory to make %s", shape->name);
    if (!ok || !read_shape(m, shape, err) || !add_entries(m, err)) {
        source_close(&source);
        return NULL;
    }
    return source;
}

void synthetic_model_set_tokens(struct source *source, uint32_t n_tokens)
{
    ((struct synthetic_model *)source)->n_tokens = n_tokens;
}
