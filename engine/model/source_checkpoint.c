/* A Hugging Face checkpoint: a folder with config.json and safetensors. */
#include "engine/model/source_checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/map.h"

#define MAX_CONFIG_BYTES (1u << 20)
#define MAX_TILE (1u << 20)
#define USUAL_TILE 128
#define RELEASE_MARGIN (64u << 10) /* as far as Linux maps around a fault */

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
    if (!map_is_there(path)) {
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

static bool find_arch(struct checkpoint *c, const json_t *config, const char *path,
                      struct error *err)
{
    const json_t *list = json_object_get(config, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name) {
        return error_set(err, "%s does not name an architecture", path);
    }
    c->source.arch = arch_find_config(name);
    if (!c->source.arch) {
        char known[256];
        arch_config_names(known, sizeof(known));
        return error_set(err, "%s: architecture %.80s is not one of those this version knows (%s)",
                         path, name, known);
    }
    return true;
}

/* The tiles of FP8 scales: [rows, columns]. */
static bool read_tiles(struct checkpoint *c, const json_t *method, const char *path,
                       struct error *err)
{
    const json_t *size = json_object_get(method, "weight_block_size");
    if (!size || json_is_null(size)) {
        return true;
    }
    json_int_t rows = json_integer_value(json_array_get(size, 0));
    json_int_t cols = json_integer_value(json_array_get(size, 1));
    if (json_array_size(size) != 2 || rows < 1 || rows > MAX_TILE || cols < 1 || cols > MAX_TILE) {
        return error_set(err, "%s: weight_block_size is not a pair of sizes", path);
    }
    c->tile_rows = (uint32_t)rows;
    c->tile_cols = (uint32_t)cols;
    return true;
}

/* Takes quantization_config out of the config: what it says is followed here. */
static bool read_quantization(struct checkpoint *c, json_t *config, const char *path,
                              struct error *err)
{
    const json_t *method = json_object_get(config, "quantization_config");
    if (!method || json_is_null(method)) {
        return true;
    }
    const char *name = json_string_value(json_object_get(method, "quant_method"));
    const json_t *fmt = json_object_get(method, "fmt");
    bool ok;
    if (name && strcmp(name, "fp8") == 0) {
        c->is_fp8 = true;
        ok = read_tiles(c, method, path, err);
        if (ok && json_is_string(fmt) && strcmp(json_string_value(fmt), "e4m3") != 0) {
            ok = error_set(err, "%s: quantization_config has fmt %.40s; only e4m3 can be read",
                           path, json_string_value(fmt));
        }
    } else {
        ok = (name && strcmp(name, "mxfp4") == 0) ||
             error_set(err,
                       "%s: quantization_config has quant_method %.40s, which cannot be read; fp8 "
                       "and mxfp4 can, and checkpoints that are not quantised",
                       path, name ? name : "(none)");
    }
    json_object_del(config, "quantization_config");
    return ok;
}

static const char *head_name(const struct arch *arch)
{
    for (uint32_t i = 0; i < arch->n_weights; i++) {
        if (arch->weights[i].role == ROLE_OUTPUT && arch->weights[i].hf.name) {
            return arch->weights[i].hf.name;
        }
    }
    return "lm_head.weight";
}

static bool read_config(struct checkpoint *c, json_t *config, const char *path, struct error *err)
{
    struct source *source = &c->source;
    if (!read_quantization(c, config, path, err) ||
        !hparams_from_config(&source->hparams, source->arch, config, path, err)) {
        return false;
    }
    bool has_experts = source->hparams.experts > 0;
    bool wants_experts = source->arch->hf_ffn[FFN_ROUTED][0].layout != FFN_NONE;
    if (has_experts != wants_experts) {
        return error_set(err, "%s: num_experts is %" PRIu32 ", which does not fit %s", path,
                         source->hparams.experts, source->arch->config_name);
    }
    const json_t *tie = json_object_get(config, "tie_word_embeddings");
    const char *head = head_name(source->arch);
    bool has_head = checkpoint_has_tensor(c, head);
    if (json_is_false(tie) && !has_head) {
        return error_set(err, "%s: tie_word_embeddings is false, but there is no %s", path, head);
    }
    source->tied = json_is_true(tie) || !has_head;
    return true;
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

static void close_checkpoint(struct source *source)
{
    struct checkpoint *c = (struct checkpoint *)source;
    for (uint64_t i = 0; c->scales && i < c->tensors.n_tensors; i++) {
        free(c->scales[i]);
    }
    free(c->scales);
    safetensors_close(&c->tensors);
    free(c);
}

static void release_rows(const struct source *source, const struct source_matrix *matrix,
                         uint64_t row, uint64_t n)
{
    const struct checkpoint *c = (const struct checkpoint *)source;
    const uint8_t *begin;
    uint64_t bytes;
    source_matrix_span(matrix, row, n, &begin, &bytes);
    for (uint32_t i = 0; i < c->tensors.n_files; i++) {
        const struct map *map = &c->tensors.files[i];
        if (begin < map->data || begin >= map->data + map->bytes) {
            continue;
        }
        /* A fault maps its neighbours, too: without the margin, some of those would stay for every
         * tensor of the file. Pages of a neighbour in use come back when they are touched. */
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        uint64_t first = (uint64_t)(begin - map->data), end = first + bytes;
        first -= first < RELEASE_MARGIN ? first : RELEASE_MARGIN;
        first -= first % page;
        end = map->bytes - end < RELEASE_MARGIN ? map->bytes : end + RELEASE_MARGIN;
        madvise((void *)(map->data + first), end - first, MADV_DONTNEED);
        return;
    }
}

static bool is_part(const struct source *source, const char *path)
{
    const struct checkpoint *c = (const struct checkpoint *)source;
    struct stat output, file;
    if (stat(path, &output) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < c->tensors.n_files; i++) {
        if (stat(c->tensors.files[i].path, &file) == 0 && file.st_dev == output.st_dev &&
            file.st_ino == output.st_ino) {
            return true;
        }
    }
    return false;
}

static const struct source_functions functions = {
    .matrix = checkpoint_matrix,
    .ffn = checkpoint_ffn,
    .release = release_rows,
    .is_part = is_part,
    .close = close_checkpoint,
};

static bool open_parts(struct checkpoint *c, const char *path, const char *folder,
                       struct error *err)
{
    json_t *config = load_config(path, folder, err);
    bool ok = config && find_arch(c, config, path, err) &&
              safetensors_open_folder(&c->tensors, folder, err) &&
              read_config(c, config, path, err) && checkpoint_check_tensors(c, err);
    json_decref(config);
    return ok;
}

struct source *source_open_checkpoint(const char *folder, struct error *err)
{
    struct checkpoint *c = calloc(1, sizeof(*c));
    char *path = NULL;
    if (asprintf(&path, "%s/config.json", folder) < 0) {
        path = NULL;
    }
    if (!c || !path) {
        free(path);
        free(c);
        error_set(err, "not enough memory to open %s", folder);
        return NULL;
    }
    struct source *source = &c->source;
    source->functions = &functions;
    c->tile_rows = c->tile_cols = USUAL_TILE;
    source->format = "safetensors";
    source->path = strdup(folder);
    source->name = folder_name(folder);
    bool ok =
        (source->path && source->name) || error_set(err, "not enough memory to open %s", folder);
    ok = ok && open_parts(c, path, folder, err);
    free(path);
    if (!ok) {
        source_close(&source);
        return NULL;
    }
    source->n_files = c->tensors.n_files;
    source->n_tensors = c->tensors.n_tensors;
    source->n_unlisted = c->tensors.n_unlisted;
    return source;
}
