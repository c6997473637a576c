#include "engine/text/tokenizer_tables.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/text/tokenizer_charsmap.h"
#include "engine/text/unicode.h"

/* The section while it is being checked. */
struct section_view {
    const uint8_t *data;
    uint64_t bytes;
    uint64_t pool_bytes;
    struct error *err;
};

static bool damaged(const struct section_view *view, const char *what)
{
    return error_set(view->err, "the tokenizer section is damaged: %s; get the model file again",
                     what);
}

/* Sets *at to the table's records, NULL if it is empty. */
static bool open_table(const struct section_view *view, const struct tokenizer_section_table *table,
                       size_t record, uint64_t cap, const char *name, const void **at)
{
    *at = NULL;
    if (table->count == 0) {
        return true;
    }
    if (table->count > cap) {
        return error_set(view->err, "the tokenizer section has %llu %s; at most %llu are supported",
                         (unsigned long long)table->count, name, (unsigned long long)cap);
    }
    if (table->offset % 8 || table->offset < sizeof(struct tokenizer_section) ||
        table->offset > view->bytes || table->count > (view->bytes - table->offset) / record) {
        return error_set(view->err,
                         "the tokenizer section is damaged: its table of %s lies outside of it; "
                         "get the model file again",
                         name);
    }
    *at = view->data + table->offset;
    return true;
}

static bool in_pool(const struct section_view *view, uint32_t offset, uint32_t bytes)
{
    return offset <= view->pool_bytes && bytes <= view->pool_bytes - offset;
}

static int compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static bool open_kinds(const struct section_view *view, const struct tokenizer_section *header)
{
    if (header->magic != TOKENIZER_SECTION_MAGIC) {
        return damaged(view, "it does not begin with MTOK");
    }
    if (header->version != TOKENIZER_SECTION_VERSION) {
        return error_set(view->err,
                         "the tokenizer section has version %u, and this program reads "
                         "version %u; use a newer program",
                         header->version, TOKENIZER_SECTION_VERSION);
    }
    bool bytes = header->alphabet == TOKENIZER_SECTION_BYTES;
    bool characters = header->alphabet == TOKENIZER_SECTION_CHARACTERS;
    if (!(header->model == TOKENIZER_SECTION_BPE && (bytes || characters)) &&
        !(header->model == TOKENIZER_SECTION_UNIGRAM && characters)) {
        return error_set(view->err,
                         "the tokenizer is of kind %u with alphabet %u, and this program knows "
                         "BPE of bytes and of characters and unigram models of characters; use a "
                         "newer program",
                         header->model, header->alphabet);
    }
    uint32_t known =
        TOKENIZER_SECTION_IGNORE_MERGES | TOKENIZER_SECTION_FUSE_UNK |
        (bytes ? 0u : TOKENIZER_SECTION_BYTE_FALLBACK) |
        (header->model == TOKENIZER_SECTION_UNIGRAM ? TOKENIZER_SECTION_SINGLE_SUMS : 0u);
    if (header->flags & ~known) {
        return error_set(view->err,
                         "the tokenizer section has flags 0x%x, which this program does "
                         "not know; use a newer program",
                         header->flags & ~known);
    }
    return true;
}

static bool check_id(const struct section_view *view, const struct tokenizer_tables *tables,
                     uint32_t id, const char *what)
{
    if (id != TOKENIZER_SECTION_NO_ID && id >= tables->n_tokens) {
        return error_set(view->err,
                         "the tokenizer section is damaged: %s is %u of %u tokens; get "
                         "the model file again",
                         what, id, tables->n_tokens);
    }
    return true;
}

static bool open_tokens(const struct section_view *view, struct tokenizer_tables *tables)
{
    const struct tokenizer_section *header = tables->header;
    const void *tokens, *sorted;
    if (!open_table(view, &header->tokens, sizeof(*tables->tokens), TOKENIZER_SECTION_MAX_TOKENS,
                    "tokens", &tokens) ||
        !open_table(view, &header->sorted, sizeof(uint32_t), header->tokens.count,
                    "vocabulary entries", &sorted)) {
        return false;
    }
    tables->tokens = tokens;
    tables->n_tokens = (uint32_t)header->tokens.count;
    tables->sorted = (struct tokenizer_ids){sorted, (uint32_t)header->sorted.count};
    if (tables->n_tokens == 0) {
        return damaged(view, "it has no tokens");
    }
    for (uint32_t id = 0; id < tables->n_tokens; id++) {
        const struct tokenizer_section_token *token = &tables->tokens[id];
        if (!in_pool(view, token->text_offset, token->text_bytes) ||
            !in_pool(view, token->raw_offset, token->raw_bytes)) {
            return damaged(view, "the text of a token lies outside of it");
        }
    }
    for (uint32_t i = 0; i < tables->sorted.count; i++) {
        if (tables->sorted.at[i] >= tables->n_tokens ||
            !(tables->tokens[tables->sorted.at[i]].flags & TOKENIZER_SECTION_TOKEN_MODEL)) {
            return damaged(view, "its sorted vocabulary names a token that is not there");
        }
        const struct tokenizer_section_token *token = &tables->tokens[tables->sorted.at[i]];
        const struct tokenizer_section_token *before =
            i > 0 ? &tables->tokens[tables->sorted.at[i - 1]] : NULL;
        if (before && compare(tables->pool + before->text_offset, before->text_bytes,
                              tables->pool + token->text_offset, token->text_bytes) >= 0) {
            return damaged(view, "its sorted vocabulary is not in order");
        }
    }
    return check_id(view, tables, header->bos, "the BOS token") &&
           check_id(view, tables, header->eos, "the EOS token") &&
           check_id(view, tables, header->unk, "the unknown token");
}

static bool open_bytes(const struct section_view *view, struct tokenizer_tables *tables)
{
    const void *byte_tokens;
    if (!open_table(view, &tables->header->byte_tokens, sizeof(uint32_t), 256, "bytes",
                    &byte_tokens)) {
        return false;
    }
    tables->byte_tokens = byte_tokens;
    uint32_t wanted = tables->header->alphabet == TOKENIZER_SECTION_BYTES ||
                              (tables->header->flags & TOKENIZER_SECTION_BYTE_FALLBACK)
                          ? 256
                          : 0;
    if (tables->header->byte_tokens.count != wanted) {
        return damaged(view, wanted ? "its table of bytes does not have 256 entries"
                                    : "it has a table of bytes and no use for it");
    }
    for (uint32_t i = 0; i < wanted; i++) {
        if (!check_id(view, tables, tables->byte_tokens[i], "the token of a byte")) {
            return false;
        }
    }
    return true;
}

static bool open_merges(const struct section_view *view, struct tokenizer_tables *tables)
{
    const struct tokenizer_section *header = tables->header;
    const void *starts, *merges;
    if (!open_table(view, &header->merge_starts, sizeof(uint32_t), tables->n_tokens + UINT64_C(1),
                    "merge rows", &starts) ||
        !open_table(view, &header->merges, sizeof(*tables->merges), TOKENIZER_SECTION_MAX_MERGES,
                    "merges", &merges)) {
        return false;
    }
    tables->merge_starts = starts;
    tables->merges = merges;
    if (!merges) {
        tables->merge_starts = NULL;
        return true;
    }
    if (header->merge_starts.count != tables->n_tokens + UINT64_C(1) ||
        tables->merge_starts[0] != 0 ||
        tables->merge_starts[tables->n_tokens] != header->merges.count) {
        return damaged(view, "its merge rows do not cover the merges");
    }
    for (uint32_t left = 0; left < tables->n_tokens; left++) {
        uint32_t begin = tables->merge_starts[left], end = tables->merge_starts[left + 1];
        if (begin > end || end > header->merges.count) {
            return damaged(view, "its merge rows are not in order");
        }
        for (uint32_t i = begin; i < end; i++) {
            const struct tokenizer_section_merge *merge = &tables->merges[i];
            if (merge->right >= tables->n_tokens || merge->result >= tables->n_tokens ||
                (i > begin && merge[-1].right >= merge->right)) {
                return damaged(view, "a merge names a token that is not there, or is out of order");
            }
        }
    }
    return true;
}

static bool open_matches(const struct section_view *view, const struct tokenizer_tables *tables,
                         const struct tokenizer_section_table *table,
                         struct tokenizer_matches *matches)
{
    const void *at;
    if (!open_table(view, table, sizeof(*matches->at), TOKENIZER_SECTION_MAX_MATCHES,
                    "added tokens", &at)) {
        return false;
    }
    *matches = (struct tokenizer_matches){at, (uint32_t)table->count};
    for (uint32_t i = 0; i < matches->count; i++) {
        const struct tokenizer_section_match *match = &matches->at[i];
        struct tokenizer_section_text text = match->text;
        if (match->id >= tables->n_tokens || !in_pool(view, text.offset, text.bytes)) {
            return damaged(view, "an added token lies outside of it");
        }
        /* Pieces between matches are taken for valid UTF-8 later: so the matches must be. */
        if (text.bytes == 0 || text.bytes > TOKENIZER_SECTION_MAX_MATCH_BYTES ||
            !unicode_is_valid(tables->pool + text.offset, text.bytes)) {
            return damaged(view, "the text of an added token is empty, too long or not UTF-8");
        }
        if (i > 0 && compare(tables->pool + match[-1].text.offset, match[-1].text.bytes,
                             tables->pool + text.offset, text.bytes) >= 0) {
            return damaged(view, "its added tokens are not in order");
        }
    }
    return true;
}

static bool open_steps(const struct section_view *view, const struct tokenizer_tables *tables,
                       const struct tokenizer_section_table *table, uint32_t last_kind,
                       const char *name, struct tokenizer_steps *steps)
{
    const void *at;
    if (!open_table(view, table, sizeof(*steps->at), TOKENIZER_SECTION_MAX_STEPS, name, &at)) {
        return false;
    }
    *steps = (struct tokenizer_steps){at, (uint32_t)table->count};
    for (uint32_t i = 0; i < steps->count; i++) {
        const struct tokenizer_section_step *step = &steps->at[i];
        if (step->kind == 0 || step->kind > last_kind) {
            return error_set(view->err,
                             "the tokenizer has a step of kind %u among its %s, which "
                             "this program does not know; use a newer program",
                             step->kind, name);
        }
        bool is_map =
            table == &tables->header->normalizer && step->kind == TOKENIZER_SECTION_CHARSMAP;
        if (!in_pool(view, step->text.offset, step->text.bytes) ||
            !in_pool(view, step->replacement.offset, step->replacement.bytes) ||
            (!is_map && !unicode_is_valid(tables->pool + step->text.offset, step->text.bytes)) ||
            !unicode_is_valid(tables->pool + step->replacement.offset, step->replacement.bytes)) {
            return damaged(view, "the text of a step lies outside of it or is not UTF-8");
        }
        if (is_map &&
            !tokenizer_charsmap_check(tables->pool + step->text.offset, step->text.bytes)) {
            return damaged(view, "its map of characters is not one");
        }
    }
    return true;
}

/* Steps that search for their text or put it somewhere need one. */
static bool check_step_texts(const struct section_view *view, const struct tokenizer_tables *tables)
{
    for (uint32_t i = 0; i < tables->normalizer.count; i++) {
        const struct tokenizer_section_step *step = &tables->normalizer.at[i];
        if ((step->kind == TOKENIZER_SECTION_REPLACE || step->kind == TOKENIZER_SECTION_RUNS) &&
            step->text.bytes == 0) {
            return damaged(view, "a normalizer replaces an empty text");
        }
    }
    for (uint32_t i = 0; i < tables->pre_tokenizer.count; i++) {
        const struct tokenizer_section_step *step = &tables->pre_tokenizer.at[i];
        if (step->kind == TOKENIZER_SECTION_METASPACE && step->text.bytes == 0) {
            return damaged(view, "a pre-tokenizer replaces spaces by an empty text");
        }
    }
    return true;
}

static void find_ascii(struct tokenizer_tables *tables)
{
    for (uint32_t code = 0; code < 128; code++) {
        char character = (char)code;
        tables->ascii[code] = tokenizer_tables_find(tables, &character, 1);
    }
}

/* A unigram model: finite scores, tokens short enough for linear time, and an unknown token. */
static bool check_unigram(const struct section_view *view, const struct tokenizer_tables *tables)
{
    if (tables->header->unk == TOKENIZER_SECTION_NO_ID || !tables->scores) {
        return error_set(view->err, "the tokenizer has a unigram model without %s",
                         tables->scores ? "an unknown token" : "scores");
    }
    for (uint32_t i = 0; i < tables->sorted.count; i++) {
        uint32_t id = tables->sorted.at[i];
        if (!isfinite(tables->scores[id])) {
            return error_set(view->err, "the score of token %u is not a finite number", id);
        }
        if (tables->tokens[id].text_bytes > TOKENIZER_SECTION_MAX_UNIGRAM_BYTES) {
            return error_set(view->err,
                             "token %u has %u bytes; a unigram model may have tokens of %u", id,
                             tables->tokens[id].text_bytes, TOKENIZER_SECTION_MAX_UNIGRAM_BYTES);
        }
    }
    return true;
}

static bool open_scores(const struct section_view *view, struct tokenizer_tables *tables)
{
    const void *scores;
    const struct tokenizer_section_table *table = &tables->header->scores;
    if (!open_table(view, table, sizeof(double), TOKENIZER_SECTION_MAX_TOKENS, "scores", &scores)) {
        return false;
    }
    if (table->count != 0 && table->count != tables->n_tokens) {
        return damaged(view, "it does not have one score for each token");
    }
    tables->scores = scores;
    return tables->header->model != TOKENIZER_SECTION_UNIGRAM || check_unigram(view, tables);
}

static bool open_extra(const struct section_view *view, const struct tokenizer_tables *tables,
                       const struct tokenizer_section_table *table, struct tokenizer_ids *ids)
{
    const void *at;
    if (!open_table(view, table, sizeof(uint32_t), TOKENIZER_SECTION_MAX_EXTRA,
                    "tokens to add around a text", &at)) {
        return false;
    }
    *ids = (struct tokenizer_ids){at, (uint32_t)table->count};
    for (uint32_t i = 0; i < ids->count; i++) {
        if (ids->at[i] >= tables->n_tokens) {
            return damaged(view, "a token to add around a text is not there");
        }
    }
    return true;
}

bool tokenizer_tables_open(struct tokenizer_tables *tables, const void *section, uint64_t bytes,
                           struct error *err)
{
    struct section_view view = {.data = section, .bytes = bytes, .err = err};
    const struct tokenizer_section *header = section;
    const void *pool;
    *tables = (struct tokenizer_tables){.header = header};
    if (!section || bytes < sizeof(*header)) {
        return damaged(&view, "it is shorter than its header");
    }
    if ((uintptr_t)section % 8) {
        return error_set(err, "the tokenizer section does not begin at a multiple of 8 bytes");
    }
    if (!open_kinds(&view, header) ||
        !open_table(&view, &header->pool, 1, UINT32_MAX, "texts", &pool)) {
        return false;
    }
    tables->pool = pool ? pool : "";
    view.pool_bytes = header->pool.count;
    if (!open_tokens(&view, tables)) {
        return false;
    }
    find_ascii(tables);
    return open_bytes(&view, tables) && open_merges(&view, tables) && open_scores(&view, tables) &&
           open_matches(&view, tables, &header->raw_matches, &tables->raw_matches) &&
           open_matches(&view, tables, &header->normalized_matches, &tables->normalized_matches) &&
           open_steps(&view, tables, &header->normalizer, TOKENIZER_SECTION_RUNS, "normalizers",
                      &tables->normalizer) &&
           open_steps(&view, tables, &header->pre_tokenizer, TOKENIZER_SECTION_METASPACE,
                      "pre-tokenizers", &tables->pre_tokenizer) &&
           open_steps(&view, tables, &header->decoder, TOKENIZER_SECTION_STRIP_START, "decoders",
                      &tables->decoder) &&
           check_step_texts(&view, tables) &&
           open_extra(&view, tables, &header->prefix, &tables->prefix) &&
           open_extra(&view, tables, &header->suffix, &tables->suffix);
}

uint32_t tokenizer_tables_find(const struct tokenizer_tables *tables, const char *text,
                               size_t bytes)
{
    uint32_t low = 0, high = tables->sorted.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint32_t id = tables->sorted.at[middle];
        const struct tokenizer_section_token *token = &tables->tokens[id];
        int order = compare(text, bytes, tables->pool + token->text_offset, token->text_bytes);
        if (order == 0) {
            return id;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return TOKENIZER_SECTION_NO_ID;
}

const struct tokenizer_section_merge *tokenizer_tables_merge(const struct tokenizer_tables *tables,
                                                             uint32_t left, uint32_t right)
{
    if (!tables->merge_starts) {
        return NULL;
    }
    assert(left < tables->n_tokens);
    uint32_t low = tables->merge_starts[left], end = tables->merge_starts[left + 1];
    uint32_t high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tables->merges[middle].right < right) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < end && tables->merges[low].right == right ? &tables->merges[low] : NULL;
}
