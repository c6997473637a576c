/* What every target does with a model that could be opened. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/model.h"
#include "engine/model/virtual_model.h"
#include "engine/source_text.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

#define LOADED_BYTES (64u << 10) /* in all, so that an input takes about a millisecond */

/* So that reading is not optimised away, and every byte is touched. */
static void touch(const void *data, uint64_t bytes)
{
    static volatile uint8_t sink;
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++) {
        sink = (uint8_t)(sink + p[i]);
    }
}

static bool is_text(enum metadata_type type)
{
    return type == METADATA_STRING || type == METADATA_BOOL;
}

static void walk_metadata(const struct model_file *file)
{
    for (uint64_t i = 0; i < model_file_n_metadata(file); i++) {
        struct metadata_entry entry;
        model_file_metadata_at(file, i, &entry);
        touch(entry.key, entry.key_bytes);
        if (entry.type == METADATA_STRING_ARRAY) {
            for (uint64_t e = 0; e < entry.count; e++) {
                const char *text;
                uint64_t bytes;
                model_file_string_at(file, &entry, e, &text, &bytes);
                touch(text, bytes);
            }
        } else {
            touch(entry.value, entry.count * (is_text(entry.type) ? 1 : 8));
        }
    }
}

static void load(const struct model_file *file, const struct tensor_record *record)
{
    void *memory = malloc(record->raw_bytes + 1);
    struct error err;
    assert(memory);
    if (model_file_load(file, record, memory, &err)) {
        touch(memory, record->raw_bytes);
    }
    free(memory);
}

static void walk_tensors(const struct model_file *file)
{
    uint64_t loaded = 0;
    for (uint64_t i = 0; i < model_file_n_tensors(file); i++) {
        struct tensor_record record, found;
        model_file_tensor_at(file, i, &record);
        touch(record.name, record.name_bytes);
        model_file_find_tensor(file, record.role, record.layer, &found);
        const void *raw = model_file_raw(file, &record);
        if (record.raw_bytes > LOADED_BYTES - loaded) {
            continue;
        }
        loaded += record.raw_bytes;
        load(file, &record);
        if (raw) {
            touch(raw, record.raw_bytes);
        }
    }
    for (uint32_t i = 0; i < model_file_n_expert_layers(file); i++) {
        struct expert_layer layer, found;
        struct tensor_record record;
        model_file_expert_layer_at(file, i, &layer);
        model_file_find_expert_layer(file, layer.layer, &found);
        if (layer.n_experts > 0) {
            model_file_tensor_at(file, layer.first_record + layer.n_experts - 1, &record);
            touch(record.name, record.name_bytes);
        }
    }
}

bool fuzz_tokenizer_use(const void *section, uint64_t bytes)
{
    static const char text[] = "Hello <|im_start|>w\xC3\xB6rld\n\n 123  \xF0\x9F\x99\x82\xFF's";
    struct error err;
    struct tokenizer *tokenizer = tokenizer_create(section, bytes, &err);
    if (!tokenizer) {
        return false;
    }
    struct token_list list = {0};
    if (tokenizer_encode(tokenizer, text, sizeof(text) - 1,
                         TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL, &list, &err)) {
        for (size_t i = 0; i < list.count; i++) {
            uint32_t length;
            const char *part = tokenizer_token_bytes(tokenizer, list.ids[i], true, &length);
            touch(part, length);
        }
    }
    token_list_free(&list);
    tokenizer_destroy(&tokenizer);
    return true;
}

static void use_text(const struct model_file *file)
{
    const void *section;
    const char *text;
    uint64_t bytes;
    struct error err;
    if (model_file_tokenizer(file, &section, &bytes)) {
        fuzz_tokenizer_use(section, bytes);
    }
    if (model_file_chat_template(file, &text, &bytes)) {
        struct chat_template *chat = chat_template_create(text, bytes, &err);
        if (chat) {
            chat_template_destroy(&chat);
        }
    }
}

bool fuzz_model_use(const struct model_file *file)
{
    struct model model;
    struct error err = {""};
    walk_metadata(file);
    walk_tensors(file);
    use_text(file);
    bool ok = model_bind(&model, file, &err);
    if (ok) {
        model_free(&model);
    } else {
        assert(err.text[0]);
    }
    return ok;
}

bool fuzz_source_use(struct source *source)
{
    struct model_file file;
    struct error err = {""};
    if (!source) {
        return false;
    }
    /* The words of a checkpoint are files of their own, which have a target of their own. */
    bool has_text = strcmp(source->format, "safetensors") == 0 || source_text_attach(source, &err);
    assert(has_text || err.text[0]);
    if (!virtual_model_open(&file, source, NULL, 1, &err)) {
        assert(err.text[0]);
        return false;
    }
    bool ok = fuzz_model_use(&file);
    model_file_close(&file);
    return ok && has_text;
}
