#include "engine/text/tokenizer_build.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/byte_map.h"
#include "engine/text/tokenizer_normalize.h"
#include "engine/text/unicode.h"

void tokenizer_parts_free(struct tokenizer_parts *parts)
{
    free(parts->tokens);
    free(parts->merges);
    free(parts->scores);
    free(parts->added);
    free(parts->charsmap);
    *parts = (struct tokenizer_parts){0};
}

/* The section while it grows: the pool, and the tables, joined at the end. */
struct build {
    struct tokenizer_parts *parts;
    struct tokenizer_section header;
    struct unicode_buffer pool;
    struct unicode_buffer tables; /* what follows the header */
    struct error *err;
};

static bool add_text(struct build *b, const char *text, size_t bytes, uint32_t *offset)
{
    if (bytes > UINT32_MAX - b->pool.bytes) {
        return error_set(b->err, "the tokenizer has more than 4 GiB of text");
    }
    *offset = (uint32_t)b->pool.bytes;
    return unicode_buffer_append(&b->pool, text, bytes, b->err);
}

static bool add_table(struct build *b, struct tokenizer_section_table *table, const void *records,
                      size_t record, size_t count)
{
    static const char zeros[8];
    if (count == 0) {
        *table = (struct tokenizer_section_table){0};
        return true;
    }
    *table = (struct tokenizer_section_table){sizeof(b->header) + b->tables.bytes, count};
    return unicode_buffer_append(&b->tables, records, record * count, b->err) &&
           unicode_buffer_append(&b->tables, zeros, (8 - b->tables.bytes % 8) % 8, b->err);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int tokenizer_byte_token(const char *text, size_t bytes)
{
    if (!text || bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>' ||
        hex_digit(text[3]) < 0 || hex_digit(text[4]) < 0) {
        return -1;
    }
    return hex_digit(text[3]) * 16 + hex_digit(text[4]);
}

/* Real vocabularies leave out a few hundred ids at most. */
#define MAX_GAPS 65536

bool tokenizer_check_ids(int64_t largest, size_t n_named, struct error *err)
{
    if (largest >= TOKENIZER_SECTION_MAX_TOKENS) {
        return error_set(err, "the tokenizer has the id %lld; ids below %u are supported",
                         (long long)largest, TOKENIZER_SECTION_MAX_TOKENS);
    }
    if (largest > 0 && (uint64_t)largest / 2 > n_named + MAX_GAPS) {
        return error_set(err, "the tokenizer has the id %lld but names only %zu tokens",
                         (long long)largest, n_named);
    }
    return true;
}

/* What a token adds to the text, into out[0..token->bytes). Spellings of bytes become the bytes;
 * added tokens of byte-level vocabularies, and tokens that spell no bytes, stand for themselves. */
static size_t read_raw(const struct build *b, const struct tokenizer_part_token *token, char *out)
{
    size_t n = 0, n_mark = sizeof(TOKENIZER_SPACE_MARK) - 1;
    if (b->parts->alphabet == TOKENIZER_SECTION_BYTES) {
        bool read = !(token->flags & TOKENIZER_SECTION_TOKEN_ADDED) &&
                    byte_map_read(token->text, token->bytes, out, &n);
        if (!read) {
            memcpy(out, token->text, token->bytes);
            n = token->bytes;
        }
        return n;
    }
    int byte = b->parts->flags & TOKENIZER_SECTION_BYTE_FALLBACK
                   ? tokenizer_byte_token(token->text, token->bytes)
                   : -1;
    if (byte >= 0) {
        *out = (char)byte;
        return 1;
    }
    for (size_t i = 0; i < token->bytes;) {
        bool mark = token->bytes - i >= n_mark &&
                    memcmp(token->text + i, TOKENIZER_SPACE_MARK, n_mark) == 0;
        out[n++] = mark ? ' ' : token->text[i];
        i += mark ? n_mark : 1;
    }
    return n;
}

static bool add_token(struct build *b, uint32_t id, struct tokenizer_section_token *record)
{
    const struct tokenizer_part_token *token = &b->parts->tokens[id];
    *record = (struct tokenizer_section_token){.flags = token->flags};
    if (!token->text) {
        return true;
    }
    if (token->bytes > TOKENIZER_SECTION_MAX_TOKEN_BYTES) {
        return error_set(b->err, "token %u has %zu bytes; at most %u are supported", id,
                         token->bytes, TOKENIZER_SECTION_MAX_TOKEN_BYTES);
    }
    if (!add_text(b, token->text, token->bytes, &record->text_offset)) {
        return false;
    }
    char raw[TOKENIZER_SECTION_MAX_TOKEN_BYTES];
    size_t n_raw = read_raw(b, token, raw);
    record->text_bytes = (uint16_t)token->bytes;
    record->raw_bytes = (uint16_t)n_raw;
    record->raw_offset = record->text_offset;
    return (n_raw == token->bytes && memcmp(raw, token->text, n_raw) == 0) ||
           add_text(b, raw, n_raw, &record->raw_offset);
}

static bool add_tokens(struct build *b)
{
    uint32_t n = b->parts->n_tokens;
    if (n == 0 || n > TOKENIZER_SECTION_MAX_TOKENS) {
        return error_set(b->err, "the tokenizer has %u tokens; 1 to %u are supported", n,
                         TOKENIZER_SECTION_MAX_TOKENS);
    }
    struct tokenizer_section_token *records = malloc(n * sizeof(*records));
    bool ok = records || error_set(b->err, "out of memory for %u tokens", n);
    for (uint32_t id = 0; ok && id < n; id++) {
        ok = add_token(b, id, &records[id]);
    }
    ok = ok && add_table(b, &b->header.tokens, records, sizeof(*records), n);
    free(records);
    return ok;
}

static int compare_tokens(const void *a, const void *b, void *tokens)
{
    const struct tokenizer_part_token *x =
        &((const struct tokenizer_part_token *)tokens)[*(const uint32_t *)a];
    const struct tokenizer_part_token *y =
        &((const struct tokenizer_part_token *)tokens)[*(const uint32_t *)b];
    int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The byte that a vocabulary entry is, or -1. */
static int token_byte(const struct build *b, const struct tokenizer_part_token *token)
{
    char raw[2];
    size_t n_raw;
    if (b->parts->alphabet == TOKENIZER_SECTION_CHARACTERS) {
        return tokenizer_byte_token(token->text, token->bytes);
    }
    return token->bytes <= 2 && byte_map_read(token->text, token->bytes, raw, &n_raw) && n_raw == 1
               ? (uint8_t)raw[0]
               : -1;
}

static bool has_byte_tokens(const struct tokenizer_parts *parts)
{
    return parts->alphabet == TOKENIZER_SECTION_BYTES ||
           (parts->flags & TOKENIZER_SECTION_BYTE_FALLBACK);
}

static bool add_vocabulary(struct build *b)
{
    struct tokenizer_part_token *tokens = b->parts->tokens;
    uint32_t *ids = malloc(b->parts->n_tokens * sizeof(*ids));
    if (!ids) {
        return error_set(b->err, "out of memory for %u tokens", b->parts->n_tokens);
    }
    uint32_t byte_tokens[256], n = 0;
    memset(byte_tokens, 0xFF, sizeof(byte_tokens));
    for (uint32_t id = 0; id < b->parts->n_tokens; id++) {
        if (tokens[id].flags & TOKENIZER_SECTION_TOKEN_MODEL) {
            ids[n++] = id;
            int byte = token_byte(b, &tokens[id]);
            if (byte >= 0) {
                byte_tokens[byte] = id;
            }
        }
    }
    qsort_r(ids, n, sizeof(*ids), compare_tokens, tokens);
    bool ok = true;
    for (uint32_t i = 1; ok && i < n; i++) {
        if (compare_tokens(&ids[i - 1], &ids[i], tokens) == 0) {
            ok = error_set(b->err, "tokens %u and %u have the same text \"%.*s\"", ids[i - 1],
                           ids[i], (int)tokens[ids[i]].bytes, tokens[ids[i]].text);
        }
    }
    ok = ok && add_table(b, &b->header.sorted, ids, sizeof(*ids), n) &&
         (!has_byte_tokens(b->parts) ||
          add_table(b, &b->header.byte_tokens, byte_tokens, sizeof(*byte_tokens), 256));
    free(ids);
    return ok;
}

static int compare_merges(const void *a, const void *b)
{
    const struct tokenizer_part_merge *x = a, *y = b;
    return x->left != y->left     ? (x->left > y->left ? 1 : -1)
           : x->right != y->right ? (x->right > y->right ? 1 : -1)
                                  : (x->rank > y->rank) - (x->rank < y->rank);
}

static bool add_merges(struct build *b)
{
    struct tokenizer_part_merge *merges = b->parts->merges;
    size_t n = b->parts->n_merges;
    if (n == 0) {
        return true;
    }
    if (n > TOKENIZER_SECTION_MAX_MERGES) {
        return error_set(b->err, "the tokenizer has %zu merges; at most %u are supported", n,
                         TOKENIZER_SECTION_MAX_MERGES);
    }
    qsort(merges, n, sizeof(*merges), compare_merges);
    uint32_t *starts = calloc(b->parts->n_tokens + (size_t)1, sizeof(*starts));
    struct tokenizer_section_merge *records = malloc(n * sizeof(*records));
    if (!starts || !records) {
        free(starts);
        free(records);
        return error_set(b->err, "out of memory for %zu merges", n);
    }
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && merges[i].left == merges[i + 1].left &&
            merges[i].right == merges[i + 1].right) {
            continue; /* of a pair that is listed twice the last one counts, as in Hugging Face's */
        }
        starts[merges[i].left + 1]++;
        records[count++] =
            (struct tokenizer_section_merge){merges[i].right, merges[i].rank, merges[i].result};
    }
    for (uint32_t id = 0; id < b->parts->n_tokens; id++) {
        starts[id + 1] += starts[id];
    }
    bool ok = add_table(b, &b->header.merge_starts, starts, sizeof(*starts),
                        b->parts->n_tokens + (size_t)1) &&
              add_table(b, &b->header.merges, records, sizeof(*records), count);
    free(starts);
    free(records);
    return ok;
}

/* Texts of matches in one class, with their place in the order of precedence. */
struct match_text {
    struct unicode_buffer text;
    const struct tokenizer_part_added *added;
    size_t precedence;
};

static int compare_matches(const void *a, const void *b)
{
    const struct match_text *x = a, *y = b;
    size_t least = x->text.bytes < y->text.bytes ? x->text.bytes : y->text.bytes;
    int order = memcmp(x->text.data, y->text.data, least);
    if (order == 0 && x->text.bytes != y->text.bytes) {
        order = x->text.bytes > y->text.bytes ? 1 : -1;
    }
    return order ? order : (x->precedence > y->precedence) - (x->precedence < y->precedence);
}

/* The text that is searched for: the content, for the second class after normalisation. */
static bool collect_match(struct build *b, const struct tokenizer_part_added *added,
                          struct match_text *match)
{
    const struct tokenizer_part_token *token = &b->parts->tokens[added->id];
    bool ok = unicode_buffer_append(&match->text, token->text, token->bytes, b->err);
    for (uint32_t i = 0; ok && added->normalized && i < b->parts->normalizer.count; i++) {
        const struct tokenizer_part_step *step = &b->parts->normalizer.at[i];
        struct unicode_buffer made = {0};
        ok = tokenizer_normalize(
            &(struct tokenizer_normalize_step){step->kind, step->flags, step->text, step->bytes,
                                               step->replacement, step->replacement_bytes},
            match->text.data, match->text.bytes, &made, b->err);
        unicode_buffer_free(&match->text);
        match->text = made;
    }
    if (ok && match->text.bytes > TOKENIZER_SECTION_MAX_MATCH_BYTES) {
        return error_set(b->err, "added token %u has %zu bytes; at most %u are supported",
                         added->id, match->text.bytes, TOKENIZER_SECTION_MAX_MATCH_BYTES);
    }
    return ok;
}

static bool add_match_records(struct build *b, struct match_text *matches, size_t n,
                              struct tokenizer_section_table *table)
{
    struct tokenizer_section_match *records = malloc((n + 1) * sizeof(*records));
    if (!records) {
        return error_set(b->err, "out of memory for %zu added tokens", n);
    }
    qsort(matches, n, sizeof(*matches), compare_matches);
    size_t count = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        struct unicode_buffer *text = &matches[i].text;
        if (i > 0 && matches[i - 1].text.bytes == text->bytes &&
            memcmp(matches[i - 1].text.data, text->data, text->bytes) == 0) {
            continue; /* alike after normalisation: the first one wins */
        }
        uint32_t offset = 0;
        ok = add_text(b, text->data, text->bytes, &offset);
        records[count++] = (struct tokenizer_section_match){
            .text = {offset, (uint32_t)text->bytes},
            .id = matches[i].added->id,
            .flags = matches[i].added->flags,
        };
    }
    ok = ok && add_table(b, table, records, sizeof(*records), count);
    free(records);
    return ok;
}

static bool add_matches(struct build *b, bool normalized, struct tokenizer_section_table *table)
{
    size_t n_added = b->parts->n_added, n = 0;
    if (n_added > TOKENIZER_SECTION_MAX_MATCHES) {
        return error_set(b->err, "the tokenizer has %zu added tokens; at most %u are supported",
                         n_added, TOKENIZER_SECTION_MAX_MATCHES);
    }
    struct match_text *matches = calloc(n_added + 1, sizeof(*matches));
    bool ok = matches || error_set(b->err, "out of memory for %zu added tokens", n_added);
    for (size_t i = 0; ok && i < n_added; i++) {
        const struct tokenizer_part_added *added = &b->parts->added[i];
        if (added->normalized == normalized && b->parts->tokens[added->id].bytes > 0) {
            matches[n].added = added;
            matches[n].precedence = i;
            ok = collect_match(b, added, &matches[n++]);
        }
    }
    ok = ok && add_match_records(b, matches, n, table);
    for (size_t i = 0; i < n; i++) {
        unicode_buffer_free(&matches[i].text);
    }
    free(matches);
    return ok;
}

static bool add_steps(struct build *b, const struct tokenizer_part_steps *steps,
                      struct tokenizer_section_table *table)
{
    struct tokenizer_section_step records[TOKENIZER_SECTION_MAX_STEPS] = {0};
    for (uint32_t i = 0; i < steps->count; i++) {
        const struct tokenizer_part_step *step = &steps->at[i];
        records[i].kind = step->kind;
        records[i].flags = step->flags;
        if (step->text) {
            records[i].text.bytes = (uint32_t)step->bytes;
            if (!add_text(b, step->text, step->bytes, &records[i].text.offset)) {
                return false;
            }
        }
        if (step->replacement) {
            records[i].replacement.bytes = (uint32_t)step->replacement_bytes;
            if (!add_text(b, step->replacement, step->replacement_bytes,
                          &records[i].replacement.offset)) {
                return false;
            }
        }
    }
    return add_table(b, table, records, sizeof(*records), steps->count);
}

static bool join(struct build *b, void **section, uint64_t *bytes)
{
    size_t n_pool = b->pool.bytes;
    if (!add_table(b, &b->header.pool, b->pool.data, 1, n_pool)) {
        return false;
    }
    *bytes = sizeof(b->header) + b->tables.bytes;
    char *all = malloc(*bytes);
    if (!all) {
        return error_set(b->err, "out of memory for the tokenizer");
    }
    memcpy(all, &b->header, sizeof(b->header));
    memcpy(all + sizeof(b->header), b->tables.data, b->tables.bytes);
    *section = all;
    return true;
}

bool tokenizer_build(struct tokenizer_parts *parts, void **section, uint64_t *bytes,
                     struct error *err)
{
    struct build b = {.parts = parts, .err = err};
    struct tokenizer_section *header = &b.header;
    *section = NULL;
    *bytes = 0;
    *header = (struct tokenizer_section){
        .magic = TOKENIZER_SECTION_MAGIC,
        .version = TOKENIZER_SECTION_VERSION,
        .model = parts->model,
        .alphabet = parts->alphabet,
        .flags = parts->flags,
        .bos = parts->bos,
        .eos = parts->eos,
        .unk = parts->unk,
    };
    bool ok =
        add_tokens(&b) && add_vocabulary(&b) && add_merges(&b) &&
        add_matches(&b, false, &header->raw_matches) &&
        add_matches(&b, true, &header->normalized_matches) &&
        add_steps(&b, &parts->normalizer, &header->normalizer) &&
        add_steps(&b, &parts->pre_tokenizer, &header->pre_tokenizer) &&
        add_steps(&b, &parts->decoder, &header->decoder) &&
        add_table(&b, &header->prefix, parts->prefix.at, sizeof(uint32_t), parts->prefix.count) &&
        add_table(&b, &header->suffix, parts->suffix.at, sizeof(uint32_t), parts->suffix.count) &&
        add_table(&b, &header->scores, parts->scores, sizeof(double),
                  parts->scores ? parts->n_tokens : 0) &&
        join(&b, section, bytes);
    unicode_buffer_free(&b.pool);
    unicode_buffer_free(&b.tables);
    return ok;
}
