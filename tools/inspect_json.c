/* `moxie inspect --json`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "tools/inspect.h"
#include "tools/json_value.h"

static json_t *element_json(const struct model_file *file, const struct metadata_entry *entry,
                            uint64_t index)
{
    const char *text;
    uint64_t bytes;
    switch (entry->type) {
    case METADATA_U64:
    case METADATA_U64_ARRAY:
        return json_value_whole(inspect_u64(entry, index));
    case METADATA_I64:
        return json_integer((json_int_t)inspect_u64(entry, index));
    case METADATA_F64:
    case METADATA_F64_ARRAY:
        return json_value_real(inspect_f64(entry, index));
    case METADATA_BOOL:
        return json_boolean(inspect_bool(entry));
    case METADATA_STRING:
        return json_value_text(entry->value, entry->count);
    case METADATA_STRING_ARRAY:
        model_file_string_at(file, entry, index, &text, &bytes);
        return json_value_text(text, bytes);
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
        ok = key && json_value_set(object, key, value) && ok;
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
            ok = json_value_set(row, "weights", json_value_whole(summary->weights[i])) &&
                 json_value_set(row, "bytes", json_value_whole(summary->bytes[i]));
            ok = json_value_set(object, dtype_at(i)->name, row) && ok;
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
        ok = json_value_set(row, "layer", json_value_whole(layer.layer)) &&
             json_value_set(row, "experts", json_value_whole(layer.n_experts)) &&
             json_value_set(row, "offset", json_value_whole(layer.base)) &&
             json_value_set(row, "slab_bytes", json_value_whole(layer.slab_bytes)) &&
             json_value_set(row, "stride", json_value_whole(layer.stride));
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
        json_value_set(row, "name", json_value_text(record->name, record->name_bytes)) &&
        json_value_set(row, "role", json_string(inspect_role(record->role, number))) &&
        json_value_set(row, "type", json_string(dtype_name(record->type))) &&
        json_value_set(row, "shape",
                       json_pack("[I,I]", (json_int_t)record->rows, (json_int_t)record->cols)) &&
        json_value_set(row, "offset", json_value_whole(record->offset)) &&
        json_value_set(row, "stored_bytes", json_value_whole(record->stored_bytes)) &&
        json_value_set(row, "raw_bytes", json_value_whole(record->raw_bytes)) &&
        json_value_set(row, "codec", json_string(inspect_codec(record->codec))) &&
        json_value_set(row, "xxh3", json_string(hash));
    if (record->layer != MODEL_FILE_NO_LAYER) {
        ok = ok && json_value_set(row, "layer", json_value_whole(record->layer));
    }
    if (is_slab) {
        ok = ok && json_value_set(row, "expert", json_value_whole(record->expert)) &&
             json_value_set(row, "down_type", json_string(dtype_name(record->down_type))) &&
             json_value_set(
                 row, "down_shape",
                 json_pack("[I,I]", (json_int_t)record->cols, (json_int_t)(record->rows / 2))) &&
             json_value_set(row, "down_offset", json_value_whole(record->down_offset));
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
    return model_file_get_string(file, key, &text, &bytes) ? json_value_text(text, bytes)
                                                           : json_null();
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
    ok = json_value_set(top, "file", json_value_text(file->map.path, strlen(file->map.path))) && ok;
    ok = json_value_set(top, "bytes", json_value_whole(file->map.bytes)) && ok;
    ok = json_value_set(top, "name", known_text(file, "name")) && ok;
    ok = json_value_set(top, "architecture", known_text(file, "architecture")) && ok;
    ok = json_value_set(top, "weights", json_value_whole(summary->all_weights)) && ok;
    ok = json_value_set(top, "bits_per_weight",
                        json_real(inspect_bits(summary->stored_bytes, summary))) &&
         ok;
    ok = json_value_set(top, "tokenizer", tokenizer) && ok;
    ok = json_value_set(top, "chat_template_bytes",
                        json_value_whole(summary->chat_template_bytes)) &&
         ok;
    ok = json_value_set(top, "types", types) && ok;
    ok = json_value_set(top, "metadata", metadata) && ok;
    ok = json_value_set(top, "experts", experts) && ok;
    ok = json_value_set(top, "tensors", tensors) && ok;
    ok = ok && json_dumpf(top, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF;
    json_decref(top);
    return ok;
}
