#include "format/safetensors.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "format/f16.h"

#define MAX_HEADER_BYTES 100000000u /* the reference reader's limit */
#define MAX_INDEX_BYTES 100000000u
#define MAX_FILES 4096
#define RELEASE_MARGIN (64u << 10) /* as far as Linux maps around a fault */
/* A parsed JSON text takes some 150 bytes a value. The largest real header (a model with 140,000
 * expert matrices in one file) has about a million. */
#define MAX_JSON_VALUES 2000000

static const struct {
    const char *name;
    uint32_t bits;
} dtypes[SAFETENSORS_N_DTYPES] = {
#define X(NAME, bits) {#NAME, bits},
    SAFETENSORS_DTYPES(X)
#undef X
};

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    return dtypes[dtype].name;
}

bool safetensors_is_float(enum safetensors_dtype dtype)
{
    return dtype == SAFETENSORS_F32 || dtype == SAFETENSORS_F16 || dtype == SAFETENSORS_BF16;
}

const char *safetensors_shape_text(const uint64_t *shape, uint32_t rank,
                                   char text[SAFETENSORS_SHAPE_TEXT])
{
    size_t used = 0;
    text[used++] = '[';
    for (uint32_t i = 0; i < rank; i++) {
        used += (size_t)snprintf(text + used, SAFETENSORS_SHAPE_TEXT - used, "%s%" PRIu64,
                                 i ? ", " : "", shape[i]);
    }
    snprintf(text + used, SAFETENSORS_SHAPE_TEXT - used, "]");
    return text;
}

/* The object that is all of the text. NULL with a sentence. */
static json_t *parse_object(const char *text, uint64_t bytes, const char *what, const char *path,
                            struct error *err)
{
    uint64_t values = 0;
    for (uint64_t i = 0; i < bytes; i++) {
        values += text[i] == ',' || text[i] == '{' || text[i] == '[';
    }
    if (values > MAX_JSON_VALUES) {
        error_set(err, "%s: %s has more than %d values", path, what, MAX_JSON_VALUES);
        return NULL;
    }
    json_error_t where;
    json_t *object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &where);
    if (!object) {
        error_set(err, "%s: %s is not valid JSON: %s", path, what, where.text);
        return NULL;
    }
    if (!json_is_object(object)) {
        error_set(err, "%s: %s is not a JSON object", path, what);
        json_decref(object);
        return NULL;
    }
    return object;
}

/* ---- one tensor of a header ---- */

static bool read_dtype(const json_t *value, enum safetensors_dtype *dtype)
{
    const char *name = json_string_value(value);
    for (uint32_t i = 0; name && i < SAFETENSORS_N_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (enum safetensors_dtype)i;
            return true;
        }
    }
    return false;
}

static bool read_whole(const json_t *value, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > (json_int_t)1 << 53) {
        return false;
    }
    *number = (uint64_t)json_integer_value(value);
    return true;
}

/* Shape and number of elements; false if the shape is none or its product has 2^60 and more. */
static bool read_shape(const json_t *value, struct safetensors_tensor *tensor)
{
    if (!json_is_array(value) || json_array_size(value) > SAFETENSORS_MAX_RANK) {
        return false;
    }
    tensor->rank = (uint32_t)json_array_size(value);
    tensor->elements = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (!read_whole(json_array_get(value, i), &tensor->shape[i]) ||
            __builtin_mul_overflow(tensor->elements, tensor->shape[i], &tensor->elements) ||
            tensor->elements >> 60) {
            return false;
        }
    }
    return true;
}

/* `data` is the file's byte buffer; *begin is where in it the tensor starts. */
static bool read_tensor(struct safetensors_tensor *tensor, const char *path, const json_t *value,
                        const uint8_t *data, uint64_t data_bytes, uint64_t *begin,
                        struct error *err)
{
    const json_t *offsets = json_object_get(value, "data_offsets");
    if (!json_is_object(value) || json_object_size(value) != 3) {
        return error_set(err, "%s: tensor \"%s\" does not have dtype, shape and data_offsets", path,
                         tensor->name);
    }
    const json_t *dtype = json_object_get(value, "dtype");
    if (!read_dtype(dtype, &tensor->dtype)) {
        return error_set(err, "%s: tensor \"%s\" has an unknown dtype %.40s", path, tensor->name,
                         json_is_string(dtype) ? json_string_value(dtype) : "(not a string)");
    }
    if (!read_shape(json_object_get(value, "shape"), tensor)) {
        return error_set(err, "%s: tensor \"%s\" has an impossible shape", path, tensor->name);
    }
    uint64_t end;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !read_whole(json_array_get(offsets, 0), begin) ||
        !read_whole(json_array_get(offsets, 1), &end) || end < *begin) {
        return error_set(err, "%s: tensor \"%s\" has impossible data_offsets", path, tensor->name);
    }
    if (end > data_bytes) {
        return error_set(err,
                         "%s: tensor \"%s\" ends %" PRIu64
                         " bytes behind the end of the file; the download may be incomplete",
                         path, tensor->name, end - data_bytes);
    }
    uint64_t bits;
    if (__builtin_mul_overflow(tensor->elements, (uint64_t)dtypes[tensor->dtype].bits, &bits) ||
        bits % 8 != 0 || bits / 8 != end - *begin) {
        char shape[SAFETENSORS_SHAPE_TEXT];
        return error_set(err, "%s: tensor \"%s\" of shape %s and dtype %s has %" PRIu64 " bytes",
                         path, tensor->name,
                         safetensors_shape_text(tensor->shape, tensor->rank, shape),
                         dtypes[tensor->dtype].name, end - *begin);
    }
    tensor->data = data + *begin;
    tensor->bytes = end - *begin;
    return true;
}

/* ---- one file ---- */

static int compare_data(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->data != y->data) {
        return x->data < y->data ? -1 : 1;
    }
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

/* Sorted by place, the tensors must fill the byte buffer without gap or overlap. */
static bool check_places(const char *path, struct safetensors_tensor *tensors, uint64_t n,
                         const uint8_t *data, uint64_t data_bytes, struct error *err)
{
    if (n > 0) {
        qsort(tensors, n, sizeof(*tensors), compare_data);
    }
    const uint8_t *end = data;
    for (uint64_t i = 0; i < n; i++) {
        if (tensors[i].data != end) {
            return error_set(err, "%s: tensor \"%s\" %s", path, tensors[i].name,
                             tensors[i].data < end ? "overlaps another one"
                                                   : "has unused bytes before it");
        }
        end += tensors[i].bytes;
    }
    if (end != data + data_bytes) {
        return error_set(err, "%s has %" PRIu64 " bytes that belong to no tensor", path,
                         (uint64_t)(data + data_bytes - end));
    }
    return true;
}

static bool check_metadata(const char *path, json_t *metadata, struct error *err)
{
    bool ok = json_is_object(metadata);
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        ok = ok && json_is_string(value);
    }
    return ok || error_set(err, "%s: __metadata__ is not a table of texts", path);
}

static void free_tensors(struct safetensors_tensor *tensors, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        free(tensors[i].name);
    }
    free(tensors);
}

static bool read_header(struct safetensors *st, const struct map *map, json_t *header,
                        const uint8_t *data, struct error *err)
{
    uint64_t data_bytes = map->bytes - (uint64_t)(data - map->data);
    st->tensors = calloc(json_object_size(header) + 1, sizeof(*st->tensors));
    if (!st->tensors) {
        return error_set(err, "not enough memory for the header of %s", map->path);
    }
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            if (!check_metadata(map->path, value, err)) {
                return false;
            }
            continue;
        }
        if (strlen(name) > SAFETENSORS_MAX_NAME) {
            return error_set(err, "%s: the tensor name that begins \"%.40s\" is too long",
                             map->path, name);
        }
        struct safetensors_tensor *tensor = &st->tensors[st->n_tensors];
        tensor->name = strdup(name);
        if (!tensor->name) {
            return error_set(err, "not enough memory for the header of %s", map->path);
        }
        st->n_tensors++;
        uint64_t begin;
        if (!read_tensor(tensor, map->path, value, data, data_bytes, &begin, err)) {
            return false;
        }
    }
    return check_places(map->path, st->tensors, st->n_tensors, data, data_bytes, err);
}

/* All tensors of one mapped file, in the order of their places. */
static bool read_file(struct safetensors *st, const struct map *map, struct error *err)
{
    if (map->bytes < 8) {
        return error_set(err, "%s is too short to be a safetensors file", map->path);
    }
    uint64_t header_bytes = 0;
    for (uint32_t i = 0; i < 8; i++) {
        header_bytes |= (uint64_t)map->data[i] << 8 * i;
    }
    if (header_bytes > MAX_HEADER_BYTES) {
        return error_set(
            err, "%s is not a safetensors file (it would have a header of %" PRIu64 " bytes)",
            map->path, header_bytes);
    }
    const char *text = map_slice(map, 8, header_bytes);
    if (!text) {
        return error_set(err, "%s is shorter than its header; the download may be incomplete",
                         map->path);
    }
    if (header_bytes == 0 || text[0] != '{') {
        return error_set(err, "%s is not a safetensors file (its header is no JSON object)",
                         map->path);
    }
    json_t *header = parse_object(text, header_bytes, "the header", map->path, err);
    if (!header) {
        return false;
    }
    bool ok = read_header(st, map, header, (const uint8_t *)text + header_bytes, err);
    json_decref(header);
    return ok;
}

static int compare_names(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Opens the next file; `*one` receives its tensors. */
static bool open_file(struct safetensors *st, struct safetensors *one, const char *path,
                      struct error *err)
{
    struct map *files = realloc(st->files, (st->n_files + 1) * sizeof(*files));
    if (!files) {
        return error_set(err, "not enough memory to open %s", path);
    }
    st->files = files;
    struct map *map = &files[st->n_files];
    if (!map_open(map, path, err)) {
        return false;
    }
    st->n_files++;
    return read_file(one, map, err);
}

bool safetensors_open(struct safetensors *st, const char *path, struct error *err)
{
    *st = (struct safetensors){0};
    if (!open_file(st, st, path, err)) {
        safetensors_close(st);
        return false;
    }
    if (st->n_tensors > 0) {
        qsort(st->tensors, st->n_tensors, sizeof(*st->tensors), compare_names);
    }
    return true;
}

void safetensors_close(struct safetensors *st)
{
    free_tensors(st->tensors, st->n_tensors);
    for (uint32_t i = 0; i < st->n_files; i++) {
        map_close(&st->files[i]);
    }
    free(st->files);
    *st = (struct safetensors){0};
}

/* ---- shards ---- */

/* One name of a file in the index: in the same folder, and nothing else. */
static bool is_plain_name(const char *name)
{
    return name[0] != 0 && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* The files that the map names, each once, in order of their names. They stay owned by the map. */
static bool list_shards(json_t *weight_map, const char *path, const char ***list, uint32_t *n,
                        struct error *err)
{
    json_t *seen = json_object();
    const char *name;
    json_t *value;
    bool ok = seen != NULL;
    if (!ok) {
        return error_set(err, "not enough memory to read %s", path);
    }
    json_object_foreach(weight_map, name, value)
    {
        const char *file = json_string_value(value);
        if (!file) {
            ok = error_set(err, "%s: the file of tensor \"%.80s\" is not a text", path, name);
            break;
        }
        if (!is_plain_name(file)) {
            ok = error_set(err, "%s: \"%.80s\" is not a file name in the same folder", path, file);
            break;
        }
        if (json_object_set(seen, file, value) != 0) {
            ok = error_set(err, "not enough memory to read %s", path);
            break;
        }
        if (json_object_size(seen) > MAX_FILES) {
            ok = error_set(err, "%s lists more than %d files", path, MAX_FILES);
            break;
        }
    }
    *n = (uint32_t)json_object_size(seen);
    *list = calloc(*n + 1, sizeof(char *));
    if (ok && !*list) {
        ok = error_set(err, "not enough memory to read %s", path);
    }
    uint32_t i = 0;
    json_object_foreach(seen, name, value)
    {
        if (ok) {
            (*list)[i++] = json_string_value(value);
        }
    }
    json_decref(seen);
    return ok;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Moves the tensors that the index places in this file from `one` to st, and counts the others. */
static void take_listed(struct safetensors *st, struct safetensors *one, const char *file,
                        json_t *weight_map)
{
    for (uint64_t i = 0; i < one->n_tensors; i++) {
        struct safetensors_tensor *tensor = &one->tensors[i];
        const char *listed = json_string_value(json_object_get(weight_map, tensor->name));
        if (listed && strcmp(listed, file) == 0) {
            st->tensors[st->n_tensors] = *tensor;
            st->tensors[st->n_tensors++].file = st->n_files - 1;
            tensor->name = NULL;
        } else {
            st->n_unlisted++;
        }
    }
}

static bool open_shard(struct safetensors *st, const char *folder, const char *file,
                       json_t *weight_map, struct error *err)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, file) < 0) {
        return error_set(err, "not enough memory to open %s", file);
    }
    struct safetensors one = {0};
    bool ok;
    if (access(path, F_OK) != 0) {
        ok = error_set(err,
                       "%s is missing, although model.safetensors.index.json lists it; "
                       "download the checkpoint again",
                       path);
    } else {
        ok = open_file(st, &one, path, err);
    }
    if (ok) {
        take_listed(st, &one, file, weight_map);
    }
    free_tensors(one.tensors, one.n_tensors);
    free(path);
    return ok;
}

static bool check_all_found(const struct safetensors *st, json_t *weight_map, const char *path,
                            struct error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(weight_map, name, value)
    {
        if (!safetensors_find(st, name)) {
            return error_set(err, "%s: tensor \"%.200s\" is not in %.200s, where it should be",
                             path, name, json_string_value(value));
        }
    }
    return true;
}

static bool open_shards(struct safetensors *st, const char *folder, json_t *weight_map,
                        const char *index_path, struct error *err)
{
    const char **list = NULL;
    uint32_t n = 0;
    bool ok = list_shards(weight_map, index_path, &list, &n, err);
    if (ok) {
        qsort(list, n, sizeof(*list), compare_texts);
        st->tensors = calloc(json_object_size(weight_map) + 1, sizeof(*st->tensors));
        ok = st->tensors || error_set(err, "not enough memory to read %s", index_path);
    }
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = open_shard(st, folder, list[i], weight_map, err);
    }
    free(list);
    if (ok && st->n_tensors > 0) {
        qsort(st->tensors, st->n_tensors, sizeof(*st->tensors), compare_names);
    }
    return ok && check_all_found(st, weight_map, index_path, err);
}

static bool open_index(struct safetensors *st, const char *folder, const char *path,
                       struct error *err)
{
    struct map map;
    if (!map_open(&map, path, err)) {
        return false;
    }
    bool ok = false;
    json_t *index = NULL;
    if (map.bytes > MAX_INDEX_BYTES) {
        error_set(err, "%s is too large for an index", path);
    } else {
        index = parse_object((const char *)map.data, map.bytes, "the index", path, err);
    }
    if (index) {
        json_t *weight_map = json_object_get(index, "weight_map");
        if (!json_is_object(weight_map) || json_object_size(weight_map) == 0) {
            error_set(err, "%s has no weight_map", path);
        } else {
            ok = open_shards(st, folder, weight_map, path, err);
        }
        json_decref(index);
    }
    map_close(&map);
    if (!ok) {
        safetensors_close(st);
    }
    return ok;
}

bool safetensors_open_folder(struct safetensors *st, const char *folder, struct error *err)
{
    *st = (struct safetensors){0};
    char *single = NULL, *index = NULL;
    bool ok = false;
    if (asprintf(&single, "%s/model.safetensors", folder) < 0) {
        single = NULL;
    }
    if (asprintf(&index, "%s/model.safetensors.index.json", folder) < 0) {
        index = NULL;
    }
    if (!single || !index) {
        error_set(err, "not enough memory to open %s", folder);
    } else if (access(single, F_OK) == 0) {
        ok = safetensors_open(st, single, err);
    } else if (access(index, F_OK) == 0) {
        ok = open_index(st, folder, index, err);
    } else {
        error_set(err,
                  "%s has neither model.safetensors nor model.safetensors.index.json; other "
                  "kinds of checkpoints cannot be read",
                  folder);
    }
    free(single);
    free(index);
    return ok;
}

/* ---- use ---- */

const struct safetensors_tensor *safetensors_find(const struct safetensors *st, const char *name)
{
    uint64_t low = 0, high = st->n_tensors;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int order = strcmp(st->tensors[middle].name, name);
        if (order == 0) {
            return &st->tensors[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void safetensors_read(const struct safetensors_tensor *tensor, uint64_t first, uint64_t n,
                      float *values)
{
    assert(safetensors_is_float(tensor->dtype));
    assert(first <= tensor->elements && n <= tensor->elements - first);
    const uint8_t *data = tensor->data + first * (dtypes[tensor->dtype].bits / 8);
    if (tensor->dtype == SAFETENSORS_F32) {
        memcpy(values, data, n * sizeof(float));
        return;
    }
    bool is_bf16 = tensor->dtype == SAFETENSORS_BF16;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i, sizeof(bits));
        values[i] = is_bf16 ? f32_from_bf16(bits) : f32_from_f16(bits);
    }
}

void safetensors_release(const struct safetensors *st, const struct safetensors_tensor *tensor,
                         uint64_t first, uint64_t n)
{
    assert(first <= tensor->elements && n <= tensor->elements - first);
    const struct map *map = &st->files[tensor->file];
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t bits = dtypes[tensor->dtype].bits;
    uint64_t begin = (uint64_t)(tensor->data - map->data) + first * bits / 8;
    uint64_t end = begin + n * bits / 8;
    /* A fault maps its neighbours, too: without the margin, some of those would stay for every
     * tensor of the file. Pages of a neighbour in use come back when they are touched. */
    begin -= begin < RELEASE_MARGIN ? begin : RELEASE_MARGIN;
    begin -= begin % page;
    end = map->bytes - end < RELEASE_MARGIN ? map->bytes : end + RELEASE_MARGIN;
    if (end > begin) {
        madvise((void *)(map->data + begin), end - begin, MADV_DONTNEED);
    }
}
