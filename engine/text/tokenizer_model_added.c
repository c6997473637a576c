#include "engine/text/tokenizer_model_added.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/json_file.h"

#define T5_EXTRA_IDS 100 /* what a T5Tokenizer has that does not say */
#define MAX_EXTRA_IDS 10000

/* What is read, before it is added: a list of {"id", "content", "special", ...}. */
struct reader {
    const char *folder;
    struct tokenizer_parts *parts;
    json_t *config;  /* tokenizer_config.json */
    json_t *special; /* names of special tokens: an object with them as keys */
    json_t *list;
    struct error *err;
};

static bool no_memory(const struct reader *r)
{
    return error_set(r->err, "out of memory for added tokens");
}

/* ---- sources ------------------------------------------------------------------------------ */

/* {"32000": {"content": text, "special": true, "lstrip": ...}, ...} */
static bool read_decoder(struct reader *r, const json_t *decoder)
{
    const char *key;
    json_t *entry;
    json_object_foreach((json_t *)decoder, key, entry)
    {
        char *end;
        unsigned long id = strtoul(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || id >= TOKENIZER_SECTION_MAX_TOKENS ||
            !json_is_string(json_object_get(entry, "content"))) {
            return error_set(r->err,
                             "\"added_tokens_decoder\" in tokenizer_config.json has the entry "
                             "\"%.20s\", which is no id with a content",
                             key);
        }
        json_t *copy = json_copy(entry);
        if (json_object_set_new(copy, "id", json_integer((json_int_t)id)) != 0 ||
            json_array_append_new(r->list, copy) != 0) {
            return no_memory(r);
        }
    }
    return true;
}

/* Notes the names of tokens in a value of these files: a text, {"content": text} or a list of them.
 */
static bool note_names(json_t *names, const json_t *value, struct error *err)
{
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    if (json_is_string(content) &&
        json_object_setn_new_nocheck(names, json_string_value(content), json_string_length(content),
                                     json_true()) != 0) {
        return error_set(err, "out of memory for added tokens");
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_array(item) && !note_names(names, item, err)) {
            return false;
        }
    }
    return true;
}

/* The set of all special tokens that these files name. */
static bool read_special(struct reader *r)
{
    static const char *const keys[] = {
        "bos_token", "eos_token", "unk_token",  "pad_token",
        "sep_token", "cls_token", "mask_token", "additional_special_tokens"};
    json_t *map;
    if (!json_file_load(r->folder, "special_tokens_map.json", &map, r->err)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof(keys) / sizeof(keys[0]); i++) {
        ok = note_names(r->special, json_object_get(map, keys[i]), r->err) &&
             note_names(r->special, json_object_get(r->config, keys[i]), r->err);
    }
    json_decref(map);
    return ok;
}

static bool append(struct reader *r, json_int_t id, const char *text, bool special)
{
    return json_array_append_new(r->list, json_pack("{s:I, s:s, s:b}", "id", id, "content", text,
                                                    "special", (int)special)) == 0 ||
           no_memory(r);
}

/* {text: id, ...} */
static bool read_added_file(struct reader *r)
{
    json_t *root = NULL, *id;
    const char *text;
    bool ok = json_file_load(r->folder, "added_tokens.json", &root, r->err) && read_special(r);
    json_object_foreach(root, text, id)
    {
        double number = json_number_value(id);
        if (ok && (!json_is_number(id) || number < 0 || number >= TOKENIZER_SECTION_MAX_TOKENS ||
                   number != (double)(json_int_t)number)) {
            ok = error_set(r->err, "the token \"%.60s\" in added_tokens.json has no id", text);
        }
        ok = ok && append(r, (json_int_t)number, text, json_object_get(r->special, text) != NULL);
    }
    json_decref(root);
    return ok;
}

/* <extra_id_0> has the last id. */
static bool add_extra_ids(struct reader *r)
{
    const json_t *said = json_object_get(r->config, "extra_ids");
    const char *class = json_string_value(json_object_get(r->config, "tokenizer_class"));
    bool is_t5 = class && strncmp(class, "T5Tokenizer", 11) == 0;
    json_int_t n = json_is_integer(said) ? json_integer_value(said) : is_t5 ? T5_EXTRA_IDS : 0;
    if (n < 0 || n > MAX_EXTRA_IDS) {
        return error_set(r->err, "\"extra_ids\" in tokenizer_config.json is not from 0 to %d",
                         MAX_EXTRA_IDS);
    }
    bool ok = true;
    for (json_int_t i = 0; ok && i < n; i++) {
        char text[32];
        snprintf(text, sizeof(text), "<extra_id_%d>", (int)i);
        ok = append(r, r->parts->n_tokens + n - 1 - i, text, true);
    }
    return ok;
}

/* ---- adding ------------------------------------------------------------------------------- */

static bool grow(struct reader *r, uint32_t n_tokens, size_t n_more)
{
    struct tokenizer_parts *parts = r->parts;
    size_t old = parts->n_tokens, n = n_tokens > old ? n_tokens : old;
    struct tokenizer_part_token *tokens = realloc(parts->tokens, n * sizeof(*tokens));
    parts->tokens = tokens ? tokens : parts->tokens;
    double *scores = realloc(parts->scores, n * sizeof(*scores));
    parts->scores = scores ? scores : parts->scores;
    struct tokenizer_part_added *added =
        realloc(parts->added, (parts->n_added + n_more) * sizeof(*added));
    parts->added = added ? added : parts->added;
    if (!tokens || !scores || !added) {
        return no_memory(r);
    }
    memset(tokens + old, 0, (n - old) * sizeof(*tokens));
    memset(scores + old, 0, (n - old) * sizeof(*scores));
    parts->n_tokens = (uint32_t)n;
    return true;
}

static uint32_t match_flags(const json_t *entry)
{
    static const struct {
        const char *key;
        uint32_t flag;
    } rows[] = {{"lstrip", TOKENIZER_SECTION_MATCH_LSTRIP},
                {"rstrip", TOKENIZER_SECTION_MATCH_RSTRIP},
                {"single_word", TOKENIZER_SECTION_MATCH_SINGLE_WORD},
                {"special", TOKENIZER_SECTION_MATCH_SPECIAL}};
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        flags |= json_is_true(json_object_get(entry, rows[i].key)) ? rows[i].flag : 0u;
    }
    return flags;
}

/* `ids` has the ids of all texts so far, `places` the place in parts->added of each id, plus one.
 * Added tokens are searched in the text as it came, whatever "normalized" says: as transformers
 * does beside tokenizer.model. */
static bool add(struct reader *r, const json_t *entry, json_t *ids, uint32_t *places)
{
    const json_t *content = json_object_get(entry, "content");
    uint32_t id = (uint32_t)json_integer_value(json_object_get(entry, "id"));
    const char *text = json_string_value(content);
    size_t bytes = json_string_length(content);
    const json_t *known = json_object_getn(ids, text, bytes);
    struct tokenizer_part_token *token = &r->parts->tokens[id];
    if (bytes == 0 || (known && json_integer_value(known) != id) || (token->text && !known)) {
        return error_set(r->err,
                         "the added token \"%.60s\" with id %u is empty, or tokenizer.model has "
                         "its text or its id for another one",
                         text, id);
    }
    uint32_t flags = match_flags(entry);
    bool special = flags & TOKENIZER_SECTION_MATCH_SPECIAL;
    token->text = text;
    token->bytes = bytes;
    token->flags |=
        TOKENIZER_SECTION_TOKEN_ADDED | (special ? TOKENIZER_SECTION_TOKEN_SPECIAL : 0u);
    if (places[id] == 0) {
        places[id] = (uint32_t)++r->parts->n_added;
    }
    r->parts->added[places[id] - 1] = (struct tokenizer_part_added){.id = id, .flags = flags};
    return known || json_object_setn_new_nocheck(ids, text, bytes, json_integer(id)) == 0 ||
           no_memory(r);
}

static bool add_all(struct reader *r)
{
    size_t n = json_array_size(r->list);
    json_int_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        json_int_t id = json_integer_value(json_object_get(json_array_get(r->list, i), "id"));
        largest = id > largest ? id : largest;
    }
    if (n == 0) {
        return true;
    }
    if (n > TOKENIZER_SECTION_MAX_MATCHES) {
        return error_set(r->err,
                         "%zu tokens are added to tokenizer.model; at most %u are supported", n,
                         TOKENIZER_SECTION_MAX_MATCHES);
    }
    if (!tokenizer_check_ids(largest, r->parts->n_tokens + n, r->err)) {
        return false;
    }
    json_t *ids = json_object();
    bool ok = ids || no_memory(r);
    for (uint32_t id = 0; ok && id < r->parts->n_tokens; id++) {
        const struct tokenizer_part_token *token = &r->parts->tokens[id];
        ok = json_object_setn_new_nocheck(ids, token->text, token->bytes, json_integer(id)) == 0 ||
             no_memory(r);
    }
    ok = ok && grow(r, (uint32_t)largest + 1, n);
    uint32_t *places = ok ? calloc(r->parts->n_tokens, sizeof(*places)) : NULL;
    ok = ok && (places || no_memory(r));
    for (size_t i = 0; ok && i < r->parts->n_added; i++) {
        places[r->parts->added[i].id] = (uint32_t)i + 1;
    }
    for (size_t i = 0; ok && i < n; i++) {
        ok = add(r, json_array_get(r->list, i), ids, places);
    }
    free(places);
    json_decref(ids);
    return ok;
}

bool tokenizer_model_added_read(const char *folder, struct tokenizer_parts *parts, json_t **texts,
                                struct error *err)
{
    struct reader r = {.folder = folder,
                       .parts = parts,
                       .special = json_object(),
                       .list = json_array(),
                       .err = err};
    *texts = r.list;
    bool ok = (r.list && r.special) || no_memory(&r);
    ok = ok && json_file_load(folder, "tokenizer_config.json", &r.config, err);
    if (ok) {
        const json_t *decoder = json_object_get(r.config, "added_tokens_decoder");
        ok = json_object_size(decoder) > 0 ? read_decoder(&r, decoder)
                                           : read_added_file(&r) && add_extra_ids(&r);
    }
    ok = ok && add_all(&r);
    json_decref(r.config);
    json_decref(r.special);
    return ok;
}
