#include "engine/model/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/map.h"

#define MAX_CONFIG_BYTES (1u << 20)

/* ---- config.json ---- */

/* Python writes NaN, Infinity and -Infinity into JSON, which has no such words. No key we read
 * may be one of them: they become {}, which is refused where a number is read. */
static void replace_words(char *text, size_t bytes)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    static const char *const values[] = {"{}       ", "{}      ", "{} "};
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        if (in_string && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            in_string = !in_string;
        }
        for (size_t w = 0; !in_string && w < sizeof(words) / sizeof(words[0]); w++) {
            size_t length = strlen(words[w]);
            if (bytes - i >= length && memcmp(text + i, words[w], length) == 0) {
                memcpy(text + i, values[w], length);
            }
        }
    }
}

static json_t *parse_config(const struct map *map, struct error *err)
{
    if (map->bytes > MAX_CONFIG_BYTES) {
        error_set(err, "%s is too large for a config.json", map->path);
        return NULL;
    }
    char *text = malloc((size_t)map->bytes);
    if (!text) {
        error_set(err, "not enough memory to read %s", map->path);
        return NULL;
    }
    memcpy(text, map->data, (size_t)map->bytes);
    replace_words(text, (size_t)map->bytes);
    json_error_t where;
    json_t *config = json_loadb(text, (size_t)map->bytes, 0, &where);
    free(text);
    if (!config) {
        error_set(err, "%s is not valid JSON: line %d: %s", map->path, where.line, where.text);
    } else if (!json_is_object(config)) {
        error_set(err, "%s is not a JSON object", map->path);
        json_decref(config);
        config = NULL;
    }
    return config;
}

static json_t *load_config(const char *path, const char *folder, struct error *err)
{
    struct stat status;
    if (stat(folder, &status) != 0) {
        error_set(err, "%s does not exist; give the folder of a Hugging Face checkpoint", folder);
        return NULL;
    }
    if (!S_ISDIR(status.st_mode)) {
        error_set(err, "%s is not a folder; give the folder of a Hugging Face checkpoint", folder);
        return NULL;
    }
    if (access(path, F_OK) != 0) {
        error_set(err, "%s has no config.json; give the folder of a Hugging Face checkpoint",
                  folder);
        return NULL;
    }
    struct map map;
    if (!map_open(&map, path, err)) {
        return NULL;
    }
    json_t *config = parse_config(&map, err);
    map_close(&map);
    return config;
}

static bool find_arch(struct checkpoint *checkpoint, const json_t *config, const char *path,
                      struct error *err)
{
    const json_t *list = json_object_get(config, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name) {
        return error_set(err, "%s does not name an architecture", path);
    }
    checkpoint->arch = arch_find_config(name);
    if (!checkpoint->arch) {
        char known[256];
        arch_config_names(known, sizeof(known));
        return error_set(err, "%s: architecture %.80s is not one of those this version knows (%s)",
                         path, name, known);
    }
    return true;
}

static bool read_config(struct checkpoint *checkpoint, const json_t *config, const char *path,
                        struct error *err)
{
    if (!hparams_from_config(&checkpoint->hparams, config, path, err)) {
        return false;
    }
    bool has_experts = checkpoint->hparams.experts > 0;
    if (has_experts != (checkpoint->arch->expert.gate != NULL)) {
        return error_set(err, "%s: num_experts is %" PRIu32 ", which does not fit %s", path,
                         checkpoint->hparams.experts, checkpoint->arch->config_name);
    }
    const json_t *tie = json_object_get(config, "tie_word_embeddings");
    bool has_head = safetensors_find(&checkpoint->tensors, "lm_head.weight") != NULL;
    if (json_is_false(tie) && !has_head) {
        return error_set(err, "%s: tie_word_embeddings is false, but there is no lm_head.weight",
                         path);
    }
    checkpoint->tied = json_is_true(tie) || !has_head;
    return true;
}

/* ---- what the model has ---- */

bool checkpoint_has(const struct checkpoint *checkpoint, const struct arch_weight *row,
                    uint32_t layer)
{
    if (row->role == ROLE_OUTPUT) {
        return !checkpoint->tied;
    }
    return !(row->flags & WEIGHT_ROUTER_LAYERS) ||
           hparams_layer_has_router(&checkpoint->hparams, layer);
}

uint32_t checkpoint_experts(const struct checkpoint *checkpoint, uint32_t layer)
{
    return hparams_layer_has_router(&checkpoint->hparams, layer) ? checkpoint->hparams.experts : 1;
}

const struct arch_ffn_names *checkpoint_ffn_names(const struct checkpoint *checkpoint,
                                                  uint32_t layer)
{
    return hparams_layer_has_router(&checkpoint->hparams, layer) ? &checkpoint->arch->expert
                                                                 : &checkpoint->arch->dense;
}

uint32_t checkpoint_ffn(const struct checkpoint *checkpoint, uint32_t layer)
{
    return hparams_layer_has_router(&checkpoint->hparams, layer) ? checkpoint->hparams.expert_ffn
                                                                 : checkpoint->hparams.ffn;
}

const struct safetensors_tensor *checkpoint_tensor(const struct checkpoint *checkpoint,
                                                   const char *pattern, uint32_t layer,
                                                   uint32_t expert)
{
    char name[SAFETENSORS_MAX_NAME];
    if (!arch_tensor_name(name, sizeof(name), pattern, layer, expert)) {
        return NULL;
    }
    return safetensors_find(&checkpoint->tensors, name);
}

/* ---- checks ---- */

/* The keys a dimension comes from, for messages. */
static const char *dim_keys(enum arch_dim dim)
{
    switch (dim) {
    case DIM_ONE:
        return "1";
    case DIM_HIDDEN:
        return "hidden_size";
    case DIM_VOCABULARY:
        return "vocab_size";
    case DIM_HEAD:
        return "head_dim";
    case DIM_Q:
        return "num_attention_heads * head_dim";
    case DIM_KV:
        return "num_key_value_heads * head_dim";
    case DIM_EXPERTS:
        return "num_experts";
    }
    return "?";
}

/* A tensor that must be there. */
struct wanted {
    const char *pattern;
    uint32_t layer, expert;
    uint64_t rows, cols;
    const char *rows_keys, *cols_keys; /* of config.json; rows_keys NULL: a vector of cols */
};

static bool check_shape(const struct safetensors_tensor *tensor, const struct wanted *wanted,
                        const char *file, struct error *err)
{
    uint64_t shape[2] = {wanted->rows, wanted->cols};
    uint32_t rank = wanted->rows_keys ? 2 : 1;
    const uint64_t *expected = wanted->rows_keys ? shape : shape + 1;
    if (tensor->rank == rank && memcmp(tensor->shape, expected, rank * sizeof(*expected)) == 0) {
        return true;
    }
    char found_text[SAFETENSORS_SHAPE_TEXT], expected_text[SAFETENSORS_SHAPE_TEXT];
    return error_set(err, "%s: tensor \"%s\" has shape %s where config.json asks for %s (%s%s%s)",
                     file, tensor->name,
                     safetensors_shape_text(tensor->shape, tensor->rank, found_text),
                     safetensors_shape_text(expected, rank, expected_text),
                     wanted->rows_keys ? wanted->rows_keys : "", wanted->rows_keys ? ", " : "",
                     wanted->cols_keys);
}

static bool check_wanted(const struct checkpoint *checkpoint, const struct wanted *wanted,
                         bool *used, struct error *err)
{
    const struct safetensors_tensor *tensor =
        checkpoint_tensor(checkpoint, wanted->pattern, wanted->layer, wanted->expert);
    if (!tensor) {
        char name[SAFETENSORS_MAX_NAME] = "";
        arch_tensor_name(name, sizeof(name), wanted->pattern, wanted->layer, wanted->expert);
        return error_set(err,
                         "%s%s has no tensor \"%s\", which %s with the numbers in config.json "
                         "needs",
                         checkpoint->tensors.files[0].path,
                         checkpoint->tensors.n_files > 1 ? " and its other shards" : "", name,
                         checkpoint->arch->config_name);
    }
    const char *file = checkpoint->tensors.files[tensor->file].path;
    if (!safetensors_is_float(tensor->dtype)) {
        return error_set(err,
                         "%s: tensor \"%s\" has dtype %s; only F32, F16 and BF16 can be converted",
                         file, tensor->name, safetensors_dtype_name(tensor->dtype));
    }
    used[tensor - checkpoint->tensors.tensors] = true;
    return check_shape(tensor, wanted, file, err);
}

static bool check_row(const struct checkpoint *checkpoint, const struct arch_weight *row,
                      uint32_t layer, bool *used, struct error *err)
{
    if (!checkpoint_has(checkpoint, row, layer)) {
        return true;
    }
    struct wanted wanted = {
        .pattern = row->name,
        .layer = layer,
        .rows = arch_dim_value(row->rows, &checkpoint->hparams),
        .cols = arch_dim_value(row->cols, &checkpoint->hparams),
        .rows_keys = row->rows == DIM_ONE ? NULL : dim_keys(row->rows),
        .cols_keys = dim_keys(row->cols),
    };
    return check_wanted(checkpoint, &wanted, used, err);
}

static bool check_ffn(const struct checkpoint *checkpoint, uint32_t layer, bool *used,
                      struct error *err)
{
    const struct arch_ffn_names *names = checkpoint_ffn_names(checkpoint, layer);
    uint64_t hidden = checkpoint->hparams.hidden, ffn = checkpoint_ffn(checkpoint, layer);
    const char *ffn_keys =
        names == &checkpoint->arch->expert ? "moe_intermediate_size" : "intermediate_size";
    for (uint32_t expert = 0; expert < checkpoint_experts(checkpoint, layer); expert++) {
        const struct wanted wanted[] = {
            {names->gate, layer, expert, ffn, hidden, ffn_keys, "hidden_size"},
            {names->up, layer, expert, ffn, hidden, ffn_keys, "hidden_size"},
            {names->down, layer, expert, hidden, ffn, "hidden_size", ffn_keys},
        };
        for (uint32_t i = 0; i < 3; i++) {
            if (!check_wanted(checkpoint, &wanted[i], used, err)) {
                return false;
            }
        }
    }
    return true;
}

/* Whether the name begins with the pattern, % standing for digits. */
static bool begins_with(const char *name, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == '%') {
            size_t digits = strspn(name, "0123456789");
            if (digits == 0) {
                return false;
            }
            name += digits;
        } else if (*name++ != *pattern) {
            return false;
        }
    }
    return true;
}

static bool is_ignored(const struct checkpoint *checkpoint, const char *name)
{
    for (const char *const *pattern = checkpoint->arch->ignored; pattern && *pattern; pattern++) {
        if (begins_with(name, *pattern)) {
            return true;
        }
    }
    for (uint32_t i = 0; checkpoint->tied && i < checkpoint->arch->n_weights; i++) {
        const struct arch_weight *row = &checkpoint->arch->weights[i];
        if (row->role == ROLE_OUTPUT && strcmp(row->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_surplus(const struct checkpoint *checkpoint, const bool *used, struct error *err)
{
    for (uint64_t i = 0; i < checkpoint->tensors.n_tensors; i++) {
        const struct safetensors_tensor *tensor = &checkpoint->tensors.tensors[i];
        if (!used[i] && !is_ignored(checkpoint, tensor->name)) {
            return error_set(err,
                             "%s: tensor \"%s\" has no place in %s with num_hidden_layers %" PRIu32
                             " and num_experts %" PRIu32,
                             checkpoint->tensors.files[tensor->file].path, tensor->name,
                             checkpoint->arch->config_name, checkpoint->hparams.layers,
                             checkpoint->hparams.experts);
        }
    }
    return true;
}

static bool check_tensors(const struct checkpoint *checkpoint, struct error *err)
{
    bool *used = calloc(checkpoint->tensors.n_tensors + 1, sizeof(bool));
    if (!used) {
        return error_set(err, "not enough memory for the table of tensors");
    }
    bool ok = true;
    const struct arch *arch = checkpoint->arch;
    for (uint32_t i = 0; ok && i < arch->n_weights; i++) {
        const struct arch_weight *row = &arch->weights[i];
        uint32_t layers = row->flags & WEIGHT_PER_LAYER ? checkpoint->hparams.layers : 1;
        for (uint32_t layer = 0; ok && layer < layers; layer++) {
            ok = check_row(checkpoint, row, layer, used, err);
        }
    }
    for (uint32_t layer = 0; ok && layer < checkpoint->hparams.layers; layer++) {
        ok = check_ffn(checkpoint, layer, used, err);
    }
    ok = ok && check_surplus(checkpoint, used, err);
    free(used);
    return ok;
}

/* ---- the folder ---- */

/* The folder's own name, also where the path is "." or ends in a slash. */
static char *folder_name(const char *folder)
{
    char *real = realpath(folder, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL;
    char *name = strdup(slash && slash[1] ? slash + 1 : "model");
    free(real);
    return name;
}

bool checkpoint_open(struct checkpoint *checkpoint, const char *folder, struct error *err)
{
    *checkpoint = (struct checkpoint){0};
    char *path;
    if (asprintf(&path, "%s/config.json", folder) < 0) {
        return error_set(err, "not enough memory to open %s", folder);
    }
    json_t *config = load_config(path, folder, err);
    bool ok = config && find_arch(checkpoint, config, path, err) &&
              safetensors_open_folder(&checkpoint->tensors, folder, err) &&
              read_config(checkpoint, config, path, err) && check_tensors(checkpoint, err);
    if (ok) {
        checkpoint->name = folder_name(folder);
        ok = checkpoint->name || error_set(err, "not enough memory to open %s", folder);
    }
    json_decref(config);
    free(path);
    if (!ok) {
        checkpoint_close(checkpoint);
    }
    return ok;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    safetensors_close(&checkpoint->tensors);
    free(checkpoint->name);
    *checkpoint = (struct checkpoint){0};
}
