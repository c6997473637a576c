#include "engine/text/tokenizer_normalize.h"

#include <string.h>

#include "engine/text/tokenizer_charsmap.h"

#define MAX_BYTES \
    ((size_t)INT32_MAX - 64) /* pieces, and a space before one, have 31-bit positions */

static bool append(struct unicode_buffer *out, const char *text, size_t bytes, struct error *err)
{
    if (bytes > MAX_BYTES || out->bytes > MAX_BYTES - bytes) {
        return error_set(err, "a text is too long after normalisation; pass it in parts");
    }
    return unicode_buffer_append(out, text, bytes, err);
}

static bool replace(const struct tokenizer_normalize_step *step, const char *text, size_t bytes,
                    struct unicode_buffer *out, struct error *err)
{
    const char *end = text + bytes, *found;
    while ((found = memmem(text, (size_t)(end - text), step->text, step->text_bytes))) {
        if (!append(out, text, (size_t)(found - text), err) ||
            !append(out, step->replacement, step->replacement_bytes, err)) {
            return false;
        }
        text = found + step->text_bytes;
    }
    return append(out, text, (size_t)(end - text), err);
}

static bool begins_with(const struct tokenizer_normalize_step *step, const char *text, size_t bytes)
{
    return bytes >= step->text_bytes && memcmp(text, step->text, step->text_bytes) == 0;
}

static bool replace_runs(const struct tokenizer_normalize_step *step, const char *text,
                         size_t bytes, struct unicode_buffer *out, struct error *err)
{
    const char *end = text + bytes, *found;
    while ((found = memmem(text, (size_t)(end - text), step->text, step->text_bytes))) {
        const char *behind = found + step->text_bytes;
        while (begins_with(step, behind, (size_t)(end - behind))) {
            behind += step->text_bytes;
        }
        bool single = behind == found + step->text_bytes;
        if (!append(out, text, (size_t)((single ? behind : found) - text), err) ||
            (!single && !append(out, step->replacement, step->replacement_bytes, err))) {
            return false;
        }
        text = behind;
    }
    return append(out, text, (size_t)(end - text), err);
}

/* How many bytes of the start or the end one stripping takes; 0: nothing. */
static size_t strip_left(const struct tokenizer_normalize_step *step, const char *text,
                         size_t bytes)
{
    size_t length;
    if (step->text_bytes > 0) {
        return begins_with(step, text, bytes) ? step->text_bytes : 0;
    }
    return bytes > 0 && unicode_is_space(unicode_at(text, bytes, 0, &length)) ? length : 0;
}

static size_t strip_right(const struct tokenizer_normalize_step *step, const char *text,
                          size_t bytes)
{
    char character[4];
    size_t n = step->text_bytes;
    if (n > 0) {
        return bytes >= n && begins_with(step, text + bytes - n, n) ? n : 0;
    }
    uint32_t code = bytes > 0 ? unicode_before(text, bytes) : 'x';
    return unicode_is_space(code) ? unicode_write(code, character) : 0;
}

static bool strip(const struct tokenizer_normalize_step *step, const char *text, size_t bytes,
                  struct unicode_buffer *out, struct error *err)
{
    size_t n;
    while ((step->flags & TOKENIZER_SECTION_STRIP_LEFT) && (n = strip_left(step, text, bytes))) {
        text += n;
        bytes -= n;
    }
    while ((step->flags & TOKENIZER_SECTION_STRIP_RIGHT) && (n = strip_right(step, text, bytes))) {
        bytes -= n;
    }
    return append(out, text, bytes, err);
}

/* Hugging Face looks only at the shortest key, lets it stand for a whole cluster of less than six
 * bytes, and otherwise takes characters one by one; SentencePiece takes the longest key. */
static bool map_characters(const struct tokenizer_normalize_step *step, const char *text,
                           size_t bytes, struct unicode_buffer *out, struct error *err)
{
    bool clusters = step->flags & TOKENIZER_SECTION_CHARSMAP_CLUSTERS;
    size_t cluster_end = 0, length;
    for (size_t i = 0; i < bytes; i += length) {
        struct tokenizer_charsmap_found found = {0};
        if (clusters && i == cluster_end) {
            length = tokenizer_charsmap_cluster(text + i, bytes - i);
            cluster_end += length;
            if (length < 6) {
                found =
                    tokenizer_charsmap_find(step->text, step->text_bytes, text + i, length, true);
            }
        }
        if (!found.text) {
            unicode_at(text, bytes, i, &length);
            found = tokenizer_charsmap_find(step->text, step->text_bytes, text + i,
                                            clusters ? length : bytes - i, clusters);
            length = found.text && !clusters ? found.taken : length;
        }
        if (!append(out, found.text ? found.text : text + i, found.text ? found.bytes : length,
                    err)) {
            return false;
        }
    }
    return append(out, "", 0, err);
}

bool tokenizer_normalize(const struct tokenizer_normalize_step *step, const char *text,
                         size_t bytes, struct unicode_buffer *out, struct error *err)
{
    switch ((enum tokenizer_section_normalizer)step->kind) {
    case TOKENIZER_SECTION_NFC:
        return unicode_compose(text, bytes, out, err) && append(out, "", 0, err);
    case TOKENIZER_SECTION_PREPEND:
        return bytes == 0 ||
               (append(out, step->text, step->text_bytes, err) && append(out, text, bytes, err));
    case TOKENIZER_SECTION_REPLACE:
        return replace(step, text, bytes, out, err);
    case TOKENIZER_SECTION_CHARSMAP:
        return map_characters(step, text, bytes, out, err);
    case TOKENIZER_SECTION_STRIP:
        return strip(step, text, bytes, out, err);
    case TOKENIZER_SECTION_RUNS:
        return replace_runs(step, text, bytes, out, err);
    }
    return false;
}
