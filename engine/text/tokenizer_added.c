#include "engine/text/tokenizer_added.h"

#include "engine/text/unicode.h"

void tokenizer_added_init(struct tokenizer_added *added, const struct tokenizer_tables *tables,
                          struct tokenizer_matches matches)
{
    *added = (struct tokenizer_added){.pool = tables->pool, .matches = matches};
    uint32_t i = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        added->starts[byte] = i;
        while (i < matches.count && (uint8_t)added->pool[matches.at[i].text.offset] == byte) {
            i++;
        }
    }
    added->starts[256] = i;
}

/* Byte `depth` of match i, which is longer than that. */
static uint8_t byte_of(const struct tokenizer_added *added, uint32_t i, uint32_t depth)
{
    return (uint8_t)added->pool[added->matches.at[i].text.offset + depth];
}

/* First of the sorted matches [low, high) whose byte at depth is not below `byte`. */
static uint32_t bisect(const struct tokenizer_added *added, uint32_t low, uint32_t high,
                       uint32_t depth, unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (byte_of(added, middle, depth) < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest match that text[0..bytes) begins with, or NULL. */
static const struct tokenizer_section_match *longest(const struct tokenizer_added *added,
                                                     const char *text, size_t bytes)
{
    const struct tokenizer_section_match *best = NULL;
    uint32_t low = added->starts[(uint8_t)text[0]];
    uint32_t high = added->starts[(uint8_t)text[0] + 1];
    for (uint32_t depth = 1; low < high; depth++) {
        if (added->matches.at[low].text.bytes == depth) { /* the shortest is the first */
            best = &added->matches.at[low++];
        }
        if (depth == bytes) {
            break;
        }
        unsigned byte = (uint8_t)text[depth];
        low = bisect(added, low, high, depth, byte);
        high = bisect(added, low, high, depth, byte + 1);
    }
    return best;
}

static bool is_allowed(const struct tokenizer_added_walk *walk,
                       const struct tokenizer_section_match *match, size_t begin, size_t end)
{
    if ((match->flags & TOKENIZER_SECTION_MATCH_SPECIAL) && !walk->parse_special) {
        return false;
    }
    size_t length;
    return !(match->flags & TOKENIZER_SECTION_MATCH_SINGLE_WORD) ||
           ((begin == 0 || !unicode_is_word(unicode_before(walk->text, begin))) &&
            (end == walk->bytes ||
             !unicode_is_word(unicode_at(walk->text, walk->bytes, end, &length))));
}

static size_t spaces_before(const struct tokenizer_added_walk *walk, size_t position)
{
    while (position > walk->taken) {
        uint32_t code = unicode_before(walk->text, position);
        if (!unicode_is_space(code)) {
            break;
        }
        char character[4];
        position -= unicode_write(code, character);
    }
    return position;
}

static size_t spaces_after(struct tokenizer_added_walk *walk, size_t position)
{
    if (position >= walk->spaces_end) { /* else inside a run whose end is known */
        size_t length;
        while (position < walk->bytes &&
               unicode_is_space(unicode_at(walk->text, walk->bytes, position, &length))) {
            position += length;
        }
        walk->spaces_end = position;
    }
    return walk->spaces_end;
}

void tokenizer_added_next(struct tokenizer_added_walk *walk, struct tokenizer_added_found *result)
{
    const struct tokenizer_added *added = walk->added;
    while (walk->searched < walk->bytes) {
        size_t begin = walk->searched;
        uint8_t first = (uint8_t)walk->text[begin];
        const struct tokenizer_section_match *match =
            added->starts[first] == added->starts[first + 1]
                ? NULL
                : longest(added, walk->text + begin, walk->bytes - begin);
        if (!match) {
            walk->searched++;
            continue;
        }
        size_t end = begin + match->text.bytes;
        walk->searched = end;
        if (!is_allowed(walk, match, begin, end)) {
            continue;
        }
        if (match->flags & TOKENIZER_SECTION_MATCH_LSTRIP) {
            begin = spaces_before(walk, begin);
        }
        if (match->flags & TOKENIZER_SECTION_MATCH_RSTRIP) {
            end = spaces_after(walk, end);
        }
        /* A match may begin inside the white space that the one before it swallowed. */
        *result = (struct tokenizer_added_found){
            walk->taken, begin > walk->taken ? begin : walk->taken, true, match->id};
        walk->taken = end;
        return;
    }
    size_t rest = walk->taken < walk->bytes ? walk->taken : walk->bytes;
    *result = (struct tokenizer_added_found){rest, walk->bytes, false, 0};
}
