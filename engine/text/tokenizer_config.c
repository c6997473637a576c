#include "engine/text/tokenizer_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/json_file.h"

struct config {
    json_t *tokenizer;  /* tokenizer_config.json */
    json_t *special;    /* special_tokens_map.json */
    json_t *generation; /* generation_config.json */
    json_t *model;      /* config.json */
};

/* The id of a text: an added token, or else one of the vocabulary. */
static uint32_t find_text(const struct tokenizer_parts *parts, const char *text, size_t bytes)
{
    uint32_t found = TOKENIZER_SECTION_NO_ID;
    for (uint32_t id = 0; id < parts->n_tokens; id++) {
        const struct tokenizer_part_token *token = &parts->tokens[id];
        if (token->text && token->bytes == bytes && memcmp(token->text, text, bytes) == 0) {
            found = id;
            if (token->flags & TOKENIZER_SECTION_TOKEN_ADDED) {
                break;
            }
        }
    }
    return found;
}

/* A token given as its text or as {"content": text}. *said is false if the file does not have the
 * key; null says that there is no such token. */
static bool read_named(const json_t *root, const char *file, const char *key,
                       const struct tokenizer_parts *parts, bool *said, uint32_t *id,
                       struct error *err)
{
    const json_t *value = json_object_get(root, key);
    if (json_is_object(value)) {
        value = json_object_get(value, "content");
    }
    *said = value != NULL;
    *id = TOKENIZER_SECTION_NO_ID;
    if (!value || json_is_null(value)) {
        return true;
    }
    if (!json_is_string(value)) {
        return error_set(err, "\"%s\" in %s is not the text of a token", key, file);
    }
    *id = find_text(parts, json_string_value(value), json_string_length(value));
    return *id != TOKENIZER_SECTION_NO_ID ||
           error_set(err, "\"%s\" in %s is \"%.60s\", which is no token of tokenizer.json", key,
                     file, json_string_value(value));
}

/* One id, or a list of them: the first that is a token goes to *id, and each is marked. Numbers
 * that no token has stand for "none" in some checkpoints. */
static bool read_ids(const json_t *root, const char *file, const char *key,
                     struct tokenizer_parts *parts, uint32_t mark, uint32_t *id, struct error *err)
{
    const json_t *value = json_object_get(root, key);
    size_t n = json_is_array(value) ? json_array_size(value) : value && !json_is_null(value);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        double number = json_number_value(item);
        if (!json_is_number(item) || number != floor(number)) {
            return error_set(err, "\"%s\" in %s is neither a token id nor a list of them", key,
                             file);
        }
        if (number < 0 || number >= parts->n_tokens || !parts->tokens[(uint32_t)number].text) {
            continue;
        }
        parts->tokens[(uint32_t)number].flags |= mark;
        if (*id == TOKENIZER_SECTION_NO_ID) {
            *id = (uint32_t)number;
        }
    }
    return true;
}

/* bos or eos: the tokenizer's own files by text; if they do not say, what tokenizer.model said
 * (*id, or none), or the model's files by id. The
 * marks of the model's files count in any case. */
static bool read_token(const struct config *config, const char *name, uint32_t mark,
                       struct tokenizer_parts *parts, uint32_t *id, struct error *err)
{
    char key[16], id_key[16];
    bool said;
    uint32_t by_id = TOKENIZER_SECTION_NO_ID, known = *id;
    strcpy(stpcpy(key, name), "_token");
    strcpy(stpcpy(id_key, key), "_id");
    if (!read_named(config->tokenizer, "tokenizer_config.json", key, parts, &said, id, err) ||
        (!said &&
         !read_named(config->special, "special_tokens_map.json", key, parts, &said, id, err)) ||
        !read_ids(config->generation, "generation_config.json", id_key, parts, mark, &by_id, err) ||
        !read_ids(config->model, "config.json", id_key, parts, mark, &by_id, err)) {
        return false;
    }
    if (!said) {
        *id = known != TOKENIZER_SECTION_NO_ID ? known : by_id;
    }
    if (*id != TOKENIZER_SECTION_NO_ID) {
        parts->tokens[*id].flags |= mark;
    }
    return true;
}

/* add_bos_token and add_eos_token, where present, overrule the post-processor: the token then is,
 * or is not, the outermost one on its side. */
static bool apply_add(const json_t *root, const char *key, uint32_t id, bool at_end,
                      struct tokenizer_part_ids *ids, struct error *err)
{
    const json_t *value = json_object_get(root, key);
    if (!value || json_is_null(value) || id == TOKENIZER_SECTION_NO_ID) {
        return true;
    }
    if (!json_is_boolean(value)) {
        return error_set(err, "\"%s\" in tokenizer_config.json is neither true nor false", key);
    }
    uint32_t outer = at_end ? ids->count - 1 : 0;
    bool there = ids->count > 0 && ids->at[outer] == id;
    if (there == json_is_true(value)) {
        return true;
    }
    if (there) {
        ids->count--;
        memmove(ids->at + outer, ids->at + outer + 1, (ids->count - outer) * sizeof(*ids->at));
        return true;
    }
    if (ids->count == TOKENIZER_SECTION_MAX_EXTRA) {
        return error_set(err, "the post-processor adds more than %u tokens",
                         TOKENIZER_SECTION_MAX_EXTRA);
    }
    outer = at_end ? ids->count : 0;
    memmove(ids->at + outer + 1, ids->at + outer, (ids->count - outer) * sizeof(*ids->at));
    ids->at[outer] = id;
    ids->count++;
    return true;
}

bool tokenizer_config_read(const char *folder, struct tokenizer_parts *parts, struct error *err)
{
    struct config config = {0};
    bool ok =
        json_file_load(folder, "tokenizer_config.json", &config.tokenizer, err) &&
        json_file_load(folder, "special_tokens_map.json", &config.special, err) &&
        json_file_load(folder, "generation_config.json", &config.generation, err) &&
        json_file_load(folder, "config.json", &config.model, err) &&
        read_token(&config, "bos", 0, parts, &parts->bos, err) &&
        read_token(&config, "eos", TOKENIZER_SECTION_TOKEN_STOP, parts, &parts->eos, err) &&
        apply_add(config.tokenizer, "add_bos_token", parts->bos, false, &parts->prefix, err) &&
        apply_add(config.tokenizer, "add_eos_token", parts->eos, true, &parts->suffix, err);
    json_decref(config.tokenizer);
    json_decref(config.special);
    json_decref(config.generation);
    json_decref(config.model);
    return ok;
}
