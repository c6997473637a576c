/* `moxie inspect --json` of a GGUF file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/inspect.h"
#include "tools/inspect_gguf.h"
#include "tools/json_value.h"

#define SHOWN_ELEMENTS 64

static json_t *number_json(const struct gguf_pair *pair, uint64_t index)
{
    uint64_t whole;
    int64_t number;
    double real;
    bool flag;
    if (gguf_value_u64(pair, index, &whole)) {
        return json_value_whole(whole);
    }
    if (gguf_value_i64(pair, index, &number)) {
        return json_integer((json_int_t)number);
    }
    if (gguf_value_f64(pair, index, &real)) {
        return json_value_real(real);
    }
    return gguf_value_bool(pair, index, &flag) ? json_boolean(flag) : json_null();
}

/* A value as it is; an array as a list, or, if it is long, as its type, count and beginning. */
static json_t *pair_json(const struct gguf_pair *pair, bool all)
{
    const char *text;
    uint64_t bytes;
    struct gguf_strings walk = gguf_strings(pair);
    if (!pair->is_array) {
        return gguf_next_string(&walk, &text, &bytes) ? json_value_text(text, bytes)
                                                      : number_json(pair, 0);
    }
    json_t *list = json_array();
    uint64_t shown = all || pair->count < SHOWN_ELEMENTS ? pair->count : SHOWN_ELEMENTS;
    bool ok = list != NULL;
    for (uint64_t i = 0; ok && i < shown; i++) {
        json_t *element = gguf_next_string(&walk, &text, &bytes) ? json_value_text(text, bytes)
                                                                 : number_json(pair, i);
        ok = json_array_append_new(list, element) == 0;
    }
    if (!ok) {
        json_decref(list);
        return NULL;
    }
    if (shown == pair->count) {
        return list;
    }
    json_t *cut = json_object();
    ok = json_value_set(cut, "type", json_string(gguf_value_name(pair->type))) &&
         json_value_set(cut, "count", json_value_whole(pair->count));
    ok = json_value_set(cut, "first", list) && ok;
    if (!ok) {
        json_decref(cut);
        return NULL;
    }
    return cut;
}

static bool put_metadata(const struct gguf *gguf, bool all, json_t *object)
{
    bool ok = object != NULL;
    for (uint64_t i = 0; ok && i < gguf->n_pairs; i++) {
        char *key = inspect_text(gguf->pairs[i].key, gguf->pairs[i].key_bytes);
        ok = key && json_value_set(object, key, pair_json(&gguf->pairs[i], all));
        free(key);
    }
    return ok;
}

static bool put_types(const struct inspect_gguf_summary *summary, json_t *object)
{
    bool ok = object != NULL;
    for (uint32_t i = 0; ok && i < summary->n_types; i++) {
        char type[24];
        json_t *row = json_object();
        ok = json_value_set(row, "weights", json_value_whole(summary->types[i].weights)) &&
             json_value_set(row, "bytes", json_value_whole(summary->types[i].bytes)) &&
             json_value_set(row, "tensors", json_value_whole(summary->types[i].tensors));
        ok = json_value_set(object, gguf_type_name(summary->types[i].type, type), row) && ok;
    }
    return ok;
}

static bool put_tensors(const struct gguf *gguf, json_t *list)
{
    bool ok = list != NULL;
    for (uint64_t i = 0; ok && i < gguf->n_tensors; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        char type[24];
        json_t *row = json_object(), *shape = json_array();
        for (uint32_t d = tensor->n_dims; d-- > 0;) {
            ok = json_array_append_new(shape, json_value_whole(tensor->dims[d])) == 0 && ok;
        }
        uint64_t offset = (uint64_t)(tensor->data - gguf->files[tensor->file].data);
        ok = json_value_set(row, "name", json_value_text(tensor->name, tensor->name_bytes)) && ok;
        ok = json_value_set(row, "type", json_string(gguf_type_name(tensor->type, type))) && ok;
        ok = json_value_set(row, "shape", shape) && ok;
        ok = json_value_set(row, "file", json_value_whole(tensor->file)) && ok;
        ok = json_value_set(row, "offset", json_value_whole(offset)) && ok;
        ok = json_value_set(row, "bytes", json_value_whole(tensor->bytes)) && ok;
        ok = json_array_append_new(list, row) == 0 && ok;
    }
    return ok;
}

static json_t *known_text(const struct gguf *gguf, const char *key)
{
    const char *text;
    uint64_t bytes;
    return gguf_value_string(gguf_find_pair(gguf, key), &text, &bytes)
               ? json_value_text(text, bytes)
               : json_null();
}

bool inspect_gguf_print_json(const struct gguf *gguf, const struct inspect_gguf_summary *summary,
                             bool all)
{
    json_t *top = json_object(), *metadata = json_object(), *types = json_object();
    json_t *files = json_array(), *tensors = json_array();
    double bits = summary->weights ? (double)summary->bytes * 8 / (double)summary->weights : 0;
    bool ok = put_metadata(gguf, all, metadata) && put_types(summary, types) &&
              put_tensors(gguf, tensors) && files;
    for (uint32_t i = 0; ok && i < gguf->n_files; i++) {
        const char *path = gguf->files[i].path;
        ok = json_array_append_new(files, json_value_text(path, strlen(path))) == 0;
    }
    ok = json_value_set(top, "files", files) && ok;
    ok = json_value_set(top, "bytes", json_value_whole(summary->file_bytes)) && ok;
    ok = json_value_set(top, "format", json_string("gguf")) && ok;
    ok = json_value_set(top, "version", json_value_whole(gguf->version)) && ok;
    ok = json_value_set(top, "name", known_text(gguf, "general.name")) && ok;
    ok = json_value_set(top, "architecture", known_text(gguf, "general.architecture")) && ok;
    ok = json_value_set(top, "runs", json_boolean(summary->runs)) && ok;
    ok = json_value_set(top, "why_not",
                        summary->runs ? json_null()
                                      : json_value_text(summary->why_not.text,
                                                        strlen(summary->why_not.text))) &&
         ok;
    ok = json_value_set(top, "weights", json_value_whole(summary->weights)) && ok;
    ok = json_value_set(top, "bits_per_weight", json_real(bits)) && ok;
    ok = json_value_set(top, "types", types) && ok;
    ok = json_value_set(top, "metadata", metadata) && ok;
    ok = json_value_set(top, "tensors", tensors) && ok;
    ok = ok && json_dumpf(top, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(top);
    return ok;
}
