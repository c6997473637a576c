#include "engine/text/tokenizer_cache.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_LOG2 12
#define MAX_PIECE_BYTES 23u
#define MAX_IDS 6u

struct entry {
    uint8_t bytes, count; /* bytes 0: empty */
    char piece[MAX_PIECE_BYTES];
    uint32_t ids[MAX_IDS];
};

struct tokenizer_cache {
    struct entry entries[1u << ENTRIES_LOG2];
};

struct tokenizer_cache *tokenizer_cache_create(void)
{
    return calloc(1, sizeof(struct tokenizer_cache));
}

void tokenizer_cache_destroy(struct tokenizer_cache **cache)
{
    free(*cache);
    *cache = NULL;
}

/* Multiplicative hashing of up to three overlapping words. */
static uint32_t place(const char *piece, size_t bytes)
{
    uint64_t hash = bytes;
    size_t at = 0;
    do {
        uint64_t word = 0;
        memcpy(&word, piece + at, bytes - at < 8 ? bytes - at : 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
        at += 8;
    } while (at < bytes);
    return (uint32_t)(hash >> (64 - ENTRIES_LOG2));
}

bool tokenizer_cache_append(const struct tokenizer_cache *cache, const char *piece, size_t bytes,
                            struct token_list *list, bool *found, struct error *err)
{
    *found = false;
    if (!cache || bytes == 0 || bytes > MAX_PIECE_BYTES) {
        return true;
    }
    const struct entry *entry = &cache->entries[place(piece, bytes)];
    if (entry->bytes != bytes || memcmp(entry->piece, piece, bytes) != 0) {
        return true;
    }
    *found = true;
    for (uint32_t i = 0; i < entry->count; i++) {
        if (!token_list_append(list, entry->ids[i], err)) {
            return false;
        }
    }
    return true;
}

void tokenizer_cache_add(struct tokenizer_cache *cache, const char *piece, size_t bytes,
                         const uint32_t *ids, size_t count)
{
    if (!cache || bytes == 0 || bytes > MAX_PIECE_BYTES || count > MAX_IDS) {
        return;
    }
    struct entry *entry = &cache->entries[place(piece, bytes)];
    entry->bytes = (uint8_t)bytes;
    entry->count = (uint8_t)count;
    memcpy(entry->piece, piece, bytes);
    memcpy(entry->ids, ids, count * sizeof(*ids));
}
