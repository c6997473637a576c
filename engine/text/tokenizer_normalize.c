#include "engine/text/tokenizer_normalize.h"

#include <string.h>

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
    }
    return false;
}
