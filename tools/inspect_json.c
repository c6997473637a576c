/* `moxie inspect --json`. Setting a value that could not be allocated fails, so that the results of
 * the sets tell at the end whether everything is there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/inspect.h"

static json_t *text_json(const char *text, uint64_t bytes)
{
    char *copy = inspect_text(text, bytes);
    json_t *value = copy ? json_stringn(copy, bytes) : NULL;
    free(copy);
    return value;
}

static json_t *whole_json(uint64_t value)
{
    /* JSON numbers above 2^63 - 1 do not fit the library; no length or count comes near. */
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static bool set(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0;
}

static json_t *element_json(const struct model_file *file, const struct metadata_entry *entry,
                            uint64_t index)
{
    const char *text;
    uint64_t bytes;
    switch (entry->type) {
    case METADATA_U64:
    case METADATA_U64_ARRAY:
        return whole_json(inspect_u64(entry, index));
    case METADATA_I64:
        return json_integer((json_int_t)inspect_u64(entry, index));
    case METADATA_F64:
    case METADATA_F64_ARRAY:
        return real_json(inspect_f64(entry, index));
    case METADATA_BOOL:
        return json_boolean(inspect_bool(entry));
    case METADATA_STRING:
        return text_json(entry->value, entry->count);
    case METADATA_STRING_ARRAY:
        model_file_string_at(file, entry, index, &text, &bytes);
        return text_json(text, bytes);
    }
    return json_null();
}

static bool put_metadata(const struct model_file *file, json_t *object)
{
    bool ok = object != NULL;
    for (uint64_t i = 0; ok && i < model_file_n_metadata(file); i++) {
        struct metadata_entry entry;
        model_file_metadata_at(file, i, &entry);
        json_t *value;
        if (inspect_is_array(entry.type)) {
            value = json_array();
            for (uint64_t e = 0; ok && e < entry.count; e++) {
                ok = json_array_append_new(value, element_json(file, &entry, e)) == 0;
            }
        } else {
            value = element_json(file, &entry, 0);
        }
        char *key = inspect_text(entry.key, entry.key_bytes);
        ok = key && set(object, key, value) && ok;
        free(key);
    }
    return ok;
}

static bool put_types(const struct inspect_summary *summary, json_t *object)
{
    bool ok = object != NULL;
    for (uint32_t i = 0; ok && i < dtype_count() && i < INSPECT_MAX_TYPES; i++) {
        if (summary->weights[i] > 0) {
            json_t *row = json_object();
            ok = set(row, "weights", whole_json(summary->weights[i])) &&
                 set(row, "bytes", whole_json(summary->bytes[i]));
            ok = set(object, dtype_at(i)->name, row) && ok;
        }
    }
    return ok;
}

static bool put_experts(const struct model_file *file, json_t *list)
{
    bool ok = list != NULL;
    for (uint32_t i = 0; ok && i < model_file_n_expert_layers(file); i++) {
        struct expert_layer layer;
        model_file_expert_layer_at(file, i, &layer);
        json_t *row = json_object();
        ok = set(row, "layer", whole_json(layer.layer)) &&
             set(row, "experts", whole_json(layer.n_experts)) &&
             set(row, "offset", whole_json(layer.base)) &&
             set(row, "slab_bytes", whole_json(layer.slab_bytes)) &&
             set(row, "stride", whole_json(layer.stride));
        ok = json_array_append_new(list, row) == 0 && ok;
    }
    return ok;
}

static json_t *tensor_json(const struct tensor_record *record)
{
    char number[16], hash[24];
    bool is_slab = role_is_slab(record->role);
    json_t *row = json_object();
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)record->xxh3);
    bool ok =
        set(row, "name", text_json(record->name, record->name_bytes)) &&
        set(row, "role", json_string(inspect_role(record->role, number))) &&
        set(row, "type", json_string(dtype_name(record->type))) &&
        set(row, "shape", json_pack("[I,I]", (json_int_t)record->rows, (json_int_t)record->cols)) &&
        set(row, "offset", whole_json(record->offset)) &&
        set(row, "stored_bytes", whole_json(record->stored_bytes)) &&
        set(row, "raw_bytes", whole_json(record->raw_bytes)) &&
        set(row, "codec", json_string(inspect_codec(record->codec))) &&
        set(row, "xxh3", json_string(hash));
    if (record->layer != MODEL_FILE_NO_LAYER) {
        ok = ok && set(row, "layer", whole_json(record->layer));
    }
    if (is_slab) {
        ok = ok && set(row, "expert", whole_json(record->expert)) &&
             set(row, "down_type", json_string(dtype_name(record->down_type))) &&
             set(row, "down_shape",
                 json_pack("[I,I]", (json_int_t)record->cols, (json_int_t)(record->rows / 2))) &&
             set(row, "down_offset", whole_json(record->down_offset));
    }
    if (!ok) {
        json_decref(row);
        return NULL;
    }
    return row;
}

static bool put_tensors(const struct model_file *file, json_t *list)
{
    bool ok = list != NULL;
    for (uint64_t i = 0; ok && i < model_file_n_tensors(file); i++) {
        struct tensor_record record;
        model_file_tensor_at(file, i, &record);
        ok = json_array_append_new(list, tensor_json(&record)) == 0;
    }
    return ok;
}

static json_t *known_text(const struct model_file *file, const char *key)
{
    const char *text;
    uint64_t bytes;
    return model_file_get_string(file, key, &text, &bytes) ? text_json(text, bytes) : json_null();
}

bool inspect_print_json(const struct model_file *file, const struct inspect_summary *summary)
{
    json_t *top = json_object(), *metadata = json_object(), *types = json_object();
    json_t *experts = json_array(), *tensors = json_array();
    bool ok = put_metadata(file, metadata) && put_types(summary, types) &&
              put_experts(file, experts) && put_tensors(file, tensors);
    json_t *tokenizer = summary->tokenizer_bytes
                            ? json_pack("{s:I,s:I}", "tokens", (json_int_t)summary->tokens, "bytes",
                                        (json_int_t)summary->tokenizer_bytes)
                            : json_null();
    ok = set(top, "file", text_json(file->map.path, strlen(file->map.path))) && ok;
    ok = set(top, "bytes", whole_json(file->map.bytes)) && ok;
    ok = set(top, "name", known_text(file, "name")) && ok;
    ok = set(top, "architecture", known_text(file, "architecture")) && ok;
    ok = set(top, "weights", whole_json(summary->all_weights)) && ok;
    ok = set(top, "bits_per_weight", json_real(inspect_bits(summary->stored_bytes, summary))) && ok;
    ok = set(top, "tokenizer", tokenizer) && ok;
    ok = set(top, "chat_template_bytes", whole_json(summary->chat_template_bytes)) && ok;
    ok = set(top, "types", types) && ok;
    ok = set(top, "metadata", metadata) && ok;
    ok = set(top, "experts", experts) && ok;
    ok = set(top, "tensors", tensors) && ok;
    ok = ok && json_dumpf(top, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(top);
    return ok;
}
