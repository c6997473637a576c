#include "engine/model/importance.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/source.h"
#include "format/gguf_writer.h"

#define SUMS_SUFFIX ".in_sum2"
#define COUNTS_SUFFIX ".counts"
#define ROOM_FOR_SUFFIX 8 /* bytes of the longer one */

void importance_free(struct importance *importance)
{
    for (uint64_t i = 0; i < importance->n_entries; i++) {
        free(importance->entries[i].sums);
        free(importance->entries[i].counts);
    }
    free(importance->entries);
    free(importance->dataset);
    free(importance->path);
    *importance = (struct importance){0};
}

/* ---- in memory ---- */

static bool no_memory(struct error *err)
{
    return error_set(err, "not enough memory for the activation statistics");
}

/* An entry with arrays to be filled; NULL if memory is short. */
static struct importance_entry *new_entry(struct importance *importance, uint64_t n_values,
                                          uint64_t n_counts)
{
    if (importance->n_entries == importance->capacity) {
        uint64_t capacity = importance->capacity ? 2 * importance->capacity : 64;
        void *grown = realloc(importance->entries, capacity * sizeof(*importance->entries));
        if (!grown) {
            return NULL;
        }
        importance->entries = grown;
        importance->capacity = capacity;
    }
    struct importance_entry *entry = &importance->entries[importance->n_entries];
    *entry = (struct importance_entry){
        .n_values = n_values,
        .n_counts = n_counts,
        .sums = malloc(n_values * sizeof(float)),
        .counts = malloc(n_counts * sizeof(float)),
    };
    if (!entry->sums || !entry->counts) {
        free(entry->sums);
        free(entry->counts);
        return NULL;
    }
    importance->n_entries++;
    return entry;
}

bool importance_add(struct importance *importance, const char *name, uint64_t n_values,
                    uint64_t n_counts, const float *sums, const float *counts, struct error *err)
{
    assert(n_counts > 0 && n_values > 0 && n_values % n_counts == 0);
    for (uint64_t i = importance->n_entries; i-- > 0;) {
        if (strcmp(importance->entries[i].name, name) == 0) {
            return true;
        }
    }
    struct importance_entry *entry = new_entry(importance, n_values, n_counts);
    if (!entry) {
        return no_memory(err);
    }
    assert(strlen(name) <= GGUF_MAX_NAME);
    memcpy(entry->name, name, strlen(name) + 1);
    memcpy(entry->sums, sums, n_values * sizeof(float));
    memcpy(entry->counts, counts, n_counts * sizeof(float));
    return true;
}

/* The name that files of this model have for a row: where q is made in one step
 * ("attn_q_b|attn_q") the last alternative, else the first. */
static bool row_name(const struct arch_weight *row, const struct hparams *hparams, uint32_t layer,
                     char name[GGUF_MAX_NAME + 1])
{
    bool direct_q = (row->role == ROLE_LATENT_Q_NOPE || row->role == ROLE_LATENT_Q_ROPE) &&
                    hparams->q_rank == 0;
    return row->gguf[0].name &&
           arch_tensor_name(name, GGUF_MAX_NAME + 1, row->gguf[0].name, direct_q ? 1 : 0, layer, 0);
}

static bool is_of_ffn(enum observed_input input)
{
    return input == OBSERVED_FFN || input == OBSERVED_FFN_DOWN || input == OBSERVED_SHARED ||
           input == OBSERVED_SHARED_DOWN;
}

/* The names of gate and up, or of down. */
static uint32_t ffn_names(const struct model *model, enum observed_input input, uint32_t layer,
                          char names[2][GGUF_MAX_NAME + 1])
{
    bool shared = input == OBSERVED_SHARED || input == OBSERVED_SHARED_DOWN;
    bool down = input == OBSERVED_FFN_DOWN || input == OBSERVED_SHARED_DOWN;
    enum arch_ffn_kind kind = model->layers[layer].has_router ? FFN_ROUTED : FFN_DENSE;
    const struct arch_ffn *ffn = &model->arch->gguf_ffn[shared ? FFN_SHARED : kind][0];
    const char *const patterns[2] = {down ? ffn->down : ffn->gate, down ? NULL : ffn->up};
    uint32_t n = 0;
    for (uint32_t i = 0; i < 2; i++) {
        n += patterns[i] && arch_tensor_name(names[n], GGUF_MAX_NAME + 1, patterns[i], 0, layer, 0);
    }
    return n;
}

bool importance_add_input(struct importance *importance, const struct model *model,
                          enum observed_input input, uint32_t layer, uint64_t n_values,
                          uint64_t n_counts, const float *sums, const float *counts,
                          struct error *err)
{
    const struct hparams *hparams = &model->hparams;
    char names[2][GGUF_MAX_NAME + 1];
    uint32_t n_names = is_of_ffn(input) ? ffn_names(model, input, layer, names) : 0;
    for (uint32_t i = 0; i < n_names; i++) {
        if (!importance_add(importance, names[i], n_values, n_counts, sums, counts, err)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < model->arch->n_weights; i++) {
        const struct arch_weight *row = &model->arch->weights[i];
        bool absent = row->role == ROLE_OUTPUT && model->tied;
        if (observed_input_of(hparams, row->role, model->tied) == input && !absent &&
            arch_dim_value(row->rows, hparams) > 0 && arch_dim_value(row->cols, hparams) > 0 &&
            row_name(row, hparams, layer, names[0]) &&
            !importance_add(importance, names[0], n_values, n_counts, sums, counts, err)) {
            return false;
        }
    }
    return true;
}

const struct importance_entry *importance_find(const struct importance *importance,
                                               const char *name)
{
    uint64_t low = 0, high = importance->n_entries;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = strcmp(importance->entries[middle].name, name);
        if (order == 0) {
            return &importance->entries[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* ---- writing ---- */

static void announce(struct gguf_writer *writer, const struct importance_entry *entry)
{
    char name[GGUF_MAX_NAME + ROOM_FOR_SUFFIX + 1];
    uint64_t columns = entry->n_values / entry->n_counts;
    snprintf(name, sizeof(name), "%s" SUMS_SUFFIX, entry->name);
    gguf_writer_tensor(writer, name, 2, (uint64_t[]){columns, entry->n_counts}, DTYPE_F32);
    snprintf(name, sizeof(name), "%s" COUNTS_SUFFIX, entry->name);
    gguf_writer_tensor(writer, name, 2, (uint64_t[]){1, entry->n_counts}, DTYPE_F32);
}

bool importance_write(const struct importance *importance, const char *path, struct error *err)
{
    struct gguf_writer writer;
    const char *dataset = importance->dataset ? importance->dataset : "";
    if (!gguf_writer_open(&writer, path, err)) {
        return false;
    }
    gguf_writer_string(&writer, "general.type", "imatrix", strlen("imatrix"));
    gguf_writer_array(&writer, "imatrix.datasets", GGUF_STRING, 1);
    gguf_writer_element_string(&writer, dataset, strlen(dataset));
    gguf_writer_u32(&writer, "imatrix.chunk_count", importance->chunk_count);
    gguf_writer_u32(&writer, "imatrix.chunk_size", importance->chunk_size);
    for (uint64_t i = 0; i < importance->n_entries; i++) {
        announce(&writer, &importance->entries[i]);
    }
    bool ok = gguf_writer_begin_data(&writer, err);
    for (uint64_t i = 0; ok && i < importance->n_entries; i++) {
        const struct importance_entry *entry = &importance->entries[i];
        ok = gguf_writer_data(&writer, entry->sums, entry->n_values * sizeof(float), err) &&
             gguf_writer_data(&writer, entry->counts, entry->n_counts * sizeof(float), err);
    }
    if (!ok) {
        gguf_writer_abort(&writer);
        return false;
    }
    return gguf_writer_commit(&writer, err);
}

/* ---- reading ---- */

static bool is_general_type(const struct gguf *gguf, const char *wanted)
{
    const char *text;
    uint64_t bytes;
    return gguf_value_string(gguf_find_pair(gguf, "general.type"), &text, &bytes) &&
           bytes == strlen(wanted) && memcmp(text, wanted, bytes) == 0;
}

static bool check_numbers(const char *path, const struct importance_entry *entry, struct error *err)
{
    bool good = true;
    for (uint64_t i = 0; i < entry->n_values; i++) {
        good = good && isfinite(entry->sums[i]) && entry->sums[i] >= 0;
    }
    for (uint64_t i = 0; i < entry->n_counts; i++) {
        good = good && isfinite(entry->counts[i]) && entry->counts[i] >= 0;
    }
    return good || error_set(err,
                             "%s: the statistics of %s hold numbers that no text gives (negative "
                             "or not finite); make the file anew",
                             path, entry->name);
}

/* An entry from NAME.in_sum2 and its counts. */
static bool read_entry(struct importance *importance, const struct gguf *gguf,
                       const struct gguf_tensor *sums, struct error *err)
{
    char name[GGUF_MAX_NAME + ROOM_FOR_SUFFIX + 1];
    uint32_t name_bytes = sums->name_bytes - (uint32_t)strlen(SUMS_SUFFIX);
    snprintf(name, sizeof(name), "%.*s" COUNTS_SUFFIX, (int)name_bytes, sums->name);
    const struct gguf_tensor *counts = gguf_find_tensor(gguf, name);
    name[name_bytes] = 0;
    if (!counts) {
        return error_set(err, "%s: %s has sums but no counts; make the file anew", importance->path,
                         name);
    }
    uint64_t n_values = sums->bytes / sizeof(float), n_counts = counts->bytes / sizeof(float);
    if (sums->type != DTYPE_F32 || counts->type != DTYPE_F32 || n_values == 0 || n_counts == 0 ||
        n_values % n_counts != 0) {
        return error_set(err,
                         "%s: the sums and counts of %s are not f32 numbers whose sizes fit each "
                         "other; make the file anew",
                         importance->path, name);
    }
    struct importance_entry *entry = new_entry(importance, n_values, n_counts);
    if (!entry) {
        return no_memory(err);
    }
    memcpy(entry->name, name, name_bytes + 1);
    memcpy(entry->sums, sums->data, n_values * sizeof(float));
    memcpy(entry->counts, counts->data, n_counts * sizeof(float));
    return check_numbers(importance->path, entry, err);
}

static bool has_suffix(const struct gguf_tensor *tensor, const char *suffix)
{
    size_t bytes = strlen(suffix);
    return tensor->name_bytes > bytes &&
           memcmp(tensor->name + tensor->name_bytes - bytes, suffix, bytes) == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct importance_entry *)a)->name,
                  ((const struct importance_entry *)b)->name);
}

static bool read_all(struct importance *importance, const struct gguf *gguf, struct error *err)
{
    uint64_t number;
    const char *text;
    uint64_t bytes;
    struct gguf_strings walk = gguf_strings(gguf_find_pair(gguf, "imatrix.datasets"));
    if (gguf_next_string(&walk, &text, &bytes)) {
        importance->dataset = strndup(text, bytes);
    }
    if (gguf_value_u64(gguf_find_pair(gguf, "imatrix.chunk_count"), 0, &number)) {
        importance->chunk_count = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
    }
    if (gguf_value_u64(gguf_find_pair(gguf, "imatrix.chunk_size"), 0, &number)) {
        importance->chunk_size = number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        if (has_suffix(&gguf->tensors[i], SUMS_SUFFIX) &&
            !read_entry(importance, gguf, &gguf->tensors[i], err)) {
            return false;
        }
    }
    if (importance->n_entries == 0) {
        return error_set(err, "%s holds no activation statistics", importance->path);
    }
    qsort(importance->entries, importance->n_entries, sizeof(*importance->entries), compare_names);
    return true;
}

bool importance_read(struct importance *importance, const char *path, struct error *err)
{
    struct gguf gguf;
    *importance = (struct importance){.path = strdup(path)};
    if (!importance->path) {
        return no_memory(err);
    }
    if (!gguf_open(&gguf, path, err)) {
        importance_free(importance);
        return false;
    }
    bool ok = is_general_type(&gguf, "imatrix")
                  ? read_all(importance, &gguf, err)
                  : error_set(err,
                              "%s is a GGUF file but not one of activation statistics; `moxie "
                              "imatrix` makes one",
                              path);
    gguf_close(&gguf);
    if (!ok) {
        importance_free(importance);
    }
    return ok;
}
