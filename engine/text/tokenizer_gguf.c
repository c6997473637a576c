#include "engine/text/tokenizer_gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_build.h"
#include "engine/text/tokenizer_charsmap.h"
#include "engine/text/tokenizer_gguf_merges.h"
#include "engine/text/tokenizer_gguf_types.h"
#include "engine/text/tokenizer_model.h"
#include "engine/text/tokenizer_pack.h"
#include "engine/text/tokenizer_patterns.h"
#include "engine/text/unicode.h"

struct reader {
    const struct gguf *gguf;
    struct tokenizer_parts *parts;
    bool sentencepiece; /* "llama" or "t5" */
    bool unigram;       /* "t5" */
    bool has_types;
    struct error *err;
};

/* Texts after which a model stops, whatever its numbers say (what llama.cpp knows, too). */
static const char *const stop_texts[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "</s>",
};

static bool is_text(const char *text, size_t bytes, const char *wanted)
{
    return strlen(wanted) == bytes && memcmp(text, wanted, bytes) == 0;
}

bool tokenizer_gguf_is_stop_text(const char *text, size_t bytes)
{
    for (size_t i = 0; i < sizeof(stop_texts) / sizeof(*stop_texts); i++) {
        if (is_text(text, bytes, stop_texts[i])) {
            return true;
        }
    }
    return false;
}

/* Whether the text is "[PAD<id>]", as converters name rows without a token. */
static bool is_padding(const char *text, size_t bytes, uint32_t id)
{
    char name[24];
    snprintf(name, sizeof(name), "[PAD%" PRIu32 "]", id);
    return is_text(text, bytes, name);
}

static bool get_text(const struct reader *r, const char *key, const char **text, uint64_t *bytes)
{
    return gguf_value_string(gguf_find_pair(r->gguf, key), text, bytes);
}

bool tokenizer_gguf_has(const struct gguf *gguf)
{
    const char *text;
    uint64_t bytes;
    const struct gguf_pair *pair = gguf_find_pair(gguf, "tokenizer.ggml.model");
    return pair && !(gguf_value_string(pair, &text, &bytes) &&
                     (is_text(text, bytes, "none") || is_text(text, bytes, "no_vocab")));
}

/* An array with one element for each token, or NULL if there is none. */
static bool get_array(struct reader *r, const char *key, const struct gguf_pair **pair)
{
    *pair = gguf_find_pair(r->gguf, key);
    if (*pair && (!(*pair)->is_array || (*pair)->count != r->parts->n_tokens)) {
        return error_set(r->err, "%s has %" PRIu64 " entries, and tokenizer.ggml.tokens %" PRIu32,
                         key, (*pair)->count, r->parts->n_tokens);
    }
    return true;
}

/* What kind of token the type makes of an entry. */
static uint32_t token_flags(const struct reader *r, int64_t type)
{
    switch (type) {
    case TOKENIZER_GGUF_UNKNOWN:
    case TOKENIZER_GGUF_CONTROL:
        return TOKENIZER_SECTION_TOKEN_ADDED | TOKENIZER_SECTION_TOKEN_SPECIAL;
    case TOKENIZER_GGUF_USER_DEFINED:
        return TOKENIZER_SECTION_TOKEN_ADDED;
    case TOKENIZER_GGUF_UNUSED:
        return TOKENIZER_SECTION_TOKEN_MODEL |
               (r->sentencepiece ? TOKENIZER_SECTION_TOKEN_UNUSED : 0u);
    case TOKENIZER_GGUF_BYTE: /* never found by its text */
        return TOKENIZER_SECTION_TOKEN_MODEL | (r->unigram ? TOKENIZER_SECTION_TOKEN_UNUSED : 0u);
    case TOKENIZER_GGUF_NORMAL:
        return TOKENIZER_SECTION_TOKEN_MODEL;
    }
    return 0;
}

static bool read_token(struct reader *r, uint32_t id, const char *text, uint64_t bytes,
                       const struct gguf_pair *types)
{
    int64_t type = TOKENIZER_GGUF_NORMAL;
    if (types && !gguf_value_i64(types, id, &type)) {
        return error_set(r->err, "tokenizer.ggml.token_type is not a list of integers");
    }
    uint32_t flags = token_flags(r, type);
    if (flags == 0) {
        return error_set(r->err, "token %" PRIu32 " has type %" PRIi64 ", which is unknown", id,
                         type);
    }
    if (bytes > TOKENIZER_SECTION_MAX_TOKEN_BYTES) {
        return error_set(r->err,
                         "token %" PRIu32 " has %" PRIu64 " bytes; at most %u are supported", id,
                         bytes, TOKENIZER_SECTION_MAX_TOKEN_BYTES);
    }
    bool named_padding =
        type != TOKENIZER_GGUF_NORMAL && type != TOKENIZER_GGUF_BYTE && is_padding(text, bytes, id);
    if (bytes == 0 || named_padding) {
        return true; /* a row of the embedding without a token */
    }
    if ((flags & TOKENIZER_SECTION_TOKEN_ADDED) && !unicode_is_valid(text, bytes)) {
        return error_set(r->err, "token %" PRIu32 " is searched for in texts and is not UTF-8", id);
    }
    r->parts->tokens[id] = (struct tokenizer_part_token){text, bytes, flags};
    return true;
}

static bool read_tokens(struct reader *r)
{
    const struct gguf_pair *tokens = gguf_find_pair(r->gguf, "tokenizer.ggml.tokens"), *types;
    struct tokenizer_parts *parts = r->parts;
    if (!tokens || !tokens->is_array || tokens->type != GGUF_STRING || tokens->count == 0) {
        return error_set(r->err, "tokenizer.ggml.tokens is missing, empty or not a list of texts");
    }
    if (tokens->count > TOKENIZER_SECTION_MAX_TOKENS) {
        return error_set(r->err,
                         "tokenizer.ggml.tokens has %" PRIu64 " entries; at most %u are supported",
                         tokens->count, TOKENIZER_SECTION_MAX_TOKENS);
    }
    parts->n_tokens = (uint32_t)tokens->count;
    if (!get_array(r, "tokenizer.ggml.token_type", &types)) {
        return false;
    }
    r->has_types = types != NULL;
    parts->tokens = calloc(parts->n_tokens, sizeof(*parts->tokens));
    if (!parts->tokens) {
        return error_set(r->err, "out of memory for %" PRIu32 " tokens", parts->n_tokens);
    }
    struct gguf_strings walk = gguf_strings(tokens);
    const char *text;
    uint64_t bytes;
    for (uint32_t id = 0; gguf_next_string(&walk, &text, &bytes); id++) {
        if (!read_token(r, id, text, bytes, types)) {
            return false;
        }
    }
    return true;
}

static bool read_scores(struct reader *r)
{
    const struct gguf_pair *pair;
    if (!get_array(r, "tokenizer.ggml.scores", &pair)) {
        return false;
    }
    if (!pair) {
        return error_set(r->err, "tokenizer.ggml.scores is missing; a SentencePiece vocabulary "
                                 "needs it");
    }
    r->parts->scores = malloc(r->parts->n_tokens * sizeof(double));
    if (!r->parts->scores) {
        return error_set(r->err, "out of memory for %" PRIu32 " scores", r->parts->n_tokens);
    }
    for (uint32_t id = 0; id < r->parts->n_tokens; id++) {
        if (!gguf_value_f64(pair, id, &r->parts->scores[id]) || !isfinite(r->parts->scores[id])) {
            return error_set(r->err, "the score of token %" PRIu32 " is not a finite number", id);
        }
    }
    return true;
}

/* The id that a key tells; 2^32 - 1, as some files have it, means none. */
static bool read_id(struct reader *r, const char *key, uint32_t *id)
{
    const struct gguf_pair *pair = gguf_find_pair(r->gguf, key);
    uint64_t value;
    *id = TOKENIZER_SECTION_NO_ID;
    if (!pair || (gguf_value_u64(pair, 0, &value) && value == TOKENIZER_SECTION_NO_ID)) {
        return true;
    }
    if (!gguf_value_u64(pair, 0, &value) || value >= r->parts->n_tokens) {
        return error_set(r->err, "%s is not the id of one of the %" PRIu32 " tokens", key,
                         r->parts->n_tokens);
    }
    if (r->parts->tokens[value].text) {
        *id = (uint32_t)value;
    }
    return true;
}

/* Files that tell no types: what they name is special. */
static void mark(struct reader *r, uint32_t id, uint32_t flags)
{
    if (id != TOKENIZER_SECTION_NO_ID) {
        struct tokenizer_part_token *token = &r->parts->tokens[id];
        if (!r->has_types && unicode_is_valid(token->text, token->bytes)) {
            token->flags = TOKENIZER_SECTION_TOKEN_ADDED | TOKENIZER_SECTION_TOKEN_SPECIAL;
        }
        token->flags |= flags;
    }
}

static bool read_ids(struct reader *r)
{
    struct tokenizer_parts *parts = r->parts;
    uint32_t stop[2];
    if (!read_id(r, "tokenizer.ggml.bos_token_id", &parts->bos) ||
        !read_id(r, "tokenizer.ggml.eos_token_id", &parts->eos) ||
        !read_id(r, "tokenizer.ggml.unknown_token_id", &parts->unk) ||
        !read_id(r, "tokenizer.ggml.eot_token_id", &stop[0]) ||
        !read_id(r, "tokenizer.ggml.eom_token_id", &stop[1])) {
        return false;
    }
    mark(r, parts->bos, 0);
    mark(r, parts->unk, 0);
    mark(r, parts->eos, TOKENIZER_SECTION_TOKEN_STOP);
    mark(r, stop[0], TOKENIZER_SECTION_TOKEN_STOP);
    mark(r, stop[1], TOKENIZER_SECTION_TOKEN_STOP);
    return true;
}

/* Where a model has the first two tokens, the third one does not end generation. */
static const char *const stop_exceptions[][3] = {
    {"<|return|>", "<|call|>", "<|end|>"},
    {"<|calls|>", "<|flush|>", "<|end|>"},
    {"<|tool_response>", "<|tool_response>", "</s>"},
};
#define N_EXCEPTIONS (sizeof(stop_exceptions) / sizeof(*stop_exceptions))

static bool is_excepted(const bool found[N_EXCEPTIONS][2], const struct tokenizer_part_token *token)
{
    for (size_t i = 0; i < N_EXCEPTIONS; i++) {
        if (found[i][0] && found[i][1] &&
            is_text(token->text, token->bytes, stop_exceptions[i][2])) {
            return true;
        }
    }
    return false;
}

static void mark_stop_texts(struct reader *r)
{
    bool found[N_EXCEPTIONS][2] = {{false}};
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t id = 0; id < r->parts->n_tokens; id++) {
            struct tokenizer_part_token *token = &r->parts->tokens[id];
            if (!(token->flags & TOKENIZER_SECTION_TOKEN_ADDED)) {
                continue;
            }
            for (size_t i = 0; pass == 0 && i < N_EXCEPTIONS; i++) {
                found[i][0] |= is_text(token->text, token->bytes, stop_exceptions[i][0]);
                found[i][1] |= is_text(token->text, token->bytes, stop_exceptions[i][1]);
            }
            if (pass == 1 && tokenizer_gguf_is_stop_text(token->text, token->bytes) &&
                !is_excepted(found, token)) {
                token->flags |= TOKENIZER_SECTION_TOKEN_STOP;
            }
        }
    }
}

/* Phi-3's tokens swallow white space behind them, which its GGUF files do not say. */
static bool is_phi3(const struct reader *r)
{
    const char *arch;
    uint64_t bytes;
    return get_text(r, "general.architecture", &arch, &bytes) &&
           (is_text(arch, bytes, "phi3") || is_text(arch, bytes, "phimoe"));
}

static bool swallows_spaces(const struct tokenizer_part_token *token)
{
    return !is_text(token->text, token->bytes, "<unk>") &&
           !is_text(token->text, token->bytes, "<s>") &&
           !is_text(token->text, token->bytes, "<|endoftext|>");
}

static bool read_added(struct reader *r)
{
    struct tokenizer_parts *parts = r->parts;
    bool phi3 = is_phi3(r);
    parts->added = calloc(parts->n_tokens, sizeof(*parts->added));
    if (!parts->added) {
        return error_set(r->err, "out of memory for %" PRIu32 " tokens", parts->n_tokens);
    }
    for (uint32_t id = 0; id < parts->n_tokens; id++) {
        const struct tokenizer_part_token *token = &parts->tokens[id];
        if (token->flags & TOKENIZER_SECTION_TOKEN_ADDED) {
            bool special = token->flags & TOKENIZER_SECTION_TOKEN_SPECIAL;
            parts->added[parts->n_added++] = (struct tokenizer_part_added){
                .id = id,
                .flags = (special ? TOKENIZER_SECTION_MATCH_SPECIAL : 0u) |
                         (phi3 && swallows_spaces(token) ? TOKENIZER_SECTION_MATCH_RSTRIP : 0u),
            };
        }
    }
    return true;
}

/* A Boolean key; `missing` if it is not there. */
static bool read_flag(struct reader *r, const char *key, bool missing, bool *value)
{
    const struct gguf_pair *pair = gguf_find_pair(r->gguf, key);
    *value = missing;
    return !pair || gguf_value_bool(pair, 0, value) ||
           error_set(r->err, "%s is neither true nor false", key);
}

static bool read_ends(struct reader *r, bool add_bos, bool add_eos)
{
    bool bos, eos;
    struct tokenizer_parts *parts = r->parts;
    if (!read_flag(r, "tokenizer.ggml.add_bos_token", add_bos, &bos) ||
        !read_flag(r, "tokenizer.ggml.add_eos_token", add_eos, &eos)) {
        return false;
    }
    if (bos && parts->bos != TOKENIZER_SECTION_NO_ID) {
        parts->prefix.at[parts->prefix.count++] = parts->bos;
    }
    if (eos && parts->eos != TOKENIZER_SECTION_NO_ID) {
        parts->suffix.at[parts->suffix.count++] = parts->eos;
    }
    return true;
}

static void add_step(struct tokenizer_part_steps *steps, struct tokenizer_part_step step)
{
    steps->at[steps->count++] = step;
}

static bool read_byte_level(struct reader *r)
{
    struct tokenizer_parts *parts = r->parts;
    const char *name = "default";
    uint64_t bytes = strlen(name);
    get_text(r, "tokenizer.ggml.pre", &name, &bytes);
    const struct tokenizer_patterns *row = tokenizer_patterns_find(name, bytes);
    if (!row) {
        return error_set(r->err, "the pre-tokenizer \"%.*s\" (tokenizer.ggml.pre) is not supported",
                         (int)(bytes < 60 ? bytes : 60), name);
    }
    parts->alphabet = TOKENIZER_SECTION_BYTES;
    if (row->flags & TOKENIZER_PATTERNS_IGNORE_MERGES) {
        parts->flags |= TOKENIZER_SECTION_IGNORE_MERGES;
    }
    if (row->flags & TOKENIZER_PATTERNS_NFC) {
        add_step(&parts->normalizer, (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_NFC});
    }
    for (int i = 0; i < TOKENIZER_PATTERNS_MAX && row->split[i]; i++) {
        add_step(&parts->pre_tokenizer,
                 (struct tokenizer_part_step){
                     .kind = TOKENIZER_SECTION_SPLIT,
                     .flags = TOKENIZER_SECTION_KEEP_MATCHES | TOKENIZER_SECTION_KEEP_GAPS,
                     .text = row->split[i],
                     .bytes = strlen(row->split[i]),
                 });
    }
    add_step(&parts->decoder, (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_RAW});
    return read_ends(r, row->flags & TOKENIZER_PATTERNS_ADD_BOS, false) &&
           tokenizer_gguf_merges_read(gguf_find_pair(r->gguf, "tokenizer.ggml.merges"), parts,
                                      r->err);
}

static bool read_sentencepiece(struct reader *r)
{
    struct tokenizer_parts *parts = r->parts;
    const char *mark_text = TOKENIZER_SPACE_MARK;
    size_t mark_bytes = sizeof(TOKENIZER_SPACE_MARK) - 1;
    bool prefix;
    if (!read_flag(r, "tokenizer.ggml.add_space_prefix", true, &prefix)) {
        return false;
    }
    parts->alphabet = TOKENIZER_SECTION_CHARACTERS;
    parts->flags = TOKENIZER_SECTION_FUSE_UNK | TOKENIZER_SECTION_BYTE_FALLBACK;
    if (prefix) {
        add_step(&parts->normalizer, (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_PREPEND,
                                                                  .text = mark_text,
                                                                  .bytes = mark_bytes});
    }
    add_step(&parts->normalizer, (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_REPLACE,
                                                              .text = " ",
                                                              .bytes = 1,
                                                              .replacement = mark_text,
                                                              .replacement_bytes = mark_bytes});
    add_step(&parts->decoder, (struct tokenizer_part_step){.kind = TOKENIZER_SECTION_RAW});
    if (prefix) {
        add_step(&parts->decoder,
                 (struct tokenizer_part_step){
                     .kind = TOKENIZER_SECTION_STRIP_START, .text = " ", .bytes = 1});
    }
    return read_ends(r, true, false) && read_scores(r) &&
           tokenizer_gguf_merges_score(parts, r->err);
}

/* Bytes fall back where the vocabulary has them: the file has no word about it. */
static bool has_bytes(const struct tokenizer_parts *parts)
{
    for (uint32_t id = 0; id < parts->n_tokens; id++) {
        const struct tokenizer_part_token *token = &parts->tokens[id];
        if ((token->flags & TOKENIZER_SECTION_TOKEN_UNUSED) &&
            tokenizer_byte_token(token->text, token->bytes) >= 0) {
            return true;
        }
    }
    return false;
}

static bool read_unigram(struct reader *r)
{
    struct tokenizer_parts *parts = r->parts;
    const struct gguf_pair *map = gguf_find_pair(r->gguf, "tokenizer.ggml.precompiled_charsmap");
    struct tokenizer_model_normalizer normalizer;
    if (!read_flag(r, "tokenizer.ggml.add_space_prefix", true, &normalizer.add_dummy_prefix) ||
        !read_flag(r, "tokenizer.ggml.remove_extra_whitespaces", true,
                   &normalizer.remove_extra_whitespaces)) {
        return false;
    }
    normalizer.charsmap = map ? (const char *)map->value : NULL;
    normalizer.charsmap_bytes = map ? (size_t)map->value_bytes : 0;
    if (map && (!map->is_array || (map->type != GGUF_U8 && map->type != GGUF_I8) ||
                (map->count > 0 &&
                 !tokenizer_charsmap_check(normalizer.charsmap, normalizer.charsmap_bytes)))) {
        return error_set(r->err, "tokenizer.ggml.precompiled_charsmap is not a map of characters");
    }
    parts->model = TOKENIZER_SECTION_UNIGRAM;
    parts->flags =
        TOKENIZER_SECTION_SINGLE_SUMS | (has_bytes(parts) ? TOKENIZER_SECTION_BYTE_FALLBACK : 0u);
    return tokenizer_model_steps(&normalizer, parts, r->err) && read_ends(r, false, true) &&
           read_scores(r);
}

static bool read_all(struct reader *r, void **section, uint64_t *bytes)
{
    const char *model;
    uint64_t n;
    if (!get_text(r, "tokenizer.ggml.model", &model, &n)) {
        return error_set(r->err, "tokenizer.ggml.model is missing or not a text");
    }
    r->unigram = is_text(model, n, "t5");
    r->sentencepiece = r->unigram || is_text(model, n, "llama");
    if (!r->sentencepiece && !is_text(model, n, "gpt2")) {
        return error_set(r->err,
                         "the model \"%.*s\" (tokenizer.ggml.model) is not supported; \"gpt2\" "
                         "(byte-level BPE), \"llama\" (SentencePiece BPE) and \"t5\" (unigram) are",
                         (int)(n < 60 ? n : 60), model);
    }
    if (!read_tokens(r) || !read_ids(r)) {
        return false;
    }
    mark_stop_texts(r);
    return read_added(r) &&
           (r->unigram         ? read_unigram(r)
            : r->sentencepiece ? read_sentencepiece(r)
                               : read_byte_level(r)) &&
           tokenizer_pack_parts(r->parts, section, bytes, r->err);
}

bool tokenizer_gguf_pack(const struct gguf *gguf, void **section, uint64_t *bytes,
                         struct error *err)
{
    struct error inner = {0};
    struct tokenizer_parts parts = {.model = TOKENIZER_SECTION_BPE,
                                    .bos = TOKENIZER_SECTION_NO_ID,
                                    .eos = TOKENIZER_SECTION_NO_ID,
                                    .unk = TOKENIZER_SECTION_NO_ID};
    struct reader r = {.gguf = gguf, .parts = &parts, .err = &inner};
    *section = NULL;
    *bytes = 0;
    bool ok = read_all(&r, section, bytes);
    tokenizer_parts_free(&parts);
    return ok ||
           error_set(err, "%s: the tokenizer cannot be used: %s", gguf->files[0].path, inner.text);
}
