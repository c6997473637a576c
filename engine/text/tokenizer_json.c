#include "engine/text/tokenizer_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_json_pipeline.h"

struct reader {
    const json_t *vocabulary; /* text: id */
    const json_t *pieces;     /* of a Unigram model: [text, score], by id; else NULL */
    const json_t *added;
    struct tokenizer_parts *parts;
    struct error *err;
};

static bool is_id(const json_t *id)
{
    return json_is_integer(id) && json_integer_value(id) >= 0 &&
           json_integer_value(id) < TOKENIZER_SECTION_MAX_TOKENS;
}

static bool get_flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* Files older than "type" have BPE models. */
static bool is_unigram(const json_t *model)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    return type ? strcmp(type, "Unigram") == 0 : json_is_array(json_object_get(model, "vocab"));
}

/* Members that change what the model does, and must have their usual value. */
static bool check_model(const json_t *model, struct error *err)
{
    const json_t *type = json_object_get(model, "type");
    if (!json_is_object(model)) {
        return error_set(err, "it has no object \"model\"");
    }
    if (type && !is_unigram(model) &&
        (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0)) {
        return error_set(err, "the model \"%.60s\" is not supported; BPE and Unigram are",
                         json_is_string(type) ? json_string_value(type) : "?");
    }
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        if (affix && !json_is_null(affix) &&
            !(json_is_string(affix) && json_string_length(affix) == 0)) {
            return error_set(err, "a BPE model with \"%s\" is not supported", affixes[i]);
        }
    }
    if (json_number_value(json_object_get(model, "dropout")) != 0) {
        return error_set(err, "a BPE model with \"dropout\" is not supported");
    }
    return true;
}

/* Sets parts->n_tokens from the largest id, and takes memory. */
static bool size_tokens(struct reader *r)
{
    json_int_t largest = -1;
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)r->vocabulary, text, value)
    {
        if (!is_id(value)) {
            return error_set(r->err, "the token \"%.60s\" has no id from 0 to %u", text,
                             TOKENIZER_SECTION_MAX_TOKENS - 1);
        }
        largest = json_integer_value(value) > largest ? json_integer_value(value) : largest;
    }
    for (size_t i = 0; i < json_array_size(r->added); i++) {
        const json_t *id = json_object_get(json_array_get(r->added, i), "id");
        if (!is_id(id)) {
            return error_set(r->err, "added token number %zu has no id from 0 to %u", i,
                             TOKENIZER_SECTION_MAX_TOKENS - 1);
        }
        largest = json_integer_value(id) > largest ? json_integer_value(id) : largest;
    }
    size_t n_named = json_object_size(r->vocabulary) + json_array_size(r->added);
    if (!tokenizer_check_ids(largest, n_named, r->err)) {
        return false;
    }
    r->parts->n_tokens = (uint32_t)(largest + 1);
    r->parts->tokens = calloc((size_t)r->parts->n_tokens + 1, sizeof(*r->parts->tokens));
    r->parts->added = calloc(json_array_size(r->added) + 1, sizeof(*r->parts->added));
    if (!r->parts->tokens || !r->parts->added) {
        return error_set(r->err, "out of memory for %u tokens", r->parts->n_tokens);
    }
    return true;
}

static bool read_vocabulary(struct reader *r)
{
    for (size_t id = 0; id < json_array_size(r->pieces); id++) {
        const json_t *text = json_array_get(json_array_get(r->pieces, id), 0);
        r->parts->tokens[id] = (struct tokenizer_part_token){
            json_string_value(text), json_string_length(text), TOKENIZER_SECTION_TOKEN_MODEL};
    }
    if (r->pieces) {
        return true;
    }
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)r->vocabulary, text, value)
    {
        uint32_t id = (uint32_t)json_integer_value(value);
        struct tokenizer_part_token *token = &r->parts->tokens[id];
        if (token->text) {
            return error_set(r->err, "the tokens \"%.60s\" and \"%.60s\" both have id %u",
                             token->text, text, id);
        }
        *token = (struct tokenizer_part_token){text, strlen(text), TOKENIZER_SECTION_TOKEN_MODEL};
    }
    return true;
}

static uint32_t match_flags(const json_t *entry)
{
    return (get_flag(entry, "lstrip") ? TOKENIZER_SECTION_MATCH_LSTRIP : 0u) |
           (get_flag(entry, "rstrip") ? TOKENIZER_SECTION_MATCH_RSTRIP : 0u) |
           (get_flag(entry, "single_word") ? TOKENIZER_SECTION_MATCH_SINGLE_WORD : 0u) |
           (get_flag(entry, "special") ? TOKENIZER_SECTION_MATCH_SPECIAL : 0u);
}

static bool read_added_token(struct reader *r, const json_t *entry)
{
    const json_t *content = json_object_get(entry, "content");
    uint32_t id = (uint32_t)json_integer_value(json_object_get(entry, "id"));
    struct tokenizer_part_token *token = &r->parts->tokens[id];
    if (!json_is_string(content)) {
        return error_set(r->err, "the added token with id %u has no content", id);
    }
    const char *text = json_string_value(content);
    size_t bytes = json_string_length(content);
    const json_t *known = json_object_getn(r->vocabulary, text, bytes);
    if (known && json_integer_value(known) != id) {
        return error_set(r->err, "the added token \"%.60s\" has id %u, and %u in the vocabulary",
                         text, id, (uint32_t)json_integer_value(known));
    }
    if (token->text && (!known || (token->flags & TOKENIZER_SECTION_TOKEN_ADDED))) {
        return error_set(r->err, "the tokens \"%.60s\" and \"%.60s\" both have id %u", token->text,
                         text, id);
    }
    bool special = get_flag(entry, "special");
    token->text = text;
    token->bytes = bytes;
    token->flags |=
        TOKENIZER_SECTION_TOKEN_ADDED | (special ? TOKENIZER_SECTION_TOKEN_SPECIAL : 0u);
    r->parts->added[r->parts->n_added++] = (struct tokenizer_part_added){
        .id = id,
        .flags = match_flags(entry),
        .normalized =
            json_object_get(entry, "normalized") ? get_flag(entry, "normalized") : !special,
    };
    return true;
}

/* Special tokens come first: of two alike after normalisation the special one is found. */
static bool read_added(struct reader *r)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < json_array_size(r->added); i++) {
            const json_t *entry = json_array_get(r->added, i);
            if (get_flag(entry, "special") == (pass == 0) && !read_added_token(r, entry)) {
                return false;
            }
        }
    }
    return true;
}

/* The two halves of a merge: ["A", "B"], or "A B" with exactly one space. */
static bool split_merge(const json_t *merge, const char *halves[2], size_t bytes[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t n = json_string_length(merge);
        const char *space = memchr(text, ' ', n);
        if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - text))) {
            return false;
        }
        halves[0] = text;
        bytes[0] = (size_t)(space - text);
        halves[1] = space + 1;
        bytes[1] = n - bytes[0] - 1;
        return true;
    }
    if (json_array_size(merge) != 2) {
        return false;
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *half = json_array_get(merge, i);
        halves[i] = json_string_value(half);
        bytes[i] = json_string_length(half);
        if (!halves[i]) {
            return false;
        }
    }
    return true;
}

static bool read_merge(struct reader *r, const json_t *merge, size_t index)
{
    const char *halves[2];
    size_t bytes[2];
    char joined[TOKENIZER_SECTION_MAX_TOKEN_BYTES];
    if (!split_merge(merge, halves, bytes)) {
        return error_set(r->err, "merge number %zu is neither \"A B\" nor [\"A\", \"B\"]", index);
    }
    const json_t *result = NULL;
    if (bytes[0] <= sizeof(joined) && bytes[1] <= sizeof(joined) - bytes[0]) {
        memcpy(joined, halves[0], bytes[0]);
        memcpy(joined + bytes[0], halves[1], bytes[1]);
        result = json_object_getn(r->vocabulary, joined, bytes[0] + bytes[1]);
    }
    const json_t *left = json_object_getn(r->vocabulary, halves[0], bytes[0]);
    const json_t *right = json_object_getn(r->vocabulary, halves[1], bytes[1]);
    if (!left || !right || !result) {
        return error_set(r->err,
                         "merge number %zu, \"%.60s\" and \"%.60s\", is not in the vocabulary",
                         index, halves[0], halves[1]);
    }
    r->parts->merges[r->parts->n_merges++] = (struct tokenizer_part_merge){
        (uint32_t)json_integer_value(left), (uint32_t)json_integer_value(right), (uint32_t)index,
        (uint32_t)json_integer_value(result)};
    return true;
}

static bool read_merges(struct reader *r, const json_t *merges)
{
    size_t n = json_array_size(merges);
    if (!json_is_array(merges)) {
        return error_set(r->err, "the model has no list \"merges\"");
    }
    if (n > TOKENIZER_SECTION_MAX_MERGES) {
        return error_set(r->err, "the model has %zu merges; at most %u are supported", n,
                         TOKENIZER_SECTION_MAX_MERGES);
    }
    r->parts->merges = malloc((n + 1) * sizeof(*r->parts->merges));
    if (!r->parts->merges) {
        return error_set(r->err, "out of memory for %zu merges", n);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *merge = json_array_get(merges, i);
        const char *text = json_string_value(merge);
        if (i == 0 && text && strncmp(text, "#version", 8) == 0) {
            continue; /* the first line of merges.txt, in old files */
        }
        if (!read_merge(r, merge, i)) {
            return false;
        }
    }
    return true;
}

/* The ids of a Unigram model's texts, and their scores. Free *ids in every case. */
static bool index_pieces(struct reader *r, json_t **ids)
{
    size_t n = json_array_size(r->pieces);
    *ids = json_object();
    if (n == 0 || n > TOKENIZER_SECTION_MAX_TOKENS) {
        return error_set(r->err, "the model's list \"vocab\" is missing, empty or longer than %u",
                         TOKENIZER_SECTION_MAX_TOKENS);
    }
    for (size_t id = 0; id < n; id++) {
        const json_t *piece = json_array_get(r->pieces, id), *text = json_array_get(piece, 0);
        const char *key = json_string_value(text);
        size_t bytes = json_string_length(text);
        if (json_array_size(piece) != 2 || !key || !json_is_number(json_array_get(piece, 1))) {
            return error_set(r->err, "entry %zu of \"vocab\" is not [text, score]", id);
        }
        if (json_object_getn(*ids, key, bytes)) {
            return error_set(r->err, "the text \"%.60s\" is twice in \"vocab\"", key);
        }
        if (json_object_setn_new_nocheck(*ids, key, bytes, json_integer((json_int_t)id)) != 0) {
            return error_set(r->err, "out of memory for %zu tokens", n);
        }
    }
    return true;
}

/* The number as Hugging Face's program reads its decimals: the digits as one integer, rounded, over
 * a power of ten, rounded again. Where two ways to cut a word have the same sum, the last bit
 * decides. */
static double twice_rounded(double exact)
{
    char text[40];
    int digits = 1;
    do {
        snprintf(text, sizeof(text), "%.*e", digits - 1, exact);
    } while (strtod(text, NULL) != exact && ++digits <= 17);
    const char *exponent = strchr(text, 'e');
    uint64_t number = 0;
    for (const char *c = text; c < exponent; c++) {
        number = *c >= '0' && *c <= '9' ? number * 10 + (uint64_t)(*c - '0') : number;
    }
    int power = atoi(exponent + 1) - (digits - 1);
    if (power < -22 || power > 22) { /* no power of ten that a double holds exactly */
        return exact;
    }
    double ten = 1, value = (double)number;
    for (int i = 0; i < abs(power); i++) {
        ten *= 10;
    }
    return copysign(power < 0 ? value / ten : value * ten, exact);
}

static bool read_scores(struct reader *r)
{
    r->parts->scores = calloc(r->parts->n_tokens, sizeof(double));
    if (!r->parts->scores) {
        return error_set(r->err, "out of memory for %u scores", r->parts->n_tokens);
    }
    for (size_t id = 0; id < json_array_size(r->pieces); id++) {
        double exact = json_number_value(json_array_get(json_array_get(r->pieces, id), 1));
        r->parts->scores[id] = twice_rounded(exact);
    }
    return true;
}

static bool read_unigram(const json_t *root, const json_t *model, struct reader *r)
{
    json_t *ids;
    const json_t *unk = json_object_get(model, "unk_id");
    r->pieces = json_object_get(model, "vocab");
    r->parts->model = TOKENIZER_SECTION_UNIGRAM;
    bool ok = index_pieces(r, &ids);
    r->vocabulary = ids;
    if (ok && (!is_id(unk) || (size_t)json_integer_value(unk) >= json_array_size(r->pieces))) {
        ok = error_set(r->err, "\"unk_id\" of the Unigram model is no id of its vocabulary");
    }
    if (ok) {
        r->parts->unk = (uint32_t)json_integer_value(unk);
    }
    ok = ok && size_tokens(r) && read_vocabulary(r) && read_added(r) && read_scores(r) &&
         tokenizer_json_pipeline_read(root, r->parts, r->err);
    json_decref(ids);
    return ok;
}

bool tokenizer_json_read(const json_t *root, struct tokenizer_parts *parts, struct error *err)
{
    const json_t *model = json_object_get(root, "model");
    struct reader r = {.vocabulary = json_object_get(model, "vocab"),
                       .added = json_object_get(root, "added_tokens"),
                       .parts = parts,
                       .err = err};
    *parts = (struct tokenizer_parts){.model = TOKENIZER_SECTION_BPE,
                                      .bos = TOKENIZER_SECTION_NO_ID,
                                      .eos = TOKENIZER_SECTION_NO_ID,
                                      .unk = TOKENIZER_SECTION_NO_ID};
    if (!check_model(model, err)) {
        return false;
    }
    if (r.added && !json_is_null(r.added) && !json_is_array(r.added)) {
        return error_set(err, "\"added_tokens\" is not a list");
    }
    parts->flags = (get_flag(model, "ignore_merges") ? TOKENIZER_SECTION_IGNORE_MERGES : 0u) |
                   (get_flag(model, "fuse_unk") ? TOKENIZER_SECTION_FUSE_UNK : 0u) |
                   (get_flag(model, "byte_fallback") ? TOKENIZER_SECTION_BYTE_FALLBACK : 0u);
    if (is_unigram(model)) {
        parts->flags &= TOKENIZER_SECTION_BYTE_FALLBACK;
        return read_unigram(root, model, &r);
    }
    if (!json_is_object(r.vocabulary)) {
        return error_set(err, "the model has no object \"vocab\"");
    }
    const json_t *unk = json_object_get(model, "unk_token");
    if (json_is_string(unk)) {
        const json_t *id =
            json_object_getn(r.vocabulary, json_string_value(unk), json_string_length(unk));
        if (is_id(id)) {
            parts->unk = (uint32_t)json_integer_value(id);
        }
    }
    return size_tokens(&r) && read_vocabulary(&r) && read_added(&r) &&
           read_merges(&r, json_object_get(model, "merges")) &&
           tokenizer_json_pipeline_read(root, parts, err);
}
