/* Template source to tokens: text outside of tags, and names, numbers, strings and operators
 * inside.
 *
 * White space follows jinja2.lexer with trim_blocks and lstrip_blocks: a newline right after a
 * block or comment goes; white space alone before a block or comment on its line goes; "-" takes
 * all white space on its side and "+" keeps it; one newline at the very end goes; every newline
 * becomes \n.
 */
#include <string.h>

#include "engine/text/chat_template_internal.h"

void template_lexer_init(struct template_lexer *lexer, struct template_context *context,
                         const char *text, size_t bytes)
{
    char *source = template_allocate(context, bytes + 1);
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != '\r') {
            source[n++] = text[i];
        } else if (i + 1 >= bytes || text[i + 1] != '\n') {
            source[n++] = '\n';
        }
    }
    if (n > 0 && source[n - 1] == '\n') {
        n--;
    }
    *lexer = (struct template_lexer){
        .context = context, .source = source, .bytes = n, .line = 1, .inside = TOKEN_TEXT};
}

static _Noreturn void fail_at(struct template_lexer *lexer, const char *what)
{
    lexer->context->line = lexer->line;
    template_fail(lexer->context, "%s", what);
}

static bool looking_at(const struct template_lexer *lexer, size_t at, const char *text)
{
    size_t n = strlen(text);
    return at <= lexer->bytes && lexer->bytes - at >= n && memcmp(lexer->source + at, text, n) == 0;
}

/* Offset of text at or after `at`, or SIZE_MAX. */
static size_t find(const struct template_lexer *lexer, size_t at, const char *text)
{
    const char *found = at <= lexer->bytes
                            ? memmem(lexer->source + at, lexer->bytes - at, text, strlen(text))
                            : NULL;
    return found ? (size_t)(found - lexer->source) : SIZE_MAX;
}

static void move_to(struct template_lexer *lexer, size_t at)
{
    for (size_t i = lexer->at; i < at; i++) {
        lexer->line += lexer->source[i] == '\n';
    }
    lexer->at = at;
}

static size_t skip_space(const struct template_lexer *lexer, size_t at)
{
    return template_space_after(lexer->source, at, lexer->bytes);
}

/* The end of text[from..to) once the tag at `to`, with this sign, has taken its white space. */
static size_t strip_before(const struct template_lexer *lexer, size_t from, size_t to, char sign,
                           bool is_output)
{
    const char *text = lexer->source + from;
    size_t n = to - from;
    if (sign == '-') {
        return from + template_space_before(text, n);
    }
    if (sign == '+' || is_output) {
        return to;
    }
    const char *newline = n ? memrchr(text, '\n', n) : NULL;
    size_t line_start = newline ? (size_t)(newline - text) + 1 : 0;
    if (!newline && from > 0 && lexer->source[from - 1] != '\n') {
        return to;
    }
    return template_space_after(text, line_start, n) == n ? from + line_start : to;
}

/* Moves behind a tag that ends at `at` with "-}", "+}" or "}" signs already seen. */
static void finish_tag(struct template_lexer *lexer, size_t at, char sign, bool trim_newline)
{
    if (sign == '-') {
        at = skip_space(lexer, at);
    } else if (sign != '+' && trim_newline && looking_at(lexer, at, "\n")) {
        at++;
    }
    move_to(lexer, at);
}

static char sign_at(const struct template_lexer *lexer, size_t at)
{
    bool is_sign = at < lexer->bytes && (lexer->source[at] == '-' || lexer->source[at] == '+');
    return is_sign ? lexer->source[at] : 0;
}

/* If {% WORD %} stands at `at`, the offset behind it with its white space; otherwise SIZE_MAX. */
static size_t match_tag(const struct template_lexer *lexer, size_t at, const char *word,
                        bool trim_newline)
{
    at += sign_at(lexer, at + 2) ? 3 : 2;
    at = skip_space(lexer, at);
    if (!looking_at(lexer, at, word)) {
        return SIZE_MAX;
    }
    at = skip_space(lexer, at + strlen(word));
    if (looking_at(lexer, at, "-%}")) {
        return skip_space(lexer, at + 3);
    }
    if (looking_at(lexer, at, "%}")) {
        return trim_newline && looking_at(lexer, at + 2, "\n") ? at + 3 : at + 2;
    }
    return trim_newline && looking_at(lexer, at, "+%}") ? at + 3 : SIZE_MAX;
}

static void skip_comment(struct template_lexer *lexer, size_t body)
{
    size_t end = find(lexer, body, "#}");
    if (end == SIZE_MAX) {
        fail_at(lexer, "a comment {# has no end #}");
    }
    finish_tag(lexer, end + 2, end > body ? sign_at(lexer, end - 1) : 0, true);
}

/* The next place at or after `at` where a tag begins, or the end. */
static size_t find_tag(const struct template_lexer *lexer, size_t at)
{
    for (; at + 1 < lexer->bytes; at++) {
        const char *brace = memchr(lexer->source + at, '{', lexer->bytes - 1 - at);
        if (!brace) {
            break;
        }
        at = (size_t)(brace - lexer->source);
        if (brace[1] == '{' || brace[1] == '%' || brace[1] == '#') {
            return at;
        }
    }
    return lexer->bytes;
}

static struct template_token make_token(const struct template_lexer *lexer,
                                        enum template_token_kind kind, size_t from, size_t to)
{
    return (struct template_token){
        .kind = kind, .line = lexer->line, .data = lexer->source + from, .bytes = to - from};
}

/* Up to {% endraw %} everything is text. */
static struct template_token next_raw(struct template_lexer *lexer)
{
    size_t tag = lexer->at, end = SIZE_MAX;
    for (;; tag++) {
        tag = find(lexer, tag, "{%");
        if (tag == SIZE_MAX) {
            fail_at(lexer, "{% raw %} has no {% endraw %}");
        }
        end = match_tag(lexer, tag, "endraw", true);
        if (end != SIZE_MAX) {
            break;
        }
    }
    size_t stop = strip_before(lexer, lexer->at, tag, sign_at(lexer, tag + 2), false);
    struct template_token token = make_token(lexer, TOKEN_TEXT, lexer->at, stop);
    move_to(lexer, end);
    lexer->raw = false;
    return token;
}

/* Text up to the next tag (perhaps empty); what the tag is goes to lexer->begin. */
static struct template_token next_text(struct template_lexer *lexer)
{
    size_t from = lexer->at, tag = find_tag(lexer, from);
    if (tag == lexer->bytes) {
        struct template_token token = make_token(lexer, TOKEN_TEXT, from, tag);
        move_to(lexer, tag);
        return token;
    }
    char sign = sign_at(lexer, tag + 2), type = lexer->source[tag + 1];
    size_t stop = strip_before(lexer, from, tag, sign, type == '{');
    struct template_token token = make_token(lexer, TOKEN_TEXT, from, stop);
    size_t body = tag + (sign ? 3 : 2);
    size_t raw = type == '%' ? match_tag(lexer, tag, "raw", false) : SIZE_MAX;
    if (raw != SIZE_MAX) {
        move_to(lexer, raw);
        lexer->raw = true;
        return token;
    }
    move_to(lexer, body);
    if (type == '#') {
        skip_comment(lexer, body);
    } else {
        lexer->begin = type == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_OUTPUT_BEGIN;
    }
    return token;
}

/* True, with *token set, if the tag ends here. */
static bool tag_end(struct template_lexer *lexer, struct template_token *token)
{
    bool block = lexer->inside == TOKEN_BLOCK_BEGIN;
    char sign = sign_at(lexer, lexer->at);
    size_t end = lexer->at + (sign ? 1 : 0);
    if ((sign == '+' && !block) || !looking_at(lexer, end, block ? "%}" : "}}")) {
        return false;
    }
    *token = make_token(lexer, block ? TOKEN_BLOCK_END : TOKEN_OUTPUT_END, lexer->at, end + 2);
    finish_tag(lexer, end + 2, sign, block);
    lexer->inside = TOKEN_TEXT;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static char byte_at(const struct template_lexer *lexer, size_t at)
{
    return at < lexer->bytes ? lexer->source[at] : 0;
}

static size_t skip_digits(const struct template_lexer *lexer, size_t at)
{
    while (is_digit(byte_at(lexer, at)) ||
           (byte_at(lexer, at) == '_' && is_digit(byte_at(lexer, at + 1)))) {
        at++;
    }
    return at;
}

static size_t skip_exponent(const struct template_lexer *lexer, size_t at)
{
    if (byte_at(lexer, at) != 'e' && byte_at(lexer, at) != 'E') {
        return at;
    }
    size_t digits = at + 1 + (sign_at(lexer, at + 1) != 0);
    return is_digit(byte_at(lexer, digits)) ? skip_digits(lexer, digits) : at;
}

static struct template_token next_number(struct template_lexer *lexer)
{
    size_t from = lexer->at, end = skip_digits(lexer, from);
    bool after_dot = from > 0 && lexer->source[from - 1] == '.';
    enum template_token_kind kind = TOKEN_INTEGER;
    char second = byte_at(lexer, from + 1) | 0x20;
    if (lexer->source[from] == '0' && (second == 'x' || second == 'o' || second == 'b')) {
        end = from + 2;
        while (is_name_byte(byte_at(lexer, end))) {
            end++;
        }
    } else if (!after_dot) {
        size_t fraction = end;
        if (byte_at(lexer, end) == '.' && is_digit(byte_at(lexer, end + 1))) {
            fraction = skip_digits(lexer, end + 1);
        }
        fraction = skip_exponent(lexer, fraction);
        if (fraction > end) {
            end = fraction;
            kind = TOKEN_FLOAT;
        }
    }
    struct template_token token = make_token(lexer, kind, from, end);
    move_to(lexer, end);
    return token;
}

static struct template_token next_quoted(struct template_lexer *lexer)
{
    size_t from = lexer->at, at = from + 1;
    char quote = lexer->source[from];
    while (at < lexer->bytes && lexer->source[at] != quote) {
        at += lexer->source[at] == '\\' ? 2 : 1;
    }
    if (at >= lexer->bytes) {
        fail_at(lexer, "a string has no closing quote");
    }
    struct template_token token = make_token(lexer, TOKEN_STRING, from, at + 1);
    move_to(lexer, at + 1);
    return token;
}

static void track_bracket(struct template_lexer *lexer, char c)
{
    const char *open = "([{", *close = ")]}";
    const char *opening = strchr(open, c), *closing = strchr(close, c);
    if (opening) {
        if (lexer->n_brackets == TEMPLATE_MAX_NESTING) {
            fail_at(lexer, "brackets are nested too deeply");
        }
        lexer->brackets[lexer->n_brackets++] = close[opening - open];
    } else if (closing) {
        if (lexer->n_brackets == 0 || lexer->brackets[--lexer->n_brackets] != c) {
            lexer->context->line = lexer->line;
            template_fail(lexer->context, "unexpected '%c'", c);
        }
    }
}

static struct template_token next_operator(struct template_lexer *lexer)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t at = lexer->at, n = 0;
    for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
        if (looking_at(lexer, at, two[i])) {
            n = 2;
        }
    }
    char c = lexer->source[at];
    if (n == 0 && c && strchr("+-/*%~[](){}><=.:|,;", c)) {
        n = 1;
        track_bracket(lexer, c);
    }
    if (n == 0) {
        int32_t point;
        n = template_point_read(lexer->source + at, lexer->bytes - at, &point);
        lexer->context->line = lexer->line;
        template_fail(lexer->context, "unexpected character '%.*s'", c ? (int)n : 0,
                      lexer->source + at);
    }
    struct template_token token = make_token(lexer, TOKEN_OPERATOR, at, at + n);
    move_to(lexer, at + n);
    return token;
}

static struct template_token next_inside(struct template_lexer *lexer)
{
    move_to(lexer, skip_space(lexer, lexer->at));
    struct template_token token;
    if (lexer->n_brackets == 0 && tag_end(lexer, &token)) {
        return token;
    }
    if (lexer->at == lexer->bytes) {
        fail_at(lexer, lexer->inside == TOKEN_BLOCK_BEGIN ? "a tag {% has no end %}"
                                                          : "a tag {{ has no end }}");
    }
    char c = lexer->source[lexer->at];
    if (is_digit(c)) {
        return next_number(lexer);
    }
    if (c == '"' || c == '\'') {
        return next_quoted(lexer);
    }
    if (is_name_byte(c)) {
        size_t end = lexer->at;
        while (is_name_byte(byte_at(lexer, end))) {
            end++;
        }
        token = make_token(lexer, TOKEN_NAME, lexer->at, end);
        move_to(lexer, end);
        return token;
    }
    return next_operator(lexer);
}

struct template_token template_lexer_next(struct template_lexer *lexer)
{
    if (lexer->inside != TOKEN_TEXT) {
        return next_inside(lexer);
    }
    while (lexer->begin == TOKEN_END) {
        if (lexer->at == lexer->bytes && !lexer->raw) {
            return make_token(lexer, TOKEN_END, lexer->at, lexer->at);
        }
        struct template_token token = lexer->raw ? next_raw(lexer) : next_text(lexer);
        if (token.bytes > 0) {
            return token;
        }
    }
    lexer->inside = lexer->begin;
    lexer->begin = TOKEN_END;
    return make_token(lexer, lexer->inside, lexer->at, lexer->at);
}
