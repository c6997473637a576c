/* The head of one GGUF file, read from front to back with a cursor that cannot leave the file. */
#include "format/gguf_head.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STRING (UINT64_C(1) << 30)
#define MAX_ARRAY (UINT64_C(1) << 30)
#define MAX_KEY 65535
/* Far above any real file (a few thousand), so that lists of names stay small beside it. */
#define MAX_PAIRS (UINT64_C(1) << 20)
#define MAX_TENSORS (UINT64_C(1) << 22)
#define PAIR_MIN_BYTES (8 + 1 + 4 + 1)
#define TENSOR_MIN_BYTES (8 + 1 + 4 + 4 + 8)

struct cursor {
    const struct map *map;
    uint64_t at;
};

static uint64_t bytes_left(const struct cursor *cursor)
{
    return cursor->map->bytes - cursor->at;
}

static const uint8_t *take(struct cursor *cursor, uint64_t bytes)
{
    if (bytes > bytes_left(cursor)) {
        return NULL;
    }
    const uint8_t *data = cursor->map->data + cursor->at;
    cursor->at += bytes;
    return data;
}

static bool take_u32(struct cursor *cursor, uint32_t *value)
{
    const uint8_t *data = take(cursor, sizeof(*value));
    if (data) {
        memcpy(value, data, sizeof(*value));
    }
    return data != NULL;
}

static bool take_u64(struct cursor *cursor, uint64_t *value)
{
    const uint8_t *data = take(cursor, sizeof(*value));
    if (data) {
        memcpy(value, data, sizeof(*value));
    }
    return data != NULL;
}

static bool take_string(struct cursor *cursor, const char **text, uint64_t *bytes)
{
    if (!take_u64(cursor, bytes) || *bytes > MAX_STRING) {
        return false;
    }
    *text = (const char *)take(cursor, *bytes);
    return *text != NULL;
}

static bool cut_off(const struct cursor *cursor, const char *what, struct error *err)
{
    return error_set(err,
                     "%s: %s at byte %" PRIu64
                     " does not fit the file; the download may be incomplete, or the file damaged",
                     cursor->map->path, what, cursor->at);
}

/* Well-formed UTF-8 (RFC 3629) without control characters. */
static bool is_plain_text(const char *text, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes;) {
        const unsigned char *p = (const unsigned char *)text + i;
        if (p[0] < 0x80) {
            if (p[0] < 0x20 || p[0] == 0x7F) {
                return false;
            }
            i++;
            continue;
        }
        uint64_t n = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
                     : p[0] >= 0xE0 && p[0] <= 0xEF ? 3
                     : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                                    : 0;
        if (n == 0 || n > bytes - i) {
            return false;
        }
        unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : p[0] == 0xC2 ? 0xA0 : 0x80;
        unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
        if (p[1] < low || p[1] > high) {
            return false;
        }
        for (uint64_t k = 2; k < n; k++) {
            if (p[k] < 0x80 || p[k] > 0xBF) {
                return false;
            }
        }
        i += n;
    }
    return true;
}

/* Room for one more element of a list that has n; never more than twice what the file filled. */
static void *grow(void *list, uint64_t n, size_t element_bytes)
{
    if (n >= 16 && (n & (n - 1)) != 0) {
        return list;
    }
    return n > 0 && n < 16 ? list : realloc(list, (n < 16 ? 16 : 2 * n) * element_bytes);
}

/* ---- header ---- */

static bool read_header(struct cursor *cursor, uint32_t *version, uint64_t *n_tensors,
                        uint64_t *n_pairs, struct error *err)
{
    const char *path = cursor->map->path;
    const uint8_t *magic = take(cursor, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) {
        const char *end = strstr(path, ".gguf-split-");
        return error_set(err,
                         end ? "%s is a piece of a file; join the pieces (cat) first"
                             : "%s is not a GGUF file",
                         path);
    }
    if (!take_u32(cursor, version) || !take_u64(cursor, n_tensors) || !take_u64(cursor, n_pairs)) {
        return cut_off(cursor, "the header", err);
    }
    if (*version != 0 && (*version & 0xFFFF) == 0) {
        return error_set(err, "%s is a GGUF file for big-endian machines; get the usual one", path);
    }
    if (*version != 2 && *version != 3) {
        return error_set(err, "%s has GGUF version %" PRIu32 "; versions 2 and 3 can be read", path,
                         *version);
    }
    if (*n_pairs > MAX_PAIRS || *n_pairs > bytes_left(cursor) / PAIR_MIN_BYTES) {
        return error_set(err, "%s claims %" PRIu64 " metadata keys, more than it can have", path,
                         *n_pairs);
    }
    if (*n_tensors > MAX_TENSORS || *n_tensors > bytes_left(cursor) / TENSOR_MIN_BYTES) {
        return error_set(err, "%s claims %" PRIu64 " tensors, more than it can have", path,
                         *n_tensors);
    }
    return true;
}

/* ---- pairs ---- */

/* Bytes of a value of fixed size; 0 for strings and arrays; false if the type is unknown. */
static bool value_bytes(uint32_t type, uint64_t *bytes)
{
    switch (type) {
#define X(NAME, id, name, size) \
    case GGUF_##NAME: \
        *bytes = size; \
        return true;
        GGUF_VALUES(X)
#undef X
    default:
        return false;
    }
}

static bool bad_key(const struct cursor *cursor, const struct gguf_pair *pair, const char *what,
                    struct error *err)
{
    return error_set(err, "%s: key \"%.*s\" %s", cursor->map->path,
                     pair->key_bytes < 100 ? (int)pair->key_bytes : 100, pair->key, what);
}

static bool read_array_head(struct cursor *cursor, struct gguf_pair *pair, uint32_t *type,
                            struct error *err)
{
    uint64_t element;
    pair->is_array = true;
    if (!take_u32(cursor, type) || !take_u64(cursor, &pair->count)) {
        return bad_key(cursor, pair, "is cut off; the download may be incomplete", err);
    }
    if (!value_bytes(*type, &element)) {
        return bad_key(cursor, pair, "is an array of an unknown type", err);
    }
    if (*type == GGUF_ARRAY) {
        return bad_key(cursor, pair, "is an array of arrays, which no GGUF reader takes", err);
    }
    uint64_t least = *type == GGUF_STRING ? sizeof(uint64_t) : element;
    if (pair->count > MAX_ARRAY || pair->count > bytes_left(cursor) / least) {
        return bad_key(cursor, pair, "has an array that is longer than the file", err);
    }
    return true;
}

static bool read_value(struct cursor *cursor, struct gguf_pair *pair, struct error *err)
{
    uint32_t type;
    uint64_t element = 0;
    if (!take_u32(cursor, &type)) {
        return bad_key(cursor, pair, "has no value; the download may be incomplete", err);
    }
    if (!value_bytes(type, &element)) {
        return bad_key(cursor, pair, "has a value of unknown type", err);
    }
    pair->count = 1;
    if (type == GGUF_ARRAY && !read_array_head(cursor, pair, &type, err)) {
        return false;
    }
    value_bytes(type, &element);
    pair->type = (enum gguf_value)type;
    pair->value = cursor->map->data + cursor->at;
    if (type != GGUF_STRING) {
        if (!take(cursor, pair->count * element)) {
            return bad_key(cursor, pair, "has a value that ends behind the file", err);
        }
    } else {
        for (uint64_t i = 0; i < pair->count; i++) {
            const char *text;
            uint64_t bytes;
            if (!take_string(cursor, &text, &bytes)) {
                return bad_key(cursor, pair, "has a string that ends behind the file", err);
            }
        }
    }
    pair->value_bytes = (uint64_t)(cursor->map->data + cursor->at - pair->value);
    return true;
}

static int compare_pairs(const void *a, const void *b, void *context)
{
    const struct gguf_pair *pairs = context;
    const struct gguf_pair *x = &pairs[*(const uint32_t *)a], *y = &pairs[*(const uint32_t *)b];
    if (x->key_bytes != y->key_bytes) {
        return x->key_bytes < y->key_bytes ? -1 : 1;
    }
    return memcmp(x->key, y->key, x->key_bytes);
}

static uint32_t *sorted_index(void *list, uint64_t n,
                              int (*compare)(const void *, const void *, void *))
{
    uint32_t *index = malloc((n ? n : 1) * sizeof(*index));
    if (!index) {
        return NULL;
    }
    for (uint64_t i = 0; i < n; i++) {
        index[i] = (uint32_t)i;
    }
    if (n > 1) {
        qsort_r(index, n, sizeof(*index), compare, list);
    }
    return index;
}

static bool index_pairs(struct gguf *gguf, const char *path, struct error *err)
{
    free(gguf->pairs_by_key);
    gguf->pairs_by_key = sorted_index(gguf->pairs, gguf->n_pairs, compare_pairs);
    if (!gguf->pairs_by_key) {
        return error_set(err, "out of memory while opening %s", path);
    }
    const uint32_t *index = gguf->pairs_by_key;
    for (uint64_t i = 1; i < gguf->n_pairs; i++) {
        if (compare_pairs(&index[i - 1], &index[i], gguf->pairs) == 0) {
            const struct gguf_pair *pair = &gguf->pairs[index[i]];
            return error_set(err, "%s: key \"%.*s\" occurs twice", path,
                             pair->key_bytes < 100 ? (int)pair->key_bytes : 100, pair->key);
        }
    }
    return true;
}

static bool read_pairs(struct cursor *cursor, struct gguf *gguf, uint64_t n, struct error *err)
{
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_pair pair = {0};
        if (!take_string(cursor, &pair.key, &pair.key_bytes)) {
            return cut_off(cursor, "a metadata key", err);
        }
        if (pair.key_bytes == 0 || pair.key_bytes > MAX_KEY ||
            !is_plain_text(pair.key, pair.key_bytes)) {
            return error_set(err, "%s: metadata key number %" PRIu64 " is %s", cursor->map->path,
                             i + 1, pair.key_bytes == 0 ? "empty" : "not text");
        }
        if (!read_value(cursor, &pair, err)) {
            return false;
        }
        void *grown = grow(gguf->pairs, gguf->n_pairs, sizeof(pair));
        if (!grown) {
            return error_set(err, "out of memory while opening %s", cursor->map->path);
        }
        gguf->pairs = grown;
        gguf->pairs[gguf->n_pairs++] = pair;
    }
    return index_pairs(gguf, cursor->map->path, err);
}

/* ---- tensors ---- */

static bool bad_tensor(const struct cursor *cursor, const struct gguf_tensor *tensor,
                       const char *what, struct error *err)
{
    return error_set(err, "%s: tensor \"%.*s\" %s", cursor->map->path, (int)tensor->name_bytes,
                     tensor->name, what);
}

static bool read_tensor_name(struct cursor *cursor, struct gguf_tensor *tensor, uint64_t number,
                             struct error *err)
{
    uint64_t bytes;
    if (!take_string(cursor, &tensor->name, &bytes)) {
        return cut_off(cursor, "a tensor's name", err);
    }
    if (bytes == 0 || bytes > GGUF_MAX_NAME || !is_plain_text(tensor->name, bytes)) {
        return error_set(err, "%s: the name of tensor number %" PRIu64 " is %s", cursor->map->path,
                         number,
                         bytes == 0              ? "empty"
                         : bytes > GGUF_MAX_NAME ? "longer than 63 bytes"
                                                 : "not text");
    }
    tensor->name_bytes = (uint32_t)bytes;
    return true;
}

/* Name, dims and type; bytes if the type's size is known, else UINT64_MAX. */
static bool read_tensor(struct cursor *cursor, struct gguf_tensor *tensor, uint64_t number,
                        uint64_t *offset, struct error *err)
{
    if (!read_tensor_name(cursor, tensor, number, err)) {
        return false;
    }
    if (!take_u32(cursor, &tensor->n_dims)) {
        return cut_off(cursor, "a tensor's record", err);
    }
    if (tensor->n_dims > GGUF_MAX_DIMS) {
        return bad_tensor(cursor, tensor, "has more than 4 dimensions", err);
    }
    uint64_t elements = 1;
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        tensor->dims[i] = 1;
        if (i < tensor->n_dims && !take_u64(cursor, &tensor->dims[i])) {
            return cut_off(cursor, "a tensor's record", err);
        }
        if (tensor->dims[i] > INT64_MAX ||
            __builtin_mul_overflow(elements, tensor->dims[i], &elements) || elements > INT64_MAX) {
            return bad_tensor(cursor, tensor, "has an impossible shape", err);
        }
    }
    if (!take_u32(cursor, &tensor->type) || !take_u64(cursor, offset)) {
        return cut_off(cursor, "a tensor's record", err);
    }
    uint32_t block_elements, block_bytes;
    tensor->bytes = UINT64_MAX;
    if (!gguf_type_size(tensor->type, &block_elements, &block_bytes)) {
        return true;
    }
    if (tensor->dims[0] % block_elements != 0) {
        return bad_tensor(cursor, tensor, "has rows that are not a whole number of blocks", err);
    }
    if (__builtin_mul_overflow(elements / block_elements, (uint64_t)block_bytes, &tensor->bytes) ||
        tensor->bytes > INT64_MAX) {
        return bad_tensor(cursor, tensor, "has an impossible size", err);
    }
    return true;
}

/* The tensors follow one another in order, each padded to the alignment (ggml's rule); one of a
 * type of unknown size reaches to the next. `offsets` are relative to data_start. */
static bool place_tensors(struct cursor *cursor, struct gguf_tensor *tensors,
                          const uint64_t *offsets, uint64_t n, uint64_t alignment,
                          struct error *err)
{
    const struct map *map = cursor->map;
    uint64_t data_start = (cursor->at + alignment - 1) / alignment * alignment; /* at is small */
    uint64_t data_bytes = data_start < map->bytes ? map->bytes - data_start : 0;
    uint64_t expected = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct gguf_tensor *tensor = &tensors[i];
        bool after_unknown = i > 0 && expected == UINT64_MAX;
        if (offsets[i] % alignment != 0) {
            return bad_tensor(cursor, tensor, "has an offset that is not aligned", err);
        }
        if (after_unknown ? offsets[i] < offsets[i - 1] : offsets[i] != expected) {
            return bad_tensor(cursor, tensor, "overlaps another one or leaves a gap before it",
                              err);
        }
        if (after_unknown && offsets[i] <= data_bytes) {
            tensors[i - 1].bytes = offsets[i] - offsets[i - 1];
        }
        bool known = tensor->bytes != UINT64_MAX;
        if (offsets[i] > data_bytes || (known && tensor->bytes > data_bytes - offsets[i])) {
            return bad_tensor(cursor, tensor,
                              "ends behind the end of the file; the download may be incomplete",
                              err);
        }
        tensor->data = map->data + (data_start < map->bytes ? data_start + offsets[i] : map->bytes);
        expected = known ? (offsets[i] + tensor->bytes + alignment - 1) / alignment * alignment
                         : UINT64_MAX;
        if (!known) {
            tensor->bytes = data_bytes - offsets[i]; /* until the next one tells */
        }
    }
    return true;
}

static bool read_tensors(struct cursor *cursor, struct gguf *gguf, uint32_t file, uint64_t n,
                         uint64_t alignment, struct error *err)
{
    uint64_t first = gguf->n_tensors;
    uint64_t *offsets = NULL;
    bool ok = true;
    for (uint64_t i = 0; ok && i < n; i++) {
        struct gguf_tensor tensor = {.file = file};
        uint64_t offset = 0;
        ok = read_tensor(cursor, &tensor, i + 1, &offset, err);
        if (!ok) {
            break;
        }
        void *grown = grow(gguf->tensors, gguf->n_tensors, sizeof(tensor));
        gguf->tensors = grown ? grown : gguf->tensors;
        void *grown_offsets = grow(offsets, i, sizeof(*offsets));
        offsets = grown_offsets ? grown_offsets : offsets;
        if (!grown || !grown_offsets) {
            ok = error_set(err, "out of memory while opening %s", cursor->map->path);
            break;
        }
        gguf->tensors[gguf->n_tensors++] = tensor;
        offsets[i] = offset;
    }
    ok = ok && (n == 0 || place_tensors(cursor, gguf->tensors + first, offsets, n, alignment, err));
    free(offsets);
    return ok;
}

static int compare_tensors(const void *a, const void *b, void *context)
{
    const struct gguf_tensor *tensors = context;
    const struct gguf_tensor *x = &tensors[*(const uint32_t *)a];
    const struct gguf_tensor *y = &tensors[*(const uint32_t *)b];
    if (x->name_bytes != y->name_bytes) {
        return x->name_bytes < y->name_bytes ? -1 : 1;
    }
    return memcmp(x->name, y->name, x->name_bytes);
}

bool gguf_index_tensors(struct gguf *gguf, struct error *err)
{
    const char *path = gguf->files[0].path;
    gguf->tensors_by_name = sorted_index(gguf->tensors, gguf->n_tensors, compare_tensors);
    if (!gguf->tensors_by_name) {
        return error_set(err, "out of memory while opening %s", path);
    }
    const uint32_t *index = gguf->tensors_by_name;
    for (uint64_t i = 1; i < gguf->n_tensors; i++) {
        if (compare_tensors(&index[i - 1], &index[i], gguf->tensors) == 0) {
            const struct gguf_tensor *tensor = &gguf->tensors[index[i]];
            return error_set(err, "%s: tensor \"%.*s\" occurs twice", path, (int)tensor->name_bytes,
                             tensor->name);
        }
    }
    return true;
}

/* ---- the whole head ---- */

static bool read_alignment(const struct gguf *gguf, const char *path, uint64_t *alignment,
                           struct error *err)
{
    const struct gguf_pair *pair = gguf_find_pair(gguf, "general.alignment");
    *alignment = GGUF_DEFAULT_ALIGNMENT;
    if (!pair) {
        return true;
    }
    if (pair->type != GGUF_U32 || pair->is_array || !gguf_value_u64(pair, 0, alignment) ||
        *alignment == 0 || (*alignment & (*alignment - 1)) != 0) {
        return error_set(err, "%s: general.alignment is not a power of two of type u32", path);
    }
    return true;
}

static bool read_split(const struct gguf *gguf, const char *path, struct gguf_split *split,
                       struct error *err)
{
    const struct {
        const char *key;
        uint64_t *value;
    } keys[] = {{"split.no", &split->number},
                {"split.count", &split->count},
                {"split.tensors.count", &split->tensors}};
    *split = (struct gguf_split){0};
    split->present = gguf_find_pair(gguf, "split.count") != NULL;
    for (size_t i = 0; split->present && i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct gguf_pair *pair = gguf_find_pair(gguf, keys[i].key);
        if (!gguf_value_u64(pair, 0, keys[i].value) || pair->is_array) {
            return error_set(err, "%s is part of a split model, but its key %s is %s", path,
                             keys[i].key, pair ? "not a whole number" : "missing");
        }
    }
    return true;
}

bool gguf_read_head(struct gguf *gguf, uint32_t file, bool keep_pairs, struct gguf_split *split,
                    struct error *err)
{
    struct cursor cursor = {&gguf->files[file], 0};
    const char *path = cursor.map->path;
    struct gguf other = {0}; /* the pairs of a further part: looked at, not kept */
    struct gguf *target = keep_pairs ? gguf : &other;
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_pairs = 0, alignment = 0;
    bool ok = read_header(&cursor, &version, &n_tensors, &n_pairs, err) &&
              read_pairs(&cursor, target, n_pairs, err) &&
              read_alignment(target, path, &alignment, err) && read_split(target, path, split, err);
    if (ok && gguf->n_tensors + n_tensors > MAX_TENSORS) {
        ok = error_set(err, "%s and the parts before it have too many tensors", path);
    }
    ok = ok && read_tensors(&cursor, gguf, file, n_tensors, alignment, err);
    if (keep_pairs) {
        gguf->version = ok ? version : 0;
    }
    gguf_close(&other);
    return ok;
}
