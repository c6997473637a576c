/* The way back: a tokenizer section as keys of a GGUF file. Everything is checked before the first
 * key is written. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_build.h"
#include "engine/text/tokenizer_gguf.h"
#include "engine/text/tokenizer_gguf_merges.h"
#include "engine/text/tokenizer_gguf_types.h"
#include "engine/text/tokenizer_patterns.h"
#include "engine/text/tokenizer_tables.h"

struct ranked_merge {
    uint32_t left, right, rank, result;
};

struct export
{
    struct tokenizer_tables tables;
    bool characters;
    const char *pre;
    uint32_t bos, eos;
    struct ranked_merge *merges; /* by rank */
    uint32_t n_merges;
    double *scores; /* of characters, by id */
    bool space_prefix;
    struct gguf_writer *writer;
    struct error *err;
};

static const char *text_at(const struct export *e, struct tokenizer_section_text text)
{
    return e->tables.pool + text.offset;
}

static bool is_text(const struct export *e, struct tokenizer_section_text text, const char *wanted)
{
    return text.bytes == strlen(wanted) && memcmp(text_at(e, text), wanted, text.bytes) == 0;
}

static int compare_ranks(const void *a, const void *b)
{
    const struct ranked_merge *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static bool collect_merges(struct export *e)
{
    const struct tokenizer_tables *tables = &e->tables;
    e->n_merges = tables->merge_starts ? tables->merge_starts[tables->n_tokens] : 0;
    e->merges = malloc((e->n_merges + (size_t)1) * sizeof(*e->merges));
    if (!e->merges) {
        return error_set(e->err, "out of memory for %" PRIu32 " merges", e->n_merges);
    }
    uint32_t i = 0;
    for (uint32_t left = 0; e->n_merges > 0 && left < tables->n_tokens; left++) {
        for (; i < tables->merge_starts[left + 1]; i++) {
            const struct tokenizer_section_merge *merge = &tables->merges[i];
            e->merges[i] = (struct ranked_merge){left, merge->right, merge->rank, merge->result};
        }
    }
    qsort(e->merges, e->n_merges, sizeof(*e->merges), compare_ranks);
    return true;
}

/* BOS and EOS; where nothing names them, they are what the tokenizer puts around a text. */
static bool choose_ends(struct export *e)
{
    const struct tokenizer_tables *tables = &e->tables;
    struct tokenizer_ids prefix = tables->prefix, suffix = tables->suffix;
    bool no_bos = tables->header->bos == TOKENIZER_SECTION_NO_ID;
    bool no_eos = tables->header->eos == TOKENIZER_SECTION_NO_ID;
    e->bos = no_bos && prefix.count > 0 ? prefix.at[0] : tables->header->bos;
    e->eos = no_eos && suffix.count > 0 ? suffix.at[0] : tables->header->eos;
    bool same = (prefix.count == 0 || (prefix.count == 1 && prefix.at[0] == e->bos)) &&
                (suffix.count == 0 || (suffix.count == 1 && suffix.at[0] == e->eos));
    return same || error_set(e->err, "the tokenizer puts other tokens around a text than one BOS "
                                     "and one EOS, which a GGUF file cannot tell");
}

/* The name of the patterns; GGUF has nothing else for them. */
static bool check_byte_level(struct export *e)
{
    const struct tokenizer_tables *tables = &e->tables;
    struct tokenizer_patterns_text split[TOKENIZER_SECTION_MAX_STEPS];
    uint32_t n = tables->pre_tokenizer.count;
    for (uint32_t i = 0; i < n; i++) {
        const struct tokenizer_section_step *step = &tables->pre_tokenizer.at[i];
        if (step->kind != TOKENIZER_SECTION_SPLIT ||
            !(step->flags & TOKENIZER_SECTION_KEEP_MATCHES)) {
            return error_set(e->err, "the pre-tokenizer does more than split texts by patterns, "
                                     "which a GGUF file cannot tell");
        }
        split[i] = (struct tokenizer_patterns_text){text_at(e, step->text), step->text.bytes};
    }
    bool nfc =
        tables->normalizer.count == 1 && tables->normalizer.at[0].kind == TOKENIZER_SECTION_NFC;
    if (tables->normalizer.count > 0 && !nfc) {
        return error_set(e->err,
                         "the normalizer does more than NFC, which a GGUF file cannot tell");
    }
    bool ignore = tables->header->flags & TOKENIZER_SECTION_IGNORE_MERGES;
    const struct tokenizer_patterns *row = tokenizer_patterns_match(split, n, ignore, nfc);
    if (!row) {
        return error_set(e->err,
                         "no name is known in GGUF files (tokenizer.ggml.pre) for a pre-tokenizer "
                         "with the pattern \"%.*s\"%s",
                         n > 0 ? (int)(split[0].bytes < 200 ? split[0].bytes : 200) : 0,
                         n > 0 ? split[0].text : "", ignore ? " and ignore_merges" : "");
    }
    e->pre = row->name;
    for (uint32_t i = 0; i < e->n_merges; i++) {
        const struct tokenizer_section_token *left = &tables->tokens[e->merges[i].left];
        if (left->text_bytes == 0 ||
            memchr(tables->pool + left->text_offset + 1, ' ', left->text_bytes - 1u)) {
            return error_set(e->err,
                             "token %" PRIu32 " is empty or has a space, and a merge of "
                             "it cannot be told in a GGUF file",
                             e->merges[i].left);
        }
    }
    return true;
}

/* A score for each result of merges, the earlier the higher. */
static bool derive_scores(struct export *e)
{
    double next = 0;
    bool *seen = calloc(e->tables.n_tokens, sizeof(*seen));
    if (!seen) {
        return error_set(e->err, "out of memory for %" PRIu32 " tokens", e->tables.n_tokens);
    }
    uint32_t current = TOKENIZER_SECTION_NO_ID;
    bool ok = true;
    for (uint32_t i = 0; ok && i < e->n_merges; i++) {
        uint32_t result = e->merges[i].result;
        if (result != current) {
            ok = !seen[result];
            seen[result] = true;
            current = result;
            e->scores[result] = -(next++);
        }
    }
    for (uint32_t id = 0; id < e->tables.n_tokens; id++) {
        e->scores[id] = seen[id] ? e->scores[id] : -(next++);
    }
    free(seen);
    return ok || error_set(e->err, "the tokenizer's merges are not ordered by their results, so "
                                   "that scores, as a GGUF file has them, cannot tell them");
}

/* Whether the scores give exactly the section's merges. */
static bool check_scores(struct export *e)
{
    const struct tokenizer_tables *tables = &e->tables;
    struct tokenizer_parts parts = {.n_tokens = tables->n_tokens, .scores = e->scores};
    parts.tokens = calloc(tables->n_tokens, sizeof(*parts.tokens));
    if (!parts.tokens) {
        return error_set(e->err, "out of memory for %" PRIu32 " tokens", tables->n_tokens);
    }
    for (uint32_t id = 0; id < tables->n_tokens; id++) {
        const struct tokenizer_section_token *token = &tables->tokens[id];
        if ((token->flags & TOKENIZER_SECTION_TOKEN_MODEL) &&
            !(token->flags & TOKENIZER_SECTION_TOKEN_ADDED)) {
            parts.tokens[id] = (struct tokenizer_part_token){tables->pool + token->text_offset,
                                                             token->text_bytes, token->flags};
        }
    }
    bool ok = tokenizer_gguf_merges_score(&parts, e->err);
    bool same = ok && parts.n_merges == e->n_merges;
    for (uint32_t i = 0; same && i < parts.n_merges; i++) {
        const struct tokenizer_section_merge *merge =
            tokenizer_tables_merge(tables, parts.merges[i].left, parts.merges[i].right);
        same = merge && merge->result == parts.merges[i].result;
    }
    parts.scores = NULL; /* they are the export's */
    tokenizer_parts_free(&parts);
    return ok && (same || error_set(e->err, "the tokenizer does not merge every two tokens that "
                                            "join to a third, and a GGUF file cannot tell which"));
}

static bool check_characters(struct export *e)
{
    const struct tokenizer_tables *tables = &e->tables;
    const struct tokenizer_section_step *step = tables->normalizer.at;
    uint32_t n = tables->normalizer.count;
    e->space_prefix = n == 2 && step[0].kind == TOKENIZER_SECTION_PREPEND &&
                      is_text(e, step[0].text, TOKENIZER_SPACE_MARK);
    step += e->space_prefix;
    if (n != 1u + e->space_prefix || step->kind != TOKENIZER_SECTION_REPLACE ||
        !is_text(e, step->text, " ") || !is_text(e, step->replacement, TOKENIZER_SPACE_MARK) ||
        tables->pre_tokenizer.count > 0 || !tables->byte_tokens ||
        (tables->header->flags & TOKENIZER_SECTION_IGNORE_MERGES)) {
        return error_set(e->err, "the tokenizer does other than turn spaces to U+2581, merge, and "
                                 "fall back to bytes, which a GGUF file cannot tell");
    }
    e->scores = calloc(tables->n_tokens, sizeof(*e->scores));
    if (!e->scores) {
        return error_set(e->err, "out of memory for %" PRIu32 " scores", tables->n_tokens);
    }
    if (tables->header->scores.count > 0) {
        memcpy(e->scores, (const char *)tables->header + tables->header->scores.offset,
               tables->n_tokens * sizeof(*e->scores));
        return true;
    }
    return derive_scores(e) && check_scores(e);
}

static bool has_text(const struct export *e, uint32_t id)
{
    return id < e->tables.n_tokens && e->tables.tokens[id].text_bytes > 0 &&
           (e->tables.tokens[id].flags &
            (TOKENIZER_SECTION_TOKEN_MODEL | TOKENIZER_SECTION_TOKEN_ADDED));
}

static int32_t token_type(const struct export *e, uint32_t id)
{
    if (!has_text(e, id)) {
        return TOKENIZER_GGUF_UNUSED;
    }
    const struct tokenizer_section_token *token = &e->tables.tokens[id];
    if (token->flags & TOKENIZER_SECTION_TOKEN_ADDED) {
        return !(token->flags & TOKENIZER_SECTION_TOKEN_SPECIAL) ? TOKENIZER_GGUF_USER_DEFINED
               : id == e->tables.header->unk                     ? TOKENIZER_GGUF_UNKNOWN
                                                                 : TOKENIZER_GGUF_CONTROL;
    }
    if (token->flags & TOKENIZER_SECTION_TOKEN_UNUSED) {
        return TOKENIZER_GGUF_UNUSED;
    }
    return e->characters &&
                   tokenizer_byte_token(e->tables.pool + token->text_offset, token->text_bytes) >= 0
               ? TOKENIZER_GGUF_BYTE
               : TOKENIZER_GGUF_NORMAL;
}

static void write_tokens(const struct export *e, uint32_t vocabulary)
{
    gguf_writer_array(e->writer, "tokenizer.ggml.tokens", GGUF_STRING, vocabulary);
    for (uint32_t id = 0; id < vocabulary; id++) {
        char padding[24];
        if (has_text(e, id)) {
            const struct tokenizer_section_token *token = &e->tables.tokens[id];
            gguf_writer_element_string(e->writer, e->tables.pool + token->text_offset,
                                       token->text_bytes);
        } else {
            int n = snprintf(padding, sizeof(padding), "[PAD%" PRIu32 "]", id);
            gguf_writer_element_string(e->writer, padding, (uint64_t)n);
        }
    }
    gguf_writer_array(e->writer, "tokenizer.ggml.token_type", GGUF_I32, vocabulary);
    for (uint32_t id = 0; id < vocabulary; id++) {
        gguf_writer_element_i32(e->writer, token_type(e, id));
    }
    if (e->scores) {
        gguf_writer_array(e->writer, "tokenizer.ggml.scores", GGUF_F32, vocabulary);
        for (uint32_t id = 0; id < vocabulary; id++) {
            gguf_writer_element_f32(e->writer,
                                    id < e->tables.n_tokens ? (float)e->scores[id] : -1e4f);
        }
    }
}

static bool write_merges(const struct export *e)
{
    char *text = malloc(2 * TOKENIZER_SECTION_MAX_TOKEN_BYTES + 1);
    if (!text) {
        return error_set(e->err, "out of memory for a merge");
    }
    gguf_writer_array(e->writer, "tokenizer.ggml.merges", GGUF_STRING, e->n_merges);
    for (uint32_t i = 0; i < e->n_merges; i++) {
        const struct tokenizer_section_token *left = &e->tables.tokens[e->merges[i].left];
        const struct tokenizer_section_token *right = &e->tables.tokens[e->merges[i].right];
        memcpy(text, e->tables.pool + left->text_offset, left->text_bytes);
        text[left->text_bytes] = ' ';
        memcpy(text + left->text_bytes + 1, e->tables.pool + right->text_offset, right->text_bytes);
        gguf_writer_element_string(e->writer, text, left->text_bytes + 1u + right->text_bytes);
    }
    free(text);
    return true;
}

static void write_id(const struct export *e, const char *key, uint32_t id)
{
    if (id != TOKENIZER_SECTION_NO_ID) {
        gguf_writer_u32(e->writer, key, id);
    }
}

/* Where generation stops beside EOS: there are two keys, and texts that every reader knows. */
static void write_stops(const struct export *e)
{
    const char *const keys[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    uint32_t n = 0;
    for (int known = 0; known < 2; known++) {
        for (uint32_t id = 0; id < e->tables.n_tokens && n < 2; id++) {
            const struct tokenizer_section_token *token = &e->tables.tokens[id];
            if ((token->flags & TOKENIZER_SECTION_TOKEN_STOP) && id != e->eos &&
                tokenizer_gguf_is_stop_text(e->tables.pool + token->text_offset,
                                            token->text_bytes) == known) {
                gguf_writer_u32(e->writer, keys[n++], id);
            }
        }
    }
}

static bool write_all(const struct export *e, uint32_t vocabulary)
{
    const struct tokenizer_section *header = e->tables.header;
    const char *model = e->characters ? "llama" : "gpt2";
    gguf_writer_string(e->writer, "tokenizer.ggml.model", model, strlen(model));
    gguf_writer_string(e->writer, "tokenizer.ggml.pre", e->pre, strlen(e->pre));
    write_tokens(e, vocabulary);
    if (!e->characters && !write_merges(e)) {
        return false;
    }
    write_id(e, "tokenizer.ggml.bos_token_id", e->bos);
    write_id(e, "tokenizer.ggml.eos_token_id", e->eos);
    write_id(e, "tokenizer.ggml.unknown_token_id", header->unk);
    write_stops(e);
    gguf_writer_bool(e->writer, "tokenizer.ggml.add_bos_token", e->tables.prefix.count > 0);
    gguf_writer_bool(e->writer, "tokenizer.ggml.add_eos_token", e->tables.suffix.count > 0);
    if (e->characters) {
        gguf_writer_bool(e->writer, "tokenizer.ggml.add_space_prefix", e->space_prefix);
    }
    return true;
}

bool tokenizer_gguf_write(const void *section, uint64_t bytes, uint32_t vocabulary,
                          struct gguf_writer *writer, struct error *err)
{
    struct error inner = {0};
    struct export e = {.writer = writer, .pre = "default", .err = &inner};
    if (!tokenizer_tables_open(&e.tables, section, bytes, err)) {
        return false;
    }
    assert(vocabulary >= e.tables.n_tokens);
    if (e.tables.header->model != TOKENIZER_SECTION_BPE) {
        return error_set(err, "the tokenizer cannot be exported: it is a unigram model, and only "
                              "BPE models can be written as GGUF");
    }
    e.characters = e.tables.header->alphabet == TOKENIZER_SECTION_CHARACTERS;
    bool ok = collect_merges(&e) && choose_ends(&e) &&
              (e.characters ? check_characters(&e) : check_byte_level(&e)) &&
              write_all(&e, vocabulary);
    free(e.merges);
    free(e.scores);
    return ok || error_set(err, "the tokenizer cannot be exported: %s", inner.text);
}
