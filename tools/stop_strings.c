#include "tools/stop_strings.h"

#include <assert.h>
#include <string.h>

/* Where the earliest stop string begins, or where the rest could be the beginning of one if more
 * text follows, or the end. */
static size_t safe_length(const struct stop_strings *strings, bool more, bool *found)
{
    const char *text = strings->held.at;
    size_t n = strings->held.n;
    for (size_t at = 0; at < n; at++) {
        bool possible = false;
        for (uint32_t i = 0; i < strings->n; i++) {
            size_t length = strlen(strings->texts[i]), left = n - at;
            size_t compared = length < left ? length : left;
            assert(length > 0);
            if ((more || compared == length) &&
                memcmp(text + at, strings->texts[i], compared) == 0) {
                *found = *found || compared == length;
                possible = true;
            }
        }
        if (possible) {
            return at;
        }
    }
    return n;
}

/* Moves what is certain to `out`, and forgets the rest if a stop string was found. */
static bool release(struct stop_strings *strings, bool more, struct text_buffer *out)
{
    bool found = false;
    size_t safe = safe_length(strings, more, &found);
    text_buffer_append(out, text_buffer_text(&strings->held), safe);
    text_buffer_drop(&strings->held, found ? strings->held.n : safe);
    return found;
}

bool stop_strings_push(struct stop_strings *strings, const char *text, size_t n,
                       struct text_buffer *out)
{
    if (strings->n == 0) {
        text_buffer_append(out, text, n);
        return false;
    }
    return text_buffer_append(&strings->held, text, n) && release(strings, true, out);
}

bool stop_strings_end(struct stop_strings *strings, struct text_buffer *out)
{
    return release(strings, false, out);
}
