#include "engine/text/unicode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

int unicode_read(const char *text, size_t n, uint32_t *code)
{
    const uint8_t *s = (const uint8_t *)text;
    uint8_t lead = s[0];
    if (lead < 0x80) {
        *code = lead;
        return 1;
    }
    if (lead < 0xC2 || lead > 0xF4) {
        return -1;
    }
    int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    /* Overlong forms, surrogates and code points above U+10FFFF show in the second byte. */
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    uint32_t value = lead & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((size_t)i == n) {
            return 0;
        }
        if (s[i] < low || s[i] > high) {
            return -i;
        }
        value = value << 6 | (s[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *code = value;
    return length;
}

uint32_t unicode_before(const char *text, size_t position)
{
    assert(position > 0);
    size_t start = position - 1;
    while (start > 0 && ((uint8_t)text[start] & 0xC0) == 0x80) {
        start--;
    }
    uint32_t code = 0;
    unicode_read(text + start, position - start, &code);
    return code;
}

uint32_t unicode_at(const char *text, size_t bytes, size_t position, size_t *length)
{
    assert(position < bytes);
    uint32_t code = 0;
    int got = unicode_read(text + position, bytes - position, &code);
    assert(got > 0);
    *length = (size_t)got;
    return code;
}

size_t unicode_write(uint32_t code, char *out)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

bool unicode_is_valid(const char *text, size_t bytes)
{
    uint32_t code;
    for (size_t i = 0; i < bytes;) {
        int length = unicode_read(text + i, bytes - i, &code);
        if (length <= 0) {
            return false;
        }
        i += (size_t)length;
    }
    return true;
}

bool unicode_is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool unicode_is_word(uint32_t code)
{
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and the circled and squared letters that are Alphabetic symbols */
        return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
               (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
               (code >= 0x1F170 && code <= 0x1F189);
    }
}

void unicode_buffer_free(struct unicode_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct unicode_buffer){0};
}

bool unicode_buffer_reserve(struct unicode_buffer *buffer, size_t more, struct error *err)
{
    if (more <= buffer->capacity - buffer->bytes) {
        return true;
    }
    size_t capacity = buffer->bytes + more;
    if (capacity < more || capacity > SIZE_MAX / 2) {
        return error_set(err, "a text is too long for this machine's address space");
    }
    capacity += capacity / 2;
    char *data = realloc(buffer->data, capacity);
    if (!data) {
        return error_set(err, "out of memory for %zu bytes of text", capacity);
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool unicode_buffer_append(struct unicode_buffer *buffer, const char *text, size_t bytes,
                           struct error *err)
{
    if (!unicode_buffer_reserve(buffer, bytes, err)) {
        return false;
    }
    if (bytes > 0) {
        memcpy(buffer->data + buffer->bytes, text, bytes);
    }
    buffer->bytes += bytes;
    return true;
}

bool unicode_repair(const char *text, size_t bytes, struct unicode_buffer *out, struct error *err)
{
    size_t good = 0; /* start of valid text that is not copied yet */
    uint32_t code;
    for (size_t i = 0; i < bytes;) {
        int length = unicode_read(text + i, bytes - i, &code);
        if (length > 0) {
            i += (size_t)length;
            continue;
        }
        if (!unicode_buffer_append(out, text + good, i - good, err) ||
            !unicode_buffer_append(out, UNICODE_REPLACEMENT, UNICODE_REPLACEMENT_BYTES, err)) {
            return false;
        }
        i = length == 0 ? bytes : i + (size_t)-length;
        good = i;
    }
    return unicode_buffer_append(out, text + good, bytes - good, err);
}

static uint8_t combining_class(int32_t code)
{
    return (uint8_t)utf8proc_get_property(code)->combining_class;
}

/* Stable sort of marks by combining class, by counting: a text of marks alone stays linear. */
static void order_marks(int32_t *marks, int32_t *scratch, size_t n)
{
    size_t starts[257] = {0};
    for (size_t i = 0; i < n; i++) {
        starts[combining_class(marks[i]) + 1]++;
    }
    for (size_t c = 0; c < 256; c++) {
        starts[c + 1] += starts[c];
    }
    for (size_t i = 0; i < n; i++) {
        scratch[starts[combining_class(marks[i])]++] = marks[i];
    }
    memcpy(marks, scratch, n * sizeof(*marks));
}

static void order_all_marks(int32_t *codes, int32_t *scratch, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t end = i;
        bool sorted = true;
        while (end < n && combining_class(codes[end]) != 0) {
            sorted &= end == i || combining_class(codes[end - 1]) <= combining_class(codes[end]);
            end++;
        }
        if (!sorted) {
            order_marks(codes + i, scratch, end - i);
        }
        i = end > i ? end : i + 1;
    }
}

/* Full canonical decomposition into codes, which has room for 4 per byte of text. */
static size_t decompose(const char *text, size_t bytes, int32_t *codes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        size_t length;
        int32_t code = (int32_t)unicode_at(text, bytes, i, &length);
        int last_boundary = 0;
        utf8proc_ssize_t got = utf8proc_decompose_char(
            code, codes + n, 4, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &last_boundary);
        assert(got >= 1 && got <= 4); /* the longest canonical decomposition has four */
        n += (size_t)got;
        i += length;
    }
    return n;
}

bool unicode_compose(const char *text, size_t bytes, struct unicode_buffer *out, struct error *err)
{
    size_t ascii = 0;
    while (ascii < bytes && (uint8_t)text[ascii] < 0x80) {
        ascii++;
    }
    if (ascii == bytes) {
        return unicode_buffer_append(out, text, bytes, err);
    }
    if (bytes > SIZE_MAX / 64) {
        return error_set(err, "a text is too long for this machine's address space");
    }
    /* A character of 2 bytes or more gives at most 4, of 1 byte exactly 1. */
    size_t room = 2 * bytes + 4;
    int32_t *codes = malloc(2 * room * sizeof(*codes));
    if (!codes || !unicode_buffer_reserve(out, 3 * bytes + 4, err)) { /* UAX #15: at most 3 times */
        free(codes);
        return error_set(err, "out of memory while normalising %zu bytes of text", bytes);
    }
    size_t n = decompose(text, bytes, codes);
    order_all_marks(codes, codes + room, n);
    utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        out->bytes += unicode_write((uint32_t)codes[i], out->data + out->bytes);
    }
    free(codes);
    return true;
}
