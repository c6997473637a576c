/* Numbers and strings of a template's source to values, with Python's escapes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

struct template_value template_parse_integer(struct template_parser *parser)
{
    struct template_token token = parser->current;
    char digits[72];
    size_t n = 0;
    for (size_t i = 0; i < token.bytes && n < sizeof(digits) - 1; i++) {
        if (token.data[i] != '_') {
            digits[n++] = token.data[i];
        }
    }
    digits[n] = 0;
    char second = n > 1 ? digits[1] | 0x20 : 0;
    int base = second == 'x' ? 16 : second == 'o' ? 8 : second == 'b' ? 2 : 10;
    const char *start = base == 10 ? digits : digits + 2;
    char *end;
    errno = 0;
    long long integer = strtoll(start, &end, base);
    bool zeros = base == 10 && n > 1 && strspn(digits, "0") > 0 && strspn(digits, "0") < n;
    if (errno || *end || end == start || *start == '-' || *start == '+' || zeros) {
        template_fail(parser->context, "'%s' is no whole number of at most 64 bits", digits);
    }
    template_parser_advance(parser);
    return template_integer(integer);
}

struct template_value template_parse_float(struct template_parser *parser)
{
    struct template_token token = parser->current;
    char *digits = template_allocate(parser->context, token.bytes + 1);
    size_t n = 0;
    for (size_t i = 0; i < token.bytes; i++) {
        if (token.data[i] != '_') {
            digits[n++] = token.data[i];
        }
    }
    digits[n] = 0;
    template_parser_advance(parser);
    return template_float(strtod(digits, NULL));
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* Exactly n hexadecimal digits at *at. */
static int32_t read_hex(struct template_parser *parser, struct template_token token, size_t *at,
                        int n)
{
    int32_t point = 0;
    for (int i = 0; i < n; i++) {
        int digit = *at < token.bytes - 1 ? hex_digit(token.data[*at]) : -1;
        if (digit < 0 || point > 0x10FFFF >> 4) {
            template_fail(parser->context, "a \\x, \\u or \\U in a string is not complete");
        }
        point = point << 4 | digit;
        ++*at;
    }
    return point;
}

static void append_code(struct template_parser *parser, struct template_token token, size_t *at,
                        char c)
{
    int32_t point = read_hex(parser, token, at, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    bool high = point >= 0xD800 && point < 0xDC00;
    if (high && *at + 2 < token.bytes && token.data[*at] == '\\' && token.data[*at + 1] == 'u') {
        size_t after = *at + 2;
        int32_t low = read_hex(parser, token, &after, 4);
        if (low >= 0xDC00 && low < 0xE000) {
            point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
            *at = after;
        }
    }
    if (point >= 0xD800 && point < 0xE000) {
        point = 0xFFFD;
    }
    template_append_point(parser->context, point);
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* One escape whose backslash stands in front of *at. As Python: an unknown one keeps its backslash.
 */
static void append_escape(struct template_parser *parser, struct template_token token, size_t *at)
{
    static const char letters[] = "ntrabfv\\'\"", codes[] = "\n\t\r\a\b\f\v\\'\"";
    char c = token.data[(*at)++];
    const char *found = strchr(letters, c);
    if (c && found) {
        template_append(parser->context, &codes[found - letters], 1);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        append_code(parser, token, at, c);
    } else if (is_octal(c)) {
        int32_t point = c - '0';
        for (int i = 0; i < 2 && is_octal(token.data[*at]); i++) {
            point = point * 8 + token.data[(*at)++] - '0';
        }
        template_append_point(parser->context, point);
    } else if (c != '\n') {
        template_append(parser->context, "\\", 1);
        template_append(parser->context, &c, 1);
    }
}

struct template_value template_parse_strings(struct template_parser *parser)
{
    size_t mark = parser->context->out_bytes;
    for (; parser->current.kind == TOKEN_STRING; template_parser_advance(parser)) {
        struct template_token token = parser->current;
        for (size_t at = 1; at < token.bytes - 1;) {
            const char *backslash = memchr(token.data + at, '\\', token.bytes - 1 - at);
            size_t plain = backslash ? (size_t)(backslash - token.data) : token.bytes - 1;
            template_append(parser->context, token.data + at, plain - at);
            at = plain;
            if (backslash) {
                at++;
                append_escape(parser, token, &at);
            }
        }
    }
    const struct template_string *taken = template_take(parser->context, mark);
    return template_from_string(template_parser_string(parser, taken->data, taken->bytes));
}
