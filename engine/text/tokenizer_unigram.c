#include "engine/text/tokenizer_unigram.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "engine/text/unicode.h"

#define MAX_NODES (1u << 26)
#define UNKNOWN_PENALTY 10.0 /* below the lowest score of the vocabulary */

struct node {
    uint32_t id;           /* of the token that ends here, or NO_ID */
    uint32_t first, count; /* children, ascending by their byte */
};

struct tokenizer_unigram {
    const struct tokenizer_tables *tables;
    struct node *nodes;
    uint8_t *bytes; /* of each node: what leads to it from its parent */
    double unknown; /* the score of an unknown character */
    bool single;    /* sums are rounded to single precision */
};

/* The best way to a position of the piece. */
struct tokenizer_unigram_step {
    double score;
    int32_t begin; /* of the last token; -1: no way yet */
    uint32_t id;
};

void tokenizer_unigram_destroy(struct tokenizer_unigram **unigram)
{
    if (*unigram) {
        free((*unigram)->nodes);
        free((*unigram)->bytes);
        free(*unigram);
        *unigram = NULL;
    }
}

/* Texts of special tokens are no words, and unused entries are never chosen. */
static bool is_usable(const struct tokenizer_section_token *token)
{
    return !(token->flags & (TOKENIZER_SECTION_TOKEN_SPECIAL | TOKENIZER_SECTION_TOKEN_UNUSED));
}

/* A node that waits for its children: the sorted texts which begin with its own. */
struct range {
    uint32_t low, high, depth;
};

static const struct tokenizer_section_token *sorted_token(const struct tokenizer_tables *tables,
                                                          uint32_t i)
{
    return &tables->tokens[tables->sorted.at[i]];
}

static uint8_t text_byte(const struct tokenizer_tables *tables, uint32_t i, uint32_t depth)
{
    return (uint8_t)tables->pool[sorted_token(tables, i)->text_offset + depth];
}

/* One node for each different beginning of a text, and the root. */
static uint64_t count_nodes(const struct tokenizer_tables *tables)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < tables->sorted.count; i++) {
        const struct tokenizer_section_token *token = sorted_token(tables, i);
        uint32_t shared = 0, before = i > 0 ? sorted_token(tables, i - 1)->text_bytes : 0;
        while (shared < before && shared < token->text_bytes &&
               text_byte(tables, i, shared) == text_byte(tables, i - 1, shared)) {
            shared++;
        }
        n += token->text_bytes - shared;
    }
    return n;
}

/* Breadth first, so that the children of a node lie side by side. */
static void build(struct tokenizer_unigram *u, struct range *ranges)
{
    const struct tokenizer_tables *tables = u->tables;
    uint32_t n = 1;
    ranges[0] = (struct range){0, tables->sorted.count, 0};
    for (uint32_t i = 0; i < n; i++) {
        struct range range = ranges[i];
        struct node *node = &u->nodes[i];
        *node = (struct node){.id = TOKENIZER_SECTION_NO_ID, .first = n};
        if (range.low < range.high && sorted_token(tables, range.low)->text_bytes == range.depth) {
            if (range.depth > 0 && is_usable(sorted_token(tables, range.low))) {
                node->id = tables->sorted.at[range.low];
            }
            range.low++;
        }
        while (range.low < range.high) {
            uint8_t byte = text_byte(tables, range.low, range.depth);
            uint32_t end = range.low + 1;
            while (end < range.high && text_byte(tables, end, range.depth) == byte) {
                end++;
            }
            u->bytes[n] = byte;
            ranges[n++] = (struct range){range.low, end, range.depth + 1};
            range.low = end;
        }
        node->count = n - node->first;
    }
}

static double add(const struct tokenizer_unigram *u, double a, double b)
{
    return u->single ? (double)(float)(a + b) : a + b;
}

static double lowest_score(const struct tokenizer_tables *tables)
{
    double lowest = INFINITY;
    for (uint32_t i = 0; i < tables->sorted.count; i++) {
        bool unused = sorted_token(tables, i)->flags & TOKENIZER_SECTION_TOKEN_UNUSED;
        double score = tables->scores[tables->sorted.at[i]];
        lowest = !unused && score < lowest ? score : lowest;
    }
    return isfinite(lowest) ? lowest : 0;
}

struct tokenizer_unigram *tokenizer_unigram_create(const struct tokenizer_tables *tables,
                                                   struct error *err)
{
    assert(tables->scores && tables->header->unk != TOKENIZER_SECTION_NO_ID);
    uint64_t n = count_nodes(tables);
    if (n > MAX_NODES) {
        error_set(err,
                  "the tokenizer's vocabulary is too large: a unigram model may have %u "
                  "different beginnings of tokens",
                  MAX_NODES);
        return NULL;
    }
    struct tokenizer_unigram *u = calloc(1, sizeof(*u));
    struct range *ranges = malloc(n * sizeof(*ranges));
    if (u) {
        u->tables = tables;
        u->nodes = malloc(n * sizeof(*u->nodes));
        u->bytes = malloc(n);
        u->single = tables->header->flags & TOKENIZER_SECTION_SINGLE_SUMS;
        u->unknown = add(u, lowest_score(tables), -UNKNOWN_PENALTY);
    }
    if (!u || !ranges || !u->nodes || !u->bytes) {
        error_set(err, "out of memory for the tokenizer");
        tokenizer_unigram_destroy(&u);
    } else {
        build(u, ranges);
    }
    free(ranges);
    return u;
}

void tokenizer_unigram_lattice_free(struct tokenizer_unigram_lattice *lattice)
{
    free(lattice->steps);
    *lattice = (struct tokenizer_unigram_lattice){0};
}

static bool reserve(struct tokenizer_unigram_lattice *lattice, size_t n, struct error *err)
{
    if (n <= lattice->capacity) {
        return true;
    }
    size_t grown = n + n / 2 + 64;
    tokenizer_unigram_lattice_free(lattice);
    lattice->steps = malloc(grown * sizeof(*lattice->steps));
    if (!lattice->steps) {
        return error_set(err, "out of memory while encoding a piece of %zu bytes", n);
    }
    lattice->capacity = grown;
    return true;
}

/* The child that `byte` leads to, or 0, which is nobody's child. */
static uint32_t child(const struct tokenizer_unigram *u, uint32_t node, uint8_t byte)
{
    uint32_t low = u->nodes[node].first, end = low + u->nodes[node].count, high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (u->bytes[middle] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < end && u->bytes[low] == byte ? low : 0;
}

static void offer(struct tokenizer_unigram_step *step, double score, size_t begin, uint32_t id)
{
    if (step->begin < 0 || score > step->score) {
        *step = (struct tokenizer_unigram_step){score, (int32_t)begin, id};
    }
}

/* All tokens that begin at a position; the unknown one, if none is this one character. */
static void extend(const struct tokenizer_unigram *u, struct tokenizer_unigram_step *steps,
                   const char *piece, size_t bytes, size_t begin, size_t length)
{
    double score = steps[begin].score;
    bool single = false;
    uint32_t node = 0;
    for (size_t i = begin; i < bytes; i++) {
        node = child(u, node, (uint8_t)piece[i]);
        if (node == 0) {
            break;
        }
        uint32_t id = u->nodes[node].id;
        if (id != TOKENIZER_SECTION_NO_ID) {
            offer(&steps[i + 1], add(u, score, u->tables->scores[id]), begin, id);
            single |= i + 1 == begin + length;
        }
    }
    if (!single) {
        offer(&steps[begin + length], add(u, score, u->unknown), begin, u->tables->header->unk);
    }
}

/* What becomes of a run of unknown characters: their bytes if all have tokens, else one token. */
static bool append_unknown(const struct tokenizer_unigram *u, const char *text, size_t bytes,
                           struct token_list *list, struct error *err)
{
    const uint32_t *byte_tokens = u->tables->byte_tokens;
    bool known = byte_tokens != NULL;
    for (size_t i = 0; known && i < bytes; i++) {
        known = byte_tokens[(uint8_t)text[i]] != TOKENIZER_SECTION_NO_ID;
    }
    if (!known) {
        return token_list_append(list, u->tables->header->unk, err);
    }
    for (size_t i = 0; i < bytes; i++) {
        if (!token_list_append(list, byte_tokens[(uint8_t)text[i]], err)) {
            return false;
        }
    }
    return true;
}

/* Turns the way back from the end into a way forward: `begin` becomes the end of the next token. */
static void turn(struct tokenizer_unigram_step *steps, size_t bytes)
{
    int32_t end = (int32_t)bytes, begin = steps[end].begin;
    for (;;) {
        int32_t before = steps[begin].begin;
        steps[begin].begin = end;
        if (begin == 0) {
            break;
        }
        end = begin;
        begin = before;
    }
}

bool tokenizer_unigram_encode(const struct tokenizer_unigram *u,
                              struct tokenizer_unigram_lattice *lattice, const char *piece,
                              size_t bytes, struct token_list *list, struct error *err)
{
    assert(bytes <= INT32_MAX);
    if (bytes == 0) {
        return true;
    }
    if (!reserve(lattice, bytes + 1, err)) {
        return false;
    }
    struct tokenizer_unigram_step *steps = lattice->steps;
    for (size_t i = 0; i <= bytes; i++) {
        steps[i] = (struct tokenizer_unigram_step){.begin = -1};
    }
    size_t length;
    for (size_t begin = 0; begin < bytes; begin += length) {
        unicode_at(piece, bytes, begin, &length);
        extend(u, steps, piece, bytes, begin, length);
    }
    turn(steps, bytes);
    uint32_t unk = u->tables->header->unk;
    for (int32_t begin = 0, end; begin < (int32_t)bytes; begin = end) {
        end = steps[begin].begin;
        if (steps[end].id != unk) {
            if (!token_list_append(list, steps[end].id, err)) {
                return false;
            }
            continue;
        }
        while (end < (int32_t)bytes && steps[steps[end].begin].id == unk) {
            end = steps[end].begin;
        }
        if (!append_unknown(u, piece + begin, (size_t)(end - begin), list, err)) {
            return false;
        }
    }
    return true;
}
