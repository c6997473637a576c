/* Strings of the template interpreter: UTF-8, counted, cut and searched by code points.
 *
 * Character classes and case follow Python's str, from the Unicode tables of utf8proc; case mapping
 * is one code point to one, except for the sharp s.
 */
#include <string.h>

#include <utf8proc.h>

#include "engine/text/chat_template_internal.h"

/* ---- code points -------------------------------------------------------------------------- */

size_t template_point_read(const char *data, size_t n, int32_t *point)
{
    utf8proc_ssize_t read =
        utf8proc_iterate((const utf8proc_uint8_t *)data, n < 8 ? (utf8proc_ssize_t)n : 8, point);
    if (read <= 0) {
        *point = 0xFFFD;
        return 1;
    }
    return (size_t)read;
}

bool template_point_is_space(int32_t point)
{
    return (point >= 9 && point <= 13) || (point >= 28 && point <= 32) || point == 0x85 ||
           point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
           point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F ||
           point == 0x3000;
}

bool template_point_is_alpha(int32_t point)
{
    utf8proc_category_t category = utf8proc_category(point);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool template_point_is_digit(int32_t point)
{
    return utf8proc_category(point) == UTF8PROC_CATEGORY_ND;
}

bool template_point_is_printable(int32_t point)
{
    utf8proc_category_t category = utf8proc_category(point);
    return point == ' ' || (category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS);
}

size_t template_space_after(const char *data, size_t at, size_t end)
{
    while (at < end) {
        int32_t point;
        size_t n = template_point_read(data + at, end - at, &point);
        if (!template_point_is_space(point)) {
            break;
        }
        at += n;
    }
    return at;
}

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* Start of the character that ends at `end` > 0. */
static size_t point_before(const char *data, size_t end)
{
    size_t start = end - 1;
    while (start > 0 && end - start < 4 && is_continuation(data[start])) {
        start--;
    }
    return start;
}

size_t template_space_before(const char *data, size_t end)
{
    while (end > 0) {
        int32_t point;
        size_t start = point_before(data, end);
        if (template_point_read(data + start, end - start, &point) != end - start ||
            !template_point_is_space(point)) {
            break;
        }
        end = start;
    }
    return end;
}

/* ---- views -------------------------------------------------------------------------------- */

static size_t count_points(const char *data, size_t bytes)
{
    size_t points = 0;
    for (size_t i = 0; i < bytes; i++) {
        points += !is_continuation(data[i]);
    }
    return points;
}

static const struct template_string *make(struct template_context *context, const char *data,
                                          size_t bytes, size_t points)
{
    struct template_string *string = template_allocate(context, sizeof(*string));
    *string = (struct template_string){.data = data, .bytes = bytes, .points = points};
    return string;
}

const struct template_string *template_string_view(struct template_context *context,
                                                   const char *data, size_t bytes)
{
    return make(context, data, bytes, count_points(data, bytes));
}

const struct template_string *template_string_literal(struct template_context *context,
                                                      const char *text)
{
    return template_string_view(context, text, strlen(text));
}

/* FNV-1a with a final mix; never 0. */
uint64_t template_string_hash(const struct template_string *string)
{
    if (string->hash) {
        return string->hash;
    }
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < string->bytes; i++) {
        hash = (hash ^ (unsigned char)string->data[i]) * UINT64_C(0x100000001B3);
    }
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

bool template_string_equal(const struct template_string *a, const struct template_string *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

bool template_string_is(const struct template_string *string, const char *text)
{
    return string->bytes == strlen(text) && memcmp(string->data, text, string->bytes) == 0;
}

int template_string_compare(const struct template_string *a, const struct template_string *b)
{
    size_t n = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = n ? memcmp(a->data, b->data, n) : 0;
    return order ? (order > 0) - (order < 0) : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Byte offset of a code point, 0 <= point <= points. */
static size_t byte_offset(struct template_context *context, const struct template_string *string,
                          size_t point)
{
    if (string->points == string->bytes) {
        return point;
    }
    if (point >= string->points) {
        return string->bytes;
    }
    template_charge(context, string->bytes);
    size_t at = 0;
    while (at < string->bytes && is_continuation(string->data[at])) {
        at++;
    }
    for (; point > 0; point--) {
        for (at++; at < string->bytes && is_continuation(string->data[at]);) {
            at++;
        }
    }
    return at;
}

const struct template_string *template_string_part(struct template_context *context,
                                                   const struct template_string *string,
                                                   size_t from, size_t to)
{
    size_t points = to - from;
    if (string->points != string->bytes) {
        template_charge(context, to - from);
        points = count_points(string->data + from, to - from);
    }
    return make(context, string->data + from, to - from, points);
}

const struct template_string *template_string_cut(struct template_context *context,
                                                  const struct template_string *string, size_t from,
                                                  size_t to)
{
    if (from >= to) {
        return make(context, string->data, 0, 0);
    }
    size_t start = byte_offset(context, string, from);
    size_t end = byte_offset(context, string, to);
    return make(context, string->data + start, end - start, to - from);
}

size_t template_string_find(struct template_context *context, const struct template_string *string,
                            const struct template_string *needle, size_t from)
{
    if (from > string->bytes || needle->bytes > string->bytes - from) {
        return SIZE_MAX;
    }
    if (needle->bytes == 0) {
        return from;
    }
    const char *found =
        memmem(string->data + from, string->bytes - from, needle->data, needle->bytes);
    size_t at = found ? (size_t)(found - string->data) : SIZE_MAX;
    template_charge(context, (found ? at : string->bytes) - from + needle->bytes);
    return at;
}

/* ---- strip, replace ----------------------------------------------------------------------- */

static bool in_set(struct template_context *context, const struct template_string *chars,
                   const char *data, size_t bytes)
{
    size_t at = 0;
    bool found = false;
    while (at < chars->bytes && !found) {
        int32_t point;
        size_t n = template_point_read(chars->data + at, chars->bytes - at, &point);
        found = n == bytes && memcmp(chars->data + at, data, n) == 0;
        at += n;
    }
    template_charge(context, at * 16);
    return found;
}

const struct template_string *template_string_strip(struct template_context *context,
                                                    const struct template_string *string,
                                                    const struct template_string *chars, bool left,
                                                    bool right)
{
    size_t from = 0, to = string->bytes;
    template_charge(context, 0);
    if (!chars) {
        from = left ? template_space_after(string->data, 0, to) : 0;
        to = right ? from + template_space_before(string->data + from, to - from) : to;
        template_charge(context, from + string->bytes - to);
        return template_string_part(context, string, from, to);
    }
    while (left && from < to) {
        int32_t point;
        size_t n = template_point_read(string->data + from, to - from, &point);
        if (!in_set(context, chars, string->data + from, n)) {
            break;
        }
        from += n;
    }
    while (right && to > from) {
        size_t start = from + point_before(string->data + from, to - from);
        if (!in_set(context, chars, string->data + start, to - start)) {
            break;
        }
        to = start;
    }
    return template_string_part(context, string, from, to);
}

const struct template_string *template_string_replace(struct template_context *context,
                                                      const struct template_string *string,
                                                      const struct template_string *old,
                                                      const struct template_string *new,
                                                      int64_t count)
{
    size_t mark = context->out_bytes, at = 0;
    for (; count != 0; count -= count > 0) {
        size_t found = template_string_find(context, string, old, at);
        if (found == SIZE_MAX) {
            break;
        }
        template_append(context, string->data + at, found - at);
        template_append_string(context, new);
        at = found + old->bytes;
        if (old->bytes == 0) { /* between all characters, and at both ends */
            if (at == string->bytes) {
                break;
            }
            int32_t point;
            size_t n = template_point_read(string->data + at, string->bytes - at, &point);
            template_append(context, string->data + at, n);
            at += n;
        }
    }
    template_append(context, string->data + at, string->bytes - at);
    return template_take(context, mark);
}

/* ---- case --------------------------------------------------------------------------------- */

static void append_upper(struct template_context *context, int32_t point, bool title)
{
    if (point == 0xDF) {
        template_append_text(context, title ? "Ss" : "SS");
    } else {
        template_append_point(context, title ? utf8proc_totitle(point) : utf8proc_toupper(point));
    }
}

const struct template_string *template_string_case(struct template_context *context,
                                                   const struct template_string *string,
                                                   enum template_case way)
{
    size_t mark = context->out_bytes;
    bool in_word = false;
    template_charge(context, string->bytes * 4);
    for (size_t at = 0; at < string->bytes;) {
        int32_t point;
        bool first = at == 0;
        at += template_point_read(string->data + at, string->bytes - at, &point);
        bool raise = way == CASE_UPPER || (way == CASE_CAPITALIZE && first) ||
                     (way == CASE_TITLE && !in_word) ||
                     (way == CASE_SWAP && utf8proc_toupper(point) != point);
        if (raise || (way == CASE_SWAP && point == 0xDF)) {
            append_upper(context, point, way == CASE_CAPITALIZE || way == CASE_TITLE);
        } else {
            template_append_point(context, utf8proc_tolower(point));
        }
        in_word = template_point_is_alpha(point);
    }
    return template_take(context, mark);
}

/* ---- lines -------------------------------------------------------------------------------- */

static bool ends_line(int32_t point)
{
    return (point >= 10 && point <= 13) || (point >= 28 && point <= 30) || point == 0x85 ||
           point == 0x2028 || point == 0x2029;
}

struct template_list *template_string_lines(struct template_context *context,
                                            const struct template_string *string, bool keep_ends)
{
    struct template_list *lines = template_list_new(context, 8);
    template_charge(context, string->bytes);
    size_t start = 0;
    for (size_t at = 0; at < string->bytes;) {
        int32_t point;
        size_t end = at;
        at += template_point_read(string->data + at, string->bytes - at, &point);
        if (!ends_line(point)) {
            continue;
        }
        if (point == '\r' && at < string->bytes && string->data[at] == '\n') {
            at++;
        }
        template_list_add(context, lines,
                          template_from_string(
                              template_string_part(context, string, start, keep_ends ? at : end)));
        start = at;
    }
    if (start < string->bytes) {
        template_list_add(
            context, lines,
            template_from_string(template_string_part(context, string, start, string->bytes)));
    }
    return lines;
}
