#include "engine/text/tokenizer_gguf_merges.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

/* Joining is tried at every character of a piece. */
#define MAX_PIECE_BYTES 1024u

/* Ids by text: open addressing, twice as many places as tokens at least. The seed is secret, so
 * that no file can choose texts that all want the same place. */
struct lookup {
    const struct tokenizer_parts *parts;
    uint32_t *places; /* NO_ID: empty */
    uint64_t mask;
    uint64_t seed;
};

/* The place where a text is, or where it would go. */
static uint32_t *place_of(const struct lookup *lookup, const char *text, size_t bytes)
{
    uint64_t at = XXH3_64bits_withSeed(text, bytes, lookup->seed) & lookup->mask;
    for (;; at = (at + 1) & lookup->mask) {
        uint32_t id = lookup->places[at];
        if (id == TOKENIZER_SECTION_NO_ID) {
            break;
        }
        const struct tokenizer_part_token *token = &lookup->parts->tokens[id];
        if (token->bytes == bytes && memcmp(token->text, text, bytes) == 0) {
            break;
        }
    }
    return &lookup->places[at];
}

static bool lookup_init(struct lookup *lookup, const struct tokenizer_parts *parts,
                        struct error *err)
{
    uint64_t n = 64;
    while (n < 2 * (uint64_t)parts->n_tokens) {
        n *= 2;
    }
    *lookup = (struct lookup){parts, malloc(n * sizeof(*lookup->places)), n - 1, 0};
    if (!lookup->places) {
        return error_set(err, "out of memory for %u tokens", parts->n_tokens);
    }
    if (getentropy(&lookup->seed, sizeof(lookup->seed)) != 0) {
        return error_set(err, "the system gives no random numbers");
    }
    memset(lookup->places, 0xFF, n * sizeof(*lookup->places));
    for (uint32_t id = 0; id < parts->n_tokens; id++) {
        const struct tokenizer_part_token *token = &parts->tokens[id];
        uint32_t *place = token->text ? place_of(lookup, token->text, token->bytes) : NULL;
        if (place && *place != TOKENIZER_SECTION_NO_ID) {
            return error_set(err, "tokens %u and %u have the same text \"%.*s\"", *place, id,
                             (int)(token->bytes < 60 ? token->bytes : 60), token->text);
        }
        if (place) {
            *place = id;
        }
    }
    return true;
}

static uint32_t find(const struct lookup *lookup, const char *text, size_t bytes)
{
    return *place_of(lookup, text, bytes);
}

/* Whether scores concern a token: those of bytes are no pieces, nor are added ones. */
static bool is_piece(const struct tokenizer_part_token *token)
{
    return (token->flags & TOKENIZER_SECTION_TOKEN_MODEL) &&
           tokenizer_byte_token(token->text, token->bytes) < 0;
}

static uint32_t find_piece(const struct lookup *lookup, const char *text, size_t bytes)
{
    uint32_t id = find(lookup, text, bytes);
    return id != TOKENIZER_SECTION_NO_ID && is_piece(&lookup->parts->tokens[id])
               ? id
               : TOKENIZER_SECTION_NO_ID;
}

/* The halves lie around the one space that is not at the start. */
static bool read_merge(const struct lookup *lookup, const char *text, uint64_t bytes,
                       struct tokenizer_part_merge *merge)
{
    char joined[TOKENIZER_SECTION_MAX_TOKEN_BYTES + 1];
    const char *space = bytes > 2 ? memchr(text + 1, ' ', bytes - 1) : NULL;
    if (!space || bytes > sizeof(joined)) {
        return false;
    }
    size_t left = (size_t)(space - text), right = (size_t)bytes - left - 1;
    memcpy(joined, text, left);
    memcpy(joined + left, space + 1, right);
    merge->left = find(lookup, text, left);
    merge->right = find(lookup, space + 1, right);
    merge->result = find(lookup, joined, left + right);
    return merge->left != TOKENIZER_SECTION_NO_ID && merge->right != TOKENIZER_SECTION_NO_ID &&
           merge->result != TOKENIZER_SECTION_NO_ID;
}

bool tokenizer_gguf_merges_read(const struct gguf_pair *pair, struct tokenizer_parts *parts,
                                struct error *err)
{
    struct lookup lookup;
    if (!pair || !pair->is_array || (pair->type != GGUF_STRING && pair->count > 0)) {
        return error_set(err, "tokenizer.ggml.merges is missing or not a list of texts");
    }
    if (pair->count > TOKENIZER_SECTION_MAX_MERGES) {
        return error_set(err, "tokenizer.ggml.merges has %llu entries; at most %u are supported",
                         (unsigned long long)pair->count, TOKENIZER_SECTION_MAX_MERGES);
    }
    parts->merges = malloc((pair->count + 1) * sizeof(*parts->merges));
    if (!parts->merges) {
        return error_set(err, "out of memory for %llu merges", (unsigned long long)pair->count);
    }
    bool ok = lookup_init(&lookup, parts, err);
    struct gguf_strings walk = gguf_strings(pair);
    const char *text;
    uint64_t bytes;
    for (uint32_t rank = 0; ok && gguf_next_string(&walk, &text, &bytes); rank++) {
        struct tokenizer_part_merge *merge = &parts->merges[parts->n_merges];
        merge->rank = rank;
        ok = read_merge(&lookup, text, bytes, merge) ||
             error_set(err,
                       "entry %u of tokenizer.ggml.merges, \"%.*s\", is not two tokens that join "
                       "to a third",
                       rank, (int)(bytes < 60 ? bytes : 60), text);
        parts->n_merges += ok;
    }
    free(lookup.places);
    return ok;
}

static bool append_merge(struct tokenizer_parts *parts, size_t *capacity,
                         struct tokenizer_part_merge merge, struct error *err)
{
    if (parts->n_merges == *capacity) {
        size_t grown = *capacity + *capacity / 2 + 1024;
        if (*capacity > TOKENIZER_SECTION_MAX_MERGES) {
            return error_set(err, "the tokens join in more than %u ways",
                             TOKENIZER_SECTION_MAX_MERGES);
        }
        struct tokenizer_part_merge *merges = realloc(parts->merges, grown * sizeof(*merges));
        if (!merges) {
            return error_set(err, "out of memory for %zu merges", grown);
        }
        parts->merges = merges;
        *capacity = grown;
    }
    parts->merges[parts->n_merges++] = merge;
    return true;
}

/* All ways to join one token from two. */
static bool split_token(const struct lookup *lookup, struct tokenizer_parts *parts, uint32_t id,
                        uint32_t rank, size_t *capacity, struct error *err)
{
    const struct tokenizer_part_token *token = &parts->tokens[id];
    if (token->bytes > MAX_PIECE_BYTES) {
        return error_set(err, "token %u has %zu bytes; a SentencePiece vocabulary may have %u", id,
                         token->bytes, MAX_PIECE_BYTES);
    }
    for (size_t cut = 1; cut < token->bytes; cut++) {
        if (((uint8_t)token->text[cut] & 0xC0) == 0x80) {
            continue; /* inside a character */
        }
        uint32_t left = find_piece(lookup, token->text, cut);
        uint32_t right = left == TOKENIZER_SECTION_NO_ID
                             ? left
                             : find_piece(lookup, token->text + cut, token->bytes - cut);
        if (right != TOKENIZER_SECTION_NO_ID &&
            !append_merge(parts, capacity, (struct tokenizer_part_merge){left, right, rank, id},
                          err)) {
            return false;
        }
    }
    return true;
}

static int compare_scores(const void *a, const void *b, void *scores)
{
    double x = ((const double *)scores)[*(const uint32_t *)a];
    double y = ((const double *)scores)[*(const uint32_t *)b];
    return (x < y) - (x > y);
}

bool tokenizer_gguf_merges_score(struct tokenizer_parts *parts, struct error *err)
{
    struct lookup lookup = {0};
    uint32_t n = 0, rank = 0;
    size_t capacity = 0;
    uint32_t *ids = malloc((parts->n_tokens + (size_t)1) * sizeof(*ids));
    bool ok = ids || error_set(err, "out of memory for %u tokens", parts->n_tokens);
    ok = ok && lookup_init(&lookup, parts, err);
    for (uint32_t id = 0; ok && id < parts->n_tokens; id++) {
        if (is_piece(&parts->tokens[id])) {
            ids[n++] = id;
        }
    }
    if (ok) {
        qsort_r(ids, n, sizeof(*ids), compare_scores, parts->scores);
    }
    for (uint32_t i = 0; ok && i < n; i++) {
        rank += i > 0 && parts->scores[ids[i]] != parts->scores[ids[i - 1]];
        ok = split_token(&lookup, parts, ids[i], rank, &capacity, err);
    }
    free(ids);
    free(lookup.places);
    return ok;
}
