/* Where the engines differ (Oniguruma 6.9 with Ruby syntax, PCRE2 10.42 with UTF and UCP):
 *
 *   \s \S       White_Space; PCRE2 adds U+180E                     -> \p{White_Space}
 *   \p{Han}     the script; PCRE2 means script extensions          -> \p{sc:Han}
 *   \v          one character; PCRE2 a class                       -> \x{B}
 *   ^ $         at every line, in both if PCRE2_MULTILINE is set
 *   (?i: )      Oniguruma also folds one character to several (ss and U+00DF): such text is refused
 *   a{2}+ a{2}? are not possessive and lazy in Ruby syntax: refused
 *   [a&&[b]]    PCRE2 has no intersection                          -> (?:(?=[b])[a])
 *   [a[b]] [a&&b] [^a&&[b]] \w \b \h, names, references, conditionals: refused
 */
#include "engine/text/tokenizer_regex_syntax.h"

#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 32
#define MAX_REPEAT 1000

struct translation {
    const char *pattern;
    size_t bytes;
    size_t at;
    struct unicode_buffer *out;
    struct error *err;
    int depth;
    bool caseless[MAX_DEPTH + 1]; /* per open group */
    char last_folded; /* last literal inside a caseless group, 0 if something else came */
};

static const char *const categories[] = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
    "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
    "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn",
};

static const char *const scripts[] = {
    "Arabic",    "Armenian", "Bengali",  "Bopomofo", "Cyrillic", "Devanagari", "Ethiopic",
    "Georgian",  "Greek",    "Gujarati", "Gurmukhi", "Han",      "Hangul",     "Hebrew",
    "Hiragana",  "Kannada",  "Katakana", "Khmer",    "Lao",      "Latin",      "Malayalam",
    "Mongolian", "Myanmar",  "Sinhala",  "Tamil",    "Telugu",   "Thai",       "Tibetan",
};

static bool put(struct translation *t, const char *text)
{
    return unicode_buffer_append(t->out, text, strlen(text), t->err);
}

static bool refuse(struct translation *t, size_t from, size_t bytes, const char *why)
{
    if (bytes > t->bytes - from) {
        bytes = t->bytes - from;
    }
    while (from + bytes < t->bytes && ((unsigned char)t->pattern[from + bytes] & 0xC0) == 0x80) {
        bytes++; /* whole characters */
    }
    return error_set(t->err, "the pre-tokenizer pattern has \"%.*s\" at byte %zu: %s", (int)bytes,
                     t->pattern + from, from, why);
}

static bool starts_with(const struct translation *t, const char *text)
{
    size_t n = strlen(text);
    return n <= t->bytes - t->at && memcmp(t->pattern + t->at, text, n) == 0;
}

static bool is_one_of(const char *const *names, size_t n, const char *name, size_t bytes)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(names[i]) == bytes && memcmp(names[i], name, bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* \p{Name}, \p{^Name}, \P{Name}; t->at is at the backslash. */
static bool translate_property(struct translation *t)
{
    size_t from = t->at;
    bool negated = t->pattern[t->at + 1] == 'P';
    t->at += 2;
    const char *close = t->at < t->bytes && t->pattern[t->at] == '{'
                            ? memchr(t->pattern + t->at, '}', t->bytes - t->at)
                            : NULL;
    if (!close) {
        return refuse(t, from, 3, "a property is written \\p{Name}");
    }
    const char *name = t->pattern + t->at + 1;
    t->at = (size_t)(close - t->pattern) + 1;
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    size_t n = (size_t)(close - name);
    bool is_category = is_one_of(categories, sizeof(categories) / sizeof(*categories), name, n);
    if (!is_category && !is_one_of(scripts, sizeof(scripts) / sizeof(*scripts), name, n)) {
        return refuse(t, from, t->at - from < 40 ? t->at - from : 40,
                      "this property is not supported");
    }
    if (t->caseless[t->depth]) {
        return refuse(t, from, t->at - from, "properties inside (?i: ) are not supported");
    }
    char text[40];
    snprintf(text, sizeof(text), "\\%c{%s%.*s}", negated ? 'P' : 'p',
             is_category ? "" : "sc:", (int)n, name);
    return put(t, text);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* \uHHHH, \x{H...}, \xHH below 0x80. */
static bool translate_code(struct translation *t)
{
    size_t from = t->at;
    bool is_u = t->pattern[t->at + 1] == 'u';
    t->at += 2;
    bool braced = !is_u && t->at < t->bytes && t->pattern[t->at] == '{';
    t->at += braced;
    size_t digits = 0, wanted = is_u ? 4 : braced ? 6 : 2;
    uint32_t code = 0;
    while (digits < wanted && t->at < t->bytes && hex_digit(t->pattern[t->at]) >= 0) {
        code = code << 4 | (uint32_t)hex_digit(t->pattern[t->at++]);
        digits++;
    }
    bool closed = !braced || (t->at < t->bytes && t->pattern[t->at] == '}');
    t->at += braced && closed;
    if (digits == 0 || (!braced && digits != wanted) || !closed || code > 0x10FFFF ||
        (code >= 0xD800 && code <= 0xDFFF) || (!is_u && !braced && code >= 0x80)) {
        return refuse(t, from, 10, "this is not the number of a character");
    }
    if (t->caseless[t->depth]) {
        return refuse(t, from, t->at - from, "numbers inside (?i: ) are not supported");
    }
    char text[16];
    snprintf(text, sizeof(text), "\\x{%X}", code);
    return put(t, text);
}

static bool translate_escape(struct translation *t)
{
    size_t from = t->at;
    if (t->bytes - t->at < 2) {
        return refuse(t, from, 1, "a pattern cannot end in a backslash");
    }
    t->last_folded = 0;
    char c = t->pattern[t->at + 1];
    switch (c) {
    case 'p':
    case 'P':
        return translate_property(t);
    case 'u':
    case 'x':
        return translate_code(t);
    case 's':
    case 'S':
        t->at += 2;
        return put(t, c == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
    case 'd':
    case 'D':
        t->at += 2;
        return put(t, c == 'd' ? "\\p{Nd}" : "\\P{Nd}");
    case 'v':
        t->at += 2;
        return put(t, "\\x{B}");
    case 'r':
    case 'n':
    case 't':
    case 'f':
    case 'a':
    case 'e':
        t->at += 2;
        return put(t, (const char[]){'\\', c, 0});
    default:
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            (unsigned char)c < 0x21 || (unsigned char)c > 0x7E) {
            return refuse(t, from, 2, "this escape is not supported");
        }
        t->at += 2;
        return put(t, (const char[]){'\\', c, 0});
    }
}

/* A character that stands for itself: t->at moves over it. */
static bool translate_literal(struct translation *t)
{
    uint32_t code;
    size_t length = (size_t)unicode_read(t->pattern + t->at, t->bytes - t->at, &code);
    if (t->caseless[t->depth]) {
        /* Letters that a single character folds to together: ss, ff, fi, fl, st. */
        char c = code < 0x80 ? (char)(code | 0x20) : 0;
        char before = t->last_folded;
        bool ligature = (before == 's' && (c == 's' || c == 't')) ||
                        (before == 'f' && (c == 'f' || c == 'i' || c == 'l'));
        if (code >= 0x80 || ligature) {
            return refuse(t, t->at, length, "this text inside (?i: ) is not supported");
        }
        t->last_folded = c;
    }
    bool ok = unicode_buffer_append(t->out, t->pattern + t->at, length, t->err);
    t->at += length;
    return ok;
}

static bool open_class(struct translation *t, bool *negated)
{
    t->at++;
    *negated = t->at < t->bytes && t->pattern[t->at] == '^';
    t->at += *negated;
    return put(t, *negated ? "[^" : "[");
}

/* Members up to what ends the class, at least one. */
static bool translate_members(struct translation *t, size_t from)
{
    size_t first = t->at;
    while (t->at < t->bytes) {
        char c = t->pattern[t->at];
        if ((c == ']' || starts_with(t, "&&")) && t->at > first) {
            t->last_folded = 0;
            return put(t, "]");
        }
        if (c == ']' || c == '[' || starts_with(t, "&&")) {
            return refuse(t, t->at, 1, "empty and nested character classes are not supported");
        }
        t->last_folded = 0; /* members of a class are single characters */
        if (!(c == '\\' ? translate_escape(t) : translate_literal(t))) {
            return false;
        }
    }
    return refuse(t, from, 10, "this character class has no end");
}

/* The second half of [a&&[b]]; the first is in `out` from `begin` on. */
static bool translate_intersection(struct translation *t, size_t from, size_t begin)
{
    bool negated, ok = false;
    size_t and = t->at, n_first = t->out->bytes - begin;
    t->at += 2;
    struct unicode_buffer first = {0};
    if (t->at < t->bytes && t->pattern[t->at] == '[') {
        ok = unicode_buffer_append(&first, t->out->data + begin, n_first, t->err);
        t->out->bytes = begin;
        ok = ok && put(t, "(?:(?=") && open_class(t, &negated) && translate_members(t, from);
        if (ok && !starts_with(t, "]]")) {
            ok = refuse(t, and, 2, "this intersection of character classes is not supported");
        }
        t->at += 2;
        ok = ok && put(t, ")") && unicode_buffer_append(t->out, first.data, n_first, t->err) &&
             put(t, ")");
    } else {
        refuse(t, and, 2, "this intersection of character classes is not supported");
    }
    unicode_buffer_free(&first);
    return ok;
}

static bool translate_class(struct translation *t)
{
    size_t from = t->at, begin = t->out->bytes;
    bool negated;
    t->last_folded = 0;
    if (!open_class(t, &negated) || !translate_members(t, from)) {
        return false;
    }
    if (t->pattern[t->at] == ']') {
        t->at++;
        return true;
    }
    return negated ? refuse(t, t->at, 2, "the complement of an intersection is not supported")
                   : translate_intersection(t, from, begin);
}

static bool translate_group(struct translation *t)
{
    static const char *const openings[] = {"(?:",  "(?>",  "(?=",  "(?!",
                                           "(?<=", "(?<!", "(?i:", "(?-i:"};
    size_t from = t->at;
    t->last_folded = 0;
    if (t->depth == MAX_DEPTH) {
        return refuse(t, from, 1, "groups are nested too deeply");
    }
    bool caseless = t->caseless[t->depth];
    const char *opening = NULL;
    for (size_t i = 0; i < sizeof(openings) / sizeof(*openings) && !opening; i++) {
        opening = starts_with(t, openings[i]) ? openings[i] : NULL;
    }
    if (!opening && t->at + 1 < t->bytes &&
        (t->pattern[t->at + 1] == '?' || t->pattern[t->at + 1] == '*')) {
        return refuse(t, from, 4, "this kind of group is not supported");
    }
    opening = opening ? opening : "(";
    t->at += strlen(opening);
    t->caseless[++t->depth] = strcmp(opening, "(?i:") == 0    ? true
                              : strcmp(opening, "(?-i:") == 0 ? false
                                                              : caseless;
    return put(t, strcmp(opening, "(") == 0 ? "(?:" : opening);
}

/* {m}, {m,}, {m,n} */
static bool translate_repeat(struct translation *t)
{
    size_t from = t->at++;
    unsigned bounds[2] = {0, 0};
    int n = 0;
    bool digits = false, bad = false;
    for (; t->at < t->bytes && t->pattern[t->at] != '}' && !bad; t->at++) {
        char c = t->pattern[t->at];
        if (c == ',' && n == 0 && digits) {
            n = 1;
        } else if (c >= '0' && c <= '9' && bounds[n] <= MAX_REPEAT) {
            bounds[n] = bounds[n] * 10 + (unsigned)(c - '0');
            digits = true;
        } else {
            bad = true;
        }
    }
    if (bad || !digits || t->at >= t->bytes || bounds[0] > MAX_REPEAT || bounds[1] > MAX_REPEAT) {
        return refuse(t, from, 10, "a repetition is written {m}, {m,} or {m,n}, up to 1000");
    }
    t->at++;
    if (t->at < t->bytes && (t->pattern[t->at] == '+' || t->pattern[t->at] == '?')) {
        return refuse(t, from, t->at + 1 - from, "a repetition of a repetition is not supported");
    }
    return unicode_buffer_append(t->out, t->pattern + from, t->at - from, t->err);
}

static bool translate_item(struct translation *t)
{
    switch (t->pattern[t->at]) {
    case '\\':
        return translate_escape(t);
    case '[':
        return translate_class(t);
    case '(':
        return translate_group(t);
    case ')':
        if (t->depth == 0) {
            return refuse(t, t->at, 1, "no group is open here");
        }
        t->depth--;
        break;
    case '{':
        t->last_folded = 0;
        return translate_repeat(t);
    case '|':
    case '^':
    case '$':
    case '.':
    case '?':
    case '*':
    case '+':
        break;
    case 0:
        return refuse(t, t->at, 0, "a NUL character is not supported");
    default:
        return translate_literal(t);
    }
    char c = t->pattern[t->at++];
    t->last_folded = 0;
    return put(t, (const char[]){c, 0});
}

bool tokenizer_regex_translate(const char *pattern, size_t bytes, struct unicode_buffer *out,
                               struct error *err)
{
    struct translation t = {.pattern = pattern, .bytes = bytes, .out = out, .err = err};
    while (t.at < bytes) {
        if (!translate_item(&t)) {
            return false;
        }
    }
    if (t.depth > 0) {
        return error_set(err, "the pre-tokenizer pattern has a group that is not closed");
    }
    return true;
}
