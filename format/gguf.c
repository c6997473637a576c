#include "format/gguf.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/gguf_types.h"

#define RELEASE_MARGIN (64u << 10) /* as far as Linux maps around a fault */

static const struct {
    uint32_t id;
    const char *name;
    uint32_t block_elements, block_bytes;
} types[] = {
#define X(id, name, elements, bytes) {id, name, elements, bytes},
    GGUF_TYPES(X)
#undef X
};
#define N_TYPES (sizeof(types) / sizeof(types[0]))

const char *gguf_type_name(uint32_t type, char text[24])
{
    for (size_t i = 0; i < N_TYPES; i++) {
        if (types[i].id == type) {
            return types[i].name;
        }
    }
    snprintf(text, 24, "type %u", (unsigned)type);
    return text;
}

bool gguf_type_size(uint32_t type, uint32_t *block_elements, uint32_t *block_bytes)
{
    for (size_t i = 0; i < N_TYPES; i++) {
        if (types[i].id == type && types[i].block_elements > 0) {
            *block_elements = types[i].block_elements;
            *block_bytes = types[i].block_bytes;
            return true;
        }
    }
    return false;
}

const char *gguf_value_name(enum gguf_value value)
{
    switch (value) {
#define X(NAME, id, name, bytes) \
    case GGUF_##NAME: \
        return name;
        GGUF_VALUES(X)
#undef X
    }
    return "?";
}

bool gguf_is_file(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return false;
    }
    char magic[4];
    bool is = read(descriptor, magic, sizeof(magic)) == sizeof(magic) &&
              memcmp(magic, "GGUF", sizeof(magic)) == 0;
    close(descriptor);
    return is;
}

/* ---- finding by name ---- */

static int compare_text(const char *a, uint64_t a_bytes, const char *b, uint64_t b_bytes)
{
    if (a_bytes != b_bytes) {
        return a_bytes < b_bytes ? -1 : 1;
    }
    return memcmp(a, b, a_bytes);
}

const struct gguf_pair *gguf_find_pair(const struct gguf *gguf, const char *key)
{
    uint64_t low = 0, high = gguf->n_pairs, bytes = strlen(key);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct gguf_pair *pair = &gguf->pairs[gguf->pairs_by_key[middle]];
        int order = compare_text(key, bytes, pair->key, pair->key_bytes);
        if (order == 0) {
            return pair;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *gguf, const char *name)
{
    uint64_t low = 0, high = gguf->n_tensors, bytes = strlen(name);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        const struct gguf_tensor *tensor = &gguf->tensors[gguf->tensors_by_name[middle]];
        int order = compare_text(name, bytes, tensor->name, tensor->name_bytes);
        if (order == 0) {
            return tensor;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

/* ---- values ---- */

/* An integer of any type as its sign and its 64 bits (two's complement). */
static bool read_integer(const struct gguf_pair *pair, uint64_t index, uint64_t *bits,
                         bool *negative)
{
    if (!pair || index >= pair->count) {
        return false;
    }
    int64_t number = 0;
    switch (pair->type) {
#define INTEGER(NAME, type) \
    case GGUF_##NAME: { \
        type element; \
        memcpy(&element, pair->value + index * sizeof(element), sizeof(element)); \
        number = (int64_t)element; \
        break; \
    }
        INTEGER(U8, uint8_t)
        INTEGER(I8, int8_t)
        INTEGER(U16, uint16_t)
        INTEGER(I16, int16_t)
        INTEGER(U32, uint32_t)
        INTEGER(I32, int32_t)
        INTEGER(U64, uint64_t)
        INTEGER(I64, int64_t)
#undef INTEGER
    default:
        return false;
    }
    *bits = (uint64_t)number;
    *negative = number < 0 && pair->type != GGUF_U64;
    return true;
}

bool gguf_value_u64(const struct gguf_pair *pair, uint64_t index, uint64_t *value)
{
    uint64_t bits;
    bool negative;
    if (!read_integer(pair, index, &bits, &negative) || negative) {
        return false;
    }
    *value = bits;
    return true;
}

bool gguf_value_i64(const struct gguf_pair *pair, uint64_t index, int64_t *value)
{
    uint64_t bits;
    bool negative;
    if (!read_integer(pair, index, &bits, &negative) || (!negative && bits > INT64_MAX)) {
        return false;
    }
    *value = (int64_t)bits;
    return true;
}

bool gguf_value_f64(const struct gguf_pair *pair, uint64_t index, double *value)
{
    uint64_t bits;
    bool negative;
    if (read_integer(pair, index, &bits, &negative)) {
        *value = negative ? (double)(int64_t)bits : (double)bits;
        return true;
    }
    if (!pair || index >= pair->count) {
        return false;
    }
    if (pair->type == GGUF_F32) {
        float number;
        memcpy(&number, pair->value + index * sizeof(number), sizeof(number));
        *value = (double)number;
        return true;
    }
    if (pair->type == GGUF_F64) {
        memcpy(value, pair->value + index * sizeof(*value), sizeof(*value));
        return true;
    }
    return false;
}

bool gguf_value_bool(const struct gguf_pair *pair, uint64_t index, bool *value)
{
    if (!pair || index >= pair->count || pair->type != GGUF_BOOL) {
        return false;
    }
    *value = pair->value[index] != 0; /* the text knows 0 and 1; ggml takes any */
    return true;
}

struct gguf_strings gguf_strings(const struct gguf_pair *pair)
{
    if (!pair || pair->type != GGUF_STRING) {
        return (struct gguf_strings){0};
    }
    return (struct gguf_strings){pair->value, pair->count};
}

bool gguf_next_string(struct gguf_strings *walk, const char **text, uint64_t *bytes)
{
    if (walk->left == 0) {
        return false;
    }
    memcpy(bytes, walk->next, sizeof(*bytes));
    *text = (const char *)walk->next + sizeof(*bytes);
    walk->next += sizeof(*bytes) + *bytes;
    walk->left--;
    return true;
}

bool gguf_value_string(const struct gguf_pair *pair, const char **text, uint64_t *bytes)
{
    struct gguf_strings walk = gguf_strings(pair);
    return pair && !pair->is_array && gguf_next_string(&walk, text, bytes);
}

/* ---- memory ---- */

static const struct map *find_map(const struct gguf *gguf, const uint8_t *data)
{
    for (uint32_t i = 0; i < gguf->n_files; i++) {
        const struct map *map = &gguf->files[i];
        if ((uintptr_t)data >= (uintptr_t)map->data &&
            (uintptr_t)data - (uintptr_t)map->data < map->bytes) {
            return map;
        }
    }
    return NULL;
}

void gguf_release(const struct gguf *gguf, const uint8_t *data, uint64_t bytes)
{
    const struct map *map = find_map(gguf, data);
    if (!map) {
        return;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t begin = (uint64_t)(data - map->data), end = begin + bytes;
    assert(bytes <= map->bytes - begin);
    /* A fault maps its neighbours, too; those in use come back when they are touched. */
    begin -= begin < RELEASE_MARGIN ? begin : RELEASE_MARGIN;
    begin -= begin % page;
    end = map->bytes - end < RELEASE_MARGIN ? map->bytes : end + RELEASE_MARGIN;
    if (end > begin) {
        madvise((void *)(map->data + begin), end - begin, MADV_DONTNEED);
    }
}

void gguf_close(struct gguf *gguf)
{
    for (uint32_t i = 0; i < gguf->n_files; i++) {
        map_close(&gguf->files[i]);
    }
    free(gguf->files);
    free(gguf->pairs);
    free(gguf->tensors);
    free(gguf->pairs_by_key);
    free(gguf->tensors_by_name);
    *gguf = (struct gguf){0};
}
