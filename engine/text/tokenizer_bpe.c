#include "engine/text/tokenizer_bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/byte_map.h"
#include "engine/text/tokenizer_build.h"

#define MARK TOKENIZER_SPACE_MARK
#define MARK_BYTES (sizeof(MARK) - 1)

static bool begins_with_mark(const struct tokenizer_tables *tables, uint32_t id)
{
    const struct tokenizer_section_token *token = &tables->tokens[id];
    return token->text_bytes >= MARK_BYTES &&
           memcmp(tables->pool + token->text_offset, MARK, MARK_BYTES) == 0;
}

/* A left half that may follow any text: the unknown token, or one that stands for a byte. */
static bool ends_like_anything(const struct tokenizer_tables *tables, uint32_t id)
{
    const struct tokenizer_section_token *token = &tables->tokens[id];
    return id == tables->header->unk || token->text_bytes == 0 ||
           tokenizer_byte_token(tables->pool + token->text_offset, token->text_bytes) >= 0;
}

void tokenizer_bpe_cuts_find(struct tokenizer_bpe_cuts *cuts, const struct tokenizer_tables *tables)
{
    const struct tokenizer_section *header = tables->header;
    *cuts = (struct tokenizer_bpe_cuts){
        .any = header->model == TOKENIZER_SECTION_BPE &&
               header->alphabet == TOKENIZER_SECTION_CHARACTERS &&
               !(header->flags & TOKENIZER_SECTION_IGNORE_MERGES) && tables->merge_starts &&
               tokenizer_tables_find(tables, MARK, MARK_BYTES) != TOKENIZER_SECTION_NO_ID};
    for (uint32_t left = 0; cuts->any && left < tables->n_tokens; left++) {
        const struct tokenizer_section_token *token = &tables->tokens[left];
        for (uint32_t i = tables->merge_starts[left]; i < tables->merge_starts[left + 1]; i++) {
            if (!begins_with_mark(tables, tables->merges[i].right)) {
                continue;
            }
            if (ends_like_anything(tables, left)) {
                cuts->any = false;
                break;
            }
            const char *end = tables->pool + token->text_offset + token->text_bytes;
            cuts->joined[(uint8_t)end[-1]] = true;
        }
    }
}

size_t tokenizer_bpe_cut(const struct tokenizer_bpe_cuts *cuts, const char *piece, size_t bytes)
{
    const char *mark = piece, *end = piece + bytes;
    while (cuts->any && end - mark > 1 &&
           (mark = memmem(mark + 1, (size_t)(end - mark) - 1, MARK, MARK_BYTES))) {
        if (!cuts->joined[(uint8_t)mark[-1]]) {
            return (size_t)(mark - piece);
        }
    }
    return bytes;
}

struct tokenizer_bpe_symbol {
    uint32_t id;
    int32_t previous, next; /* -1 at the ends */
    bool gone;              /* merged into the symbol on its left */
    /* How the symbol came about, so that an unused token can fall apart again: the last symbol it
     * took in (-1: none), and, in that one, what the taker was before. */
    int32_t taken, taker_taken;
    uint32_t taker_id;
};

struct tokenizer_bpe_pair {
    uint32_t rank;
    int32_t position; /* of the left symbol */
    uint32_t result;
};

void tokenizer_bpe_free(struct tokenizer_bpe *bpe)
{
    free(bpe->symbols);
    free(bpe->heap);
    unicode_buffer_free(&bpe->spelling);
    *bpe = (struct tokenizer_bpe){0};
}

/* Room for n symbols and every pair that they can give: each merge removes a symbol and adds at
 * most two pairs. */
static bool reserve(struct tokenizer_bpe *bpe, size_t n, struct error *err)
{
    if (n <= bpe->capacity) {
        return true;
    }
    size_t grown = n + n / 2 + 64;
    tokenizer_bpe_free(bpe);
    bpe->symbols = malloc(grown * sizeof(*bpe->symbols));
    bpe->heap = malloc(3 * grown * sizeof(*bpe->heap));
    if (!bpe->symbols || !bpe->heap) {
        tokenizer_bpe_free(bpe);
        return error_set(err, "out of memory while encoding a piece of %zu bytes", n);
    }
    bpe->capacity = grown;
    return true;
}

static bool comes_first(const struct tokenizer_bpe_pair *a, const struct tokenizer_bpe_pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void heap_push(struct tokenizer_bpe *bpe, struct tokenizer_bpe_pair pair)
{
    assert(bpe->n_heap < 3 * bpe->capacity);
    size_t at = bpe->n_heap++;
    while (at > 0 && comes_first(&pair, &bpe->heap[(at - 1) / 2])) {
        bpe->heap[at] = bpe->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    bpe->heap[at] = pair;
}

static struct tokenizer_bpe_pair heap_pop(struct tokenizer_bpe *bpe)
{
    struct tokenizer_bpe_pair top = bpe->heap[0], last = bpe->heap[--bpe->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < bpe->n_heap; at = child) {
        if (child + 1 < bpe->n_heap && comes_first(&bpe->heap[child + 1], &bpe->heap[child])) {
            child++;
        }
        if (!comes_first(&bpe->heap[child], &last)) {
            break;
        }
        bpe->heap[at] = bpe->heap[child];
    }
    bpe->heap[at] = last;
    return top;
}

static void push_pair(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables,
                      int32_t left)
{
    int32_t right = left < 0 ? -1 : bpe->symbols[left].next;
    if (right < 0) {
        return;
    }
    const struct tokenizer_section_merge *merge =
        tokenizer_tables_merge(tables, bpe->symbols[left].id, bpe->symbols[right].id);
    if (merge) {
        heap_push(bpe, (struct tokenizer_bpe_pair){merge->rank, left, merge->result});
    }
}

static void add_symbol(struct tokenizer_bpe *bpe, int32_t *n, uint32_t id)
{
    bpe->symbols[*n] =
        (struct tokenizer_bpe_symbol){.id = id, .previous = *n - 1, .next = *n + 1, .taken = -1};
    ++*n;
}

/* One symbol per byte that has a token; others become the unknown token or, without one, nothing.
 */
static int32_t split_bytes(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables,
                           const char *piece, size_t bytes)
{
    bool fuse = tables->header->flags & TOKENIZER_SECTION_FUSE_UNK;
    bool after_unknown = false;
    int32_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t id = tables->byte_tokens[(uint8_t)piece[i]];
        bool unknown = id == TOKENIZER_SECTION_NO_ID;
        if (unknown &&
            (tables->header->unk == TOKENIZER_SECTION_NO_ID || (fuse && after_unknown))) {
            continue;
        }
        after_unknown = unknown;
        add_symbol(bpe, &n, unknown ? tables->header->unk : id);
    }
    return n;
}

/* The tokens of a character's bytes, if there is one for each. */
static bool add_bytes(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables, int32_t *n,
                      const char *character, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!tables->byte_tokens ||
            tables->byte_tokens[(uint8_t)character[i]] == TOKENIZER_SECTION_NO_ID) {
            return false;
        }
    }
    for (size_t i = 0; i < length; i++) {
        add_symbol(bpe, n, tables->byte_tokens[(uint8_t)character[i]]);
    }
    return true;
}

/* One symbol per character of the vocabulary; the bytes of others, or the unknown token. That one
 * waits until its run is over, which bytes do not end: as in Hugging Face's. */
static int32_t split_characters(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables,
                                const char *piece, size_t bytes)
{
    uint32_t unk = tables->header->unk;
    bool fuse = tables->header->flags & TOKENIZER_SECTION_FUSE_UNK, waiting = false;
    int32_t n = 0;
    size_t length;
    for (size_t i = 0; i < bytes; i += length) {
        uint32_t code = unicode_at(piece, bytes, i, &length);
        uint32_t id =
            code < 128 ? tables->ascii[code] : tokenizer_tables_find(tables, piece + i, length);
        if (id == TOKENIZER_SECTION_NO_ID &&
            (add_bytes(bpe, tables, &n, piece + i, length) || unk == TOKENIZER_SECTION_NO_ID)) {
            continue;
        }
        bool known = id != TOKENIZER_SECTION_NO_ID;
        if (waiting && (known || !fuse)) {
            add_symbol(bpe, &n, unk);
        }
        waiting = !known;
        if (known) {
            add_symbol(bpe, &n, id);
        }
    }
    if (waiting) {
        add_symbol(bpe, &n, unk);
    }
    return n;
}

static void merge_all(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables, int32_t n)
{
    struct tokenizer_bpe_symbol *symbols = bpe->symbols;
    bpe->n_heap = 0;
    for (int32_t i = 0; i + 1 < n; i++) {
        push_pair(bpe, tables, i);
    }
    while (bpe->n_heap > 0) {
        struct tokenizer_bpe_pair pair = heap_pop(bpe);
        struct tokenizer_bpe_symbol *left = &symbols[pair.position];
        if (left->gone || left->next < 0) {
            continue;
        }
        const struct tokenizer_section_merge *merge =
            tokenizer_tables_merge(tables, left->id, symbols[left->next].id);
        if (!merge || merge->result != pair.result) {
            continue; /* a neighbour has merged since this pair was found */
        }
        struct tokenizer_bpe_symbol *right = &symbols[left->next];
        right->taker_id = left->id;
        right->taker_taken = left->taken;
        left->taken = left->next;
        left->id = pair.result;
        left->next = right->next;
        right->gone = true;
        if (left->next >= 0) {
            symbols[left->next].previous = pair.position;
        }
        push_pair(bpe, tables, left->previous);
        push_pair(bpe, tables, pair.position);
    }
}

/* Takes unused tokens apart, along the merges that made them. */
static void split_unused(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables)
{
    for (int32_t i = 0; i >= 0;) {
        struct tokenizer_bpe_symbol *left = &bpe->symbols[i];
        if (left->taken < 0 || !(tables->tokens[left->id].flags & TOKENIZER_SECTION_TOKEN_UNUSED)) {
            i = left->next;
            continue;
        }
        int32_t position = left->taken;
        struct tokenizer_bpe_symbol *right = &bpe->symbols[position];
        left->id = right->taker_id;
        left->taken = right->taker_taken;
        right->next = left->next;
        left->next = position;
    }
}

static bool find_whole(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables,
                       const char *piece, size_t bytes, uint32_t *id, struct error *err)
{
    *id = TOKENIZER_SECTION_NO_ID;
    if (bytes > TOKENIZER_SECTION_MAX_TOKEN_BYTES) {
        return true;
    }
    if (tables->header->alphabet == TOKENIZER_SECTION_CHARACTERS) {
        *id = tokenizer_tables_find(tables, piece, bytes);
        return true;
    }
    bpe->spelling.bytes = 0;
    if (!unicode_buffer_reserve(&bpe->spelling, 2 * bytes, err)) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        bpe->spelling.bytes +=
            byte_map_spell((uint8_t)piece[i], bpe->spelling.data + bpe->spelling.bytes);
    }
    *id = tokenizer_tables_find(tables, bpe->spelling.data, bpe->spelling.bytes);
    return true;
}

bool tokenizer_bpe_encode(struct tokenizer_bpe *bpe, const struct tokenizer_tables *tables,
                          const char *piece, size_t bytes, struct token_list *list,
                          struct error *err)
{
    assert(bytes <= INT32_MAX);
    if (bytes == 0) {
        return true;
    }
    if (tables->header->flags & TOKENIZER_SECTION_IGNORE_MERGES) {
        uint32_t id;
        if (!find_whole(bpe, tables, piece, bytes, &id, err)) {
            return false;
        }
        if (id != TOKENIZER_SECTION_NO_ID) {
            return token_list_append(list, id, err);
        }
    }
    if (!reserve(bpe, bytes, err)) {
        return false;
    }
    int32_t n = tables->header->alphabet == TOKENIZER_SECTION_BYTES
                    ? split_bytes(bpe, tables, piece, bytes)
                    : split_characters(bpe, tables, piece, bytes);
    if (n == 0) {
        return true;
    }
    bpe->symbols[n - 1].next = -1;
    merge_all(bpe, tables, n);
    split_unused(bpe, tables);
    for (int32_t i = 0; i >= 0; i = bpe->symbols[i].next) {
        if (!token_list_append(list, bpe->symbols[i].id, err)) {
            return false;
        }
    }
    return true;
}
