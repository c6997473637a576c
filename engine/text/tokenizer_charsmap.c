#include "engine/text/tokenizer_charsmap.h"

#include <string.h>

#include <utf8proc.h>

#define MAX_KEY_BYTES 256u

struct charsmap {
    const char *units;
    uint32_t n_units;
    const char *texts;
    size_t n_texts; /* bytes; the last one is NUL */
};

static bool open_map(struct charsmap *map, const char *data, size_t bytes)
{
    uint32_t trie_bytes;
    if (bytes < sizeof(trie_bytes)) {
        return false;
    }
    memcpy(&trie_bytes, data, sizeof(trie_bytes));
    bytes -= sizeof(trie_bytes);
    if (trie_bytes % 4 || trie_bytes == 0 || trie_bytes >= bytes) {
        return false;
    }
    *map = (struct charsmap){data + sizeof(trie_bytes), trie_bytes / 4,
                             data + sizeof(trie_bytes) + trie_bytes, bytes - trie_bytes};
    return map->texts[map->n_texts - 1] == 0;
}

bool tokenizer_charsmap_check(const char *data, size_t bytes)
{
    struct charsmap map;
    return open_map(&map, data, bytes) && unicode_is_valid(map.texts, map.n_texts);
}

/* Unit i; 0 for one that is not there, which leads nowhere but for the byte 0. */
static uint32_t unit_at(const struct charsmap *map, uint32_t i)
{
    uint32_t unit = 0;
    if (i < map->n_units) {
        memcpy(&unit, map->units + (size_t)i * sizeof(unit), sizeof(unit));
    }
    return unit;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 0x200) >> 6);
}

/* The text at a leaf's position: not one that begins inside a character. */
static bool read_text(const struct charsmap *map, uint32_t position,
                      struct tokenizer_charsmap_found *found)
{
    if (position >= map->n_texts || ((uint8_t)map->texts[position] & 0xC0) == 0x80) {
        return false;
    }
    found->text = map->texts + position;
    found->bytes = strlen(found->text);
    return true;
}

/* Whether a key may end here: not inside a character of the text. */
static bool is_boundary(const char *text, size_t bytes, size_t position)
{
    return position == bytes || ((uint8_t)text[position] & 0xC0) != 0x80;
}

struct tokenizer_charsmap_found tokenizer_charsmap_find(const char *data, size_t map_bytes,
                                                        const char *text, size_t bytes,
                                                        bool shortest)
{
    struct tokenizer_charsmap_found found = {0};
    struct charsmap map;
    if (!open_map(&map, data, map_bytes)) {
        return found;
    }
    uint32_t at = offset_of(unit_at(&map, 0));
    size_t end = bytes < MAX_KEY_BYTES ? bytes : MAX_KEY_BYTES;
    for (size_t i = 0; i < end && text[i]; i++) {
        uint8_t byte = (uint8_t)text[i];
        at ^= byte;
        uint32_t unit = unit_at(&map, at);
        if ((unit & 0x800000FFu) != byte) {
            break;
        }
        at ^= offset_of(unit);
        if ((unit >> 8 & 1) && is_boundary(text, bytes, i + 1) &&
            read_text(&map, unit_at(&map, at) & 0x7FFFFFFFu, &found)) {
            found.taken = i + 1;
            if (shortest) {
                break;
            }
        }
    }
    return found;
}

size_t tokenizer_charsmap_cluster(const char *text, size_t bytes)
{
    size_t length, end;
    utf8proc_int32_t state = 0;
    if (bytes > 1 && ((uint8_t)text[0] | (uint8_t)text[1]) < 0x80 && text[0] != '\r') {
        return 1; /* no ASCII character joins the one before it but the line feed */
    }
    uint32_t code = unicode_at(text, bytes, 0, &end);
    while (end < bytes) {
        uint32_t next = unicode_at(text, bytes, end, &length);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)code, (utf8proc_int32_t)next,
                                             &state)) {
            break;
        }
        code = next;
        end += length;
    }
    return end;
}
