#include "engine/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer_added.h"
#include "engine/text/tokenizer_bpe.h"
#include "engine/text/tokenizer_build.h"
#include "engine/text/tokenizer_cache.h"
#include "engine/text/tokenizer_normalize.h"
#include "engine/text/tokenizer_regex.h"
#include "engine/text/tokenizer_tables.h"
#include "engine/text/tokenizer_unigram.h"
#include "engine/text/unicode.h"

_Static_assert(TOKEN_NONE == TOKENIZER_SECTION_NO_ID, "the file and the engine agree");

/* So that a piece in NFC (at most three times as long) has 31-bit positions. */
#define MAX_TEXT_BYTES ((size_t)512 << 20)

struct tokenizer {
    struct tokenizer_tables tables;
    struct tokenizer_added raw, normalized;
    struct tokenizer_regex *patterns[TOKENIZER_SECTION_MAX_STEPS]; /* by pre-tokenizer step */
    struct tokenizer_unigram *unigram;                             /* NULL: BPE */
    struct tokenizer_bpe_cuts cuts;
};

struct tokenizer *tokenizer_create(const void *section, uint64_t bytes, struct error *err)
{
    struct tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
    if (!tokenizer) {
        error_set(err, "out of memory for the tokenizer");
        return NULL;
    }
    struct tokenizer_tables *tables = &tokenizer->tables;
    bool ok = tokenizer_tables_open(tables, section, bytes, err);
    for (uint32_t i = 0; ok && i < tables->pre_tokenizer.count; i++) {
        const struct tokenizer_section_step *step = &tables->pre_tokenizer.at[i];
        if (step->kind == TOKENIZER_SECTION_SPLIT) {
            tokenizer->patterns[i] =
                tokenizer_regex_create(tables->pool + step->text.offset, step->text.bytes, err);
            ok = tokenizer->patterns[i] != NULL;
        }
    }
    if (ok && tables->header->model == TOKENIZER_SECTION_UNIGRAM) {
        tokenizer->unigram = tokenizer_unigram_create(tables, err);
        ok = tokenizer->unigram != NULL;
    }
    if (!ok) {
        tokenizer_destroy(&tokenizer);
        return NULL;
    }
    tokenizer_bpe_cuts_find(&tokenizer->cuts, tables);
    tokenizer_added_init(&tokenizer->raw, tables, tables->raw_matches);
    tokenizer_added_init(&tokenizer->normalized, tables, tables->normalized_matches);
    return tokenizer;
}

void tokenizer_destroy(struct tokenizer **tokenizer)
{
    if (*tokenizer) {
        for (uint32_t i = 0; i < TOKENIZER_SECTION_MAX_STEPS; i++) {
            tokenizer_regex_destroy(&(*tokenizer)->patterns[i]);
        }
        tokenizer_unigram_destroy(&(*tokenizer)->unigram);
        free(*tokenizer);
        *tokenizer = NULL;
    }
}

uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer)
{
    return tokenizer->tables.n_tokens;
}

uint32_t tokenizer_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->tables.header->bos;
}

uint32_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->tables.header->eos;
}

static uint32_t token_flags(const struct tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->tables.n_tokens ? tokenizer->tables.tokens[id].flags : 0;
}

bool tokenizer_is_stop(const struct tokenizer *tokenizer, uint32_t id)
{
    return token_flags(tokenizer, id) & TOKENIZER_SECTION_TOKEN_STOP;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id)
{
    return token_flags(tokenizer, id) & TOKENIZER_SECTION_TOKEN_SPECIAL;
}

void token_list_free(struct token_list *list)
{
    free(list->ids);
    *list = (struct token_list){0};
}

bool token_list_append(struct token_list *list, uint32_t id, struct error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity + list->capacity / 2 + 64;
        uint32_t *ids = realloc(list->ids, capacity * sizeof(*ids));
        if (!ids) {
            return error_set(err, "out of memory for %zu tokens", capacity);
        }
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

/* One call of tokenizer_encode on its way through the pipeline. */
struct encoding {
    const struct tokenizer *tokenizer;
    bool parse_special;
    struct token_list *list;
    struct tokenizer_bpe bpe;
    struct tokenizer_unigram_lattice lattice;
    struct tokenizer_cache *cache; /* or NULL */
    struct tokenizer_regex_search *search;
    struct unicode_buffer repaired, normalized, spare;
    const char *start; /* the whole text, then what normalisation makes of its start: or NULL */
    const char *first; /* the piece that begins the whole text, or NULL */
    struct error *err;
};

static bool run_steps(struct encoding *e, uint32_t step, const char *text, size_t bytes);

static bool run_prefix_space(struct encoding *e, uint32_t step, const char *text, size_t bytes)
{
    struct unicode_buffer spaced = {0};
    bool ok = unicode_buffer_append(&spaced, " ", 1, e->err) &&
              unicode_buffer_append(&spaced, text, bytes, e->err) &&
              run_steps(e, step + 1, spaced.data, spaced.bytes);
    unicode_buffer_free(&spaced);
    return ok;
}

static bool begins_with(const char *text, size_t bytes, const char *start, size_t start_bytes)
{
    return bytes >= start_bytes && memcmp(text, start, start_bytes) == 0;
}

static bool run_metaspace(struct encoding *e, uint32_t step, const char *text, size_t bytes)
{
    const struct tokenizer_tables *tables = &e->tokenizer->tables;
    const struct tokenizer_section_step *s = &tables->pre_tokenizer.at[step];
    const char *mark = tables->pool + s->text.offset;
    size_t n_mark = s->text.bytes;
    bool prepend = (s->flags & TOKENIZER_SECTION_METASPACE_ALWAYS) ||
                   ((s->flags & TOKENIZER_SECTION_METASPACE_FIRST) && text == e->first);
    struct unicode_buffer marked = {0};
    bool ok = !prepend || text[0] == ' ' || begins_with(text, bytes, mark, n_mark) ||
              unicode_buffer_append(&marked, mark, n_mark, e->err);
    const struct tokenizer_normalize_step replace = {
        TOKENIZER_SECTION_REPLACE, 0, " ", 1, mark, n_mark};
    ok = ok && tokenizer_normalize(&replace, text, bytes, &marked, e->err);
    size_t begin = 0;
    for (size_t end = 1; ok && (s->flags & TOKENIZER_SECTION_METASPACE_SPLIT) && end < marked.bytes;
         end++) {
        if (begins_with(marked.data + end, marked.bytes - end, mark, n_mark)) {
            ok = run_steps(e, step + 1, marked.data + begin, end - begin);
            begin = end;
        }
    }
    ok = ok && run_steps(e, step + 1, marked.data + begin, marked.bytes - begin);
    unicode_buffer_free(&marked);
    return ok;
}

/* Matches follow each other as in Oniguruma's iterator: an empty one right after the last is not
 * taken, and the search goes on one character later. */
static bool run_split(struct encoding *e, uint32_t step, const char *text, size_t bytes)
{
    uint32_t flags = e->tokenizer->tables.pre_tokenizer.at[step].flags;
    size_t taken = 0, last_end = SIZE_MAX, length;
    struct tokenizer_regex_match match;
    for (size_t from = 0; from < bytes;) {
        if (!tokenizer_regex_find(e->tokenizer->patterns[step], e->search, text, bytes, from,
                                  &match, e->err)) {
            return false;
        }
        if (!match.found) {
            break;
        }
        if (match.begin == match.end && match.end == last_end) {
            unicode_at(text, bytes, from, &length);
            from += length;
            continue;
        }
        if ((flags & TOKENIZER_SECTION_KEEP_GAPS) &&
            !run_steps(e, step + 1, text + taken, match.begin - taken)) {
            return false;
        }
        if ((flags & TOKENIZER_SECTION_KEEP_MATCHES) &&
            !run_steps(e, step + 1, text + match.begin, match.end - match.begin)) {
            return false;
        }
        taken = from = last_end = match.end;
    }
    return !(flags & TOKENIZER_SECTION_KEEP_GAPS) ||
           run_steps(e, step + 1, text + taken, bytes - taken);
}

/* The model's ids of a piece that is not empty. */
static bool encode_piece(struct encoding *e, const char *piece, size_t bytes)
{
    const struct tokenizer_tables *tables = &e->tokenizer->tables;
    const struct tokenizer_unigram *unigram = e->tokenizer->unigram;
    size_t before = e->list->count;
    bool found;
    if (!tokenizer_cache_append(e->cache, piece, bytes, e->list, &found, e->err)) {
        return false;
    }
    if (found) {
        return true;
    }
    bool ok = unigram
                  ? tokenizer_unigram_encode(unigram, &e->lattice, piece, bytes, e->list, e->err)
                  : tokenizer_bpe_encode(&e->bpe, tables, piece, bytes, e->list, e->err);
    if (ok && e->list->count > before) { /* characters that nobody knows may have no ids */
        tokenizer_cache_add(e->cache, piece, bytes, e->list->ids + before, e->list->count - before);
    }
    return ok;
}

/* The same of a piece with words between marks. */
static bool encode_words(struct encoding *e, const char *piece, size_t bytes)
{
    for (size_t n; bytes > 0; piece += n, bytes -= n) {
        n = tokenizer_bpe_cut(&e->tokenizer->cuts, piece, bytes);
        if (!encode_piece(e, piece, n)) {
            return false;
        }
    }
    return true;
}

/* Pre-tokenizer steps from `step` on, then the model. Recursion is as deep as there are steps. */
static bool run_steps(struct encoding *e, uint32_t step, const char *text, size_t bytes)
{
    const struct tokenizer_tables *tables = &e->tokenizer->tables;
    if (bytes == 0) {
        return true;
    }
    if (step == tables->pre_tokenizer.count) {
        return encode_words(e, text, bytes);
    }
    switch ((enum tokenizer_section_pre_tokenizer)tables->pre_tokenizer.at[step].kind) {
    case TOKENIZER_SECTION_SPLIT:
        return run_split(e, step, text, bytes);
    case TOKENIZER_SECTION_METASPACE:
        return run_metaspace(e, step, text, bytes);
    case TOKENIZER_SECTION_PREFIX_SPACE:
        break;
    }
    return text[0] == ' ' ? run_steps(e, step + 1, text, bytes)
                          : run_prefix_space(e, step, text, bytes);
}

/* Splits at added tokens; what lies between goes to encode_gap. */
static bool split_added(struct encoding *e, const struct tokenizer_added *added, const char *text,
                        size_t bytes,
                        bool (*encode_gap)(struct encoding *e, const char *text, size_t bytes))
{
    struct tokenizer_added_walk walk = {
        .added = added, .text = text, .bytes = bytes, .parse_special = e->parse_special};
    struct tokenizer_added_found found;
    do {
        tokenizer_added_next(&walk, &found);
        if (!encode_gap(e, text + found.gap_begin, found.gap_end - found.gap_begin) ||
            (found.found && !token_list_append(e->list, found.id, e->err))) {
            return false;
        }
    } while (found.found);
    return true;
}

static bool encode_normalized(struct encoding *e, const char *text, size_t bytes)
{
    e->first = e->start && text == e->start ? text : NULL;
    return run_steps(e, 0, text, bytes);
}

static bool encode_raw(struct encoding *e, const char *text, size_t bytes)
{
    const struct tokenizer_tables *tables = &e->tokenizer->tables;
    bool is_start = e->start && text == e->start;
    for (uint32_t i = 0; i < tables->normalizer.count && bytes > 0; i++) {
        const struct tokenizer_section_step *s = &tables->normalizer.at[i];
        const struct tokenizer_normalize_step step = {s->kind,
                                                      s->flags,
                                                      tables->pool + s->text.offset,
                                                      s->text.bytes,
                                                      tables->pool + s->replacement.offset,
                                                      s->replacement.bytes};
        e->spare.bytes = 0;
        if (!tokenizer_normalize(&step, text, bytes, &e->spare, e->err)) {
            return false;
        }
        struct unicode_buffer made = e->spare;
        e->spare = e->normalized;
        e->normalized = made;
        text = made.data;
        bytes = made.bytes;
    }
    if (bytes == 0) {
        return true;
    }
    const char *start = e->start;
    e->start = is_start ? text : NULL;
    bool ok = split_added(e, &e->tokenizer->normalized, text, bytes, encode_normalized);
    e->start = start;
    return ok;
}

static bool append_all(struct encoding *e, struct tokenizer_ids ids)
{
    for (uint32_t i = 0; i < ids.count; i++) {
        if (!token_list_append(e->list, ids.at[i], e->err)) {
            return false;
        }
    }
    return true;
}

static bool encode(struct encoding *e, const char *text, size_t bytes, uint32_t flags)
{
    bool add_special = flags & TOKENIZER_ADD_SPECIAL;
    const struct tokenizer_tables *tables = &e->tokenizer->tables;
    if (!unicode_is_valid(text, bytes)) {
        if (!unicode_repair(text, bytes, &e->repaired, e->err)) {
            return false;
        }
        text = e->repaired.data;
        bytes = e->repaired.bytes;
    }
    e->start = flags & TOKENIZER_CONTINUE ? NULL : text;
    e->search = tokenizer_regex_search_create(bytes * (1 + tables->pre_tokenizer.count), e->err);
    return e->search && (!add_special || append_all(e, tables->prefix)) &&
           split_added(e, &e->tokenizer->raw, text, bytes, encode_raw) &&
           (!add_special || append_all(e, tables->suffix));
}

bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                      uint32_t flags, struct token_list *list, struct error *err)
{
    if (bytes > MAX_TEXT_BYTES / UNICODE_REPLACEMENT_BYTES) {
        return error_set(err, "a text of %zu bytes is too long to encode at once; pass it in parts",
                         bytes);
    }
    size_t count = list->count;
    struct encoding e = {.tokenizer = tokenizer,
                         .parse_special = flags & TOKENIZER_PARSE_SPECIAL,
                         .cache =
                             bytes < TOKENIZER_CACHE_MIN_TEXT ? NULL : tokenizer_cache_create(),
                         .list = list,
                         .err = err};
    bool ok = encode(&e, text, bytes, flags);
    if (!ok) {
        list->count = count; /* nothing of a text that failed */
    }
    tokenizer_bpe_free(&e.bpe);
    tokenizer_unigram_lattice_free(&e.lattice);
    tokenizer_cache_destroy(&e.cache);
    tokenizer_regex_search_destroy(&e.search);
    unicode_buffer_free(&e.repaired);
    unicode_buffer_free(&e.normalized);
    unicode_buffer_free(&e.spare);
    return ok;
}

const char *tokenizer_token_text(const struct tokenizer *tokenizer, uint32_t id, uint32_t *bytes)
{
    uint32_t present = TOKENIZER_SECTION_TOKEN_MODEL | TOKENIZER_SECTION_TOKEN_ADDED;
    *bytes = 0;
    if (!(token_flags(tokenizer, id) & present)) {
        return NULL;
    }
    *bytes = tokenizer->tables.tokens[id].text_bytes;
    return tokenizer->tables.pool + tokenizer->tables.tokens[id].text_offset;
}

const char *tokenizer_token_bytes(const struct tokenizer *tokenizer, uint32_t id, bool show_special,
                                  uint32_t *bytes)
{
    uint32_t present = TOKENIZER_SECTION_TOKEN_MODEL | TOKENIZER_SECTION_TOKEN_ADDED;
    uint32_t flags = token_flags(tokenizer, id);
    *bytes = 0;
    if (!(flags & present) || (!show_special && (flags & TOKENIZER_SECTION_TOKEN_SPECIAL))) {
        return "";
    }
    *bytes = tokenizer->tables.tokens[id].raw_bytes;
    return tokenizer->tables.pool + tokenizer->tables.tokens[id].raw_offset;
}

/* How many bytes of a whole text the decoder takes away at its start. */
static size_t start_to_strip(const struct tokenizer_tables *tables, const char *text, size_t bytes)
{
    size_t strip = 0;
    for (uint32_t i = 0; i < tables->decoder.count; i++) {
        const struct tokenizer_section_step *step = &tables->decoder.at[i];
        if (step->kind == TOKENIZER_SECTION_STRIP_START &&
            begins_with(text + strip, bytes - strip, tables->pool + step->text.offset,
                        step->text.bytes)) {
            strip += step->text.bytes;
        }
    }
    return strip;
}

/* Whether a token stands for a byte, where symbols are characters. */
static bool is_byte(const struct tokenizer *tokenizer, uint32_t id)
{
    const struct tokenizer_tables *tables = &tokenizer->tables;
    uint32_t bytes;
    const char *text = tokenizer_token_text(tokenizer, id, &bytes);
    return tables->header->alphabet == TOKENIZER_SECTION_CHARACTERS && text &&
           tables->tokens[id].raw_bytes == 1 && tokenizer_byte_token(text, bytes) >= 0;
}

/* A run of bytes that is not UTF-8 as a whole has a U+FFFD for each of them, as in Hugging Face's
 * decoder ByteFallback. `begin` is where the run begins. */
static bool end_run(struct unicode_buffer *raw, size_t begin, struct error *err)
{
    size_t n = raw->bytes - begin;
    if (n == 0 || unicode_is_valid(raw->data + begin, n)) {
        return true;
    }
    raw->bytes = begin;
    for (size_t i = 0; i < n; i++) {
        if (!unicode_buffer_append(raw, UNICODE_REPLACEMENT, UNICODE_REPLACEMENT_BYTES, err)) {
            return false;
        }
    }
    return true;
}

/* The bytes of all tokens, one after the other. */
static bool join_tokens(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                        struct unicode_buffer *raw, struct error *err)
{
    size_t run = 0;
    bool in_run = false, ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        uint32_t n;
        const char *part = tokenizer_token_bytes(tokenizer, ids[i], true, &n);
        bool byte = is_byte(tokenizer, ids[i]);
        if (byte && !in_run) {
            run = raw->bytes;
        } else if (!byte && in_run && n > 0) {
            ok = end_run(raw, run, err);
        }
        in_run = byte || (in_run && n == 0);
        ok = ok && unicode_buffer_append(raw, part, n, err);
    }
    return ok && (!in_run || end_run(raw, run, err));
}

bool tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                      char **text, size_t *bytes, struct error *err)
{
    struct unicode_buffer raw = {0}, whole = {0};
    bool ok = join_tokens(tokenizer, ids, count, &raw, err) &&
              unicode_repair(raw.data ? raw.data : "", raw.bytes, &whole, err) &&
              unicode_buffer_reserve(&whole, 1, err);
    unicode_buffer_free(&raw);
    if (!ok) {
        unicode_buffer_free(&whole);
        return false;
    }
    size_t strip = start_to_strip(&tokenizer->tables, whole.data, whole.bytes);
    memmove(whole.data, whole.data + strip, whole.bytes - strip);
    *text = whole.data;
    *bytes = whole.bytes - strip;
    return true;
}
