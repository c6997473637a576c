/* Filters on text and numbers, as jinja2.filters, with Hugging Face's tojson; and from_json, which
 * a few templates use.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

static const struct template_string *subject_text(struct template_context *context,
                                                  const struct template_call *call)
{
    return template_text(context, call->subject);
}

static int64_t integer_or(struct template_context *context, struct template_value value,
                          int64_t otherwise, const char *use)
{
    return template_is_absent(value) ? otherwise : template_to_integer(context, value, use);
}

/* ---- text --------------------------------------------------------------------------------- */

FILTER(string)
{
    return template_from_string(subject_text(context, call));
}

FILTER(trim)
{
    const struct template_string *chars = template_is_absent(call->bound[0])
                                              ? NULL
                                              : template_to_string(context, call->bound[0], "trim");
    return template_from_string(
        template_string_strip(context, subject_text(context, call), chars, true, true));
}

FILTER(lower)
{
    return template_from_string(
        template_string_case(context, subject_text(context, call), CASE_LOWER));
}

FILTER(upper)
{
    return template_from_string(
        template_string_case(context, subject_text(context, call), CASE_UPPER));
}

FILTER(capitalize)
{
    return template_from_string(
        template_string_case(context, subject_text(context, call), CASE_CAPITALIZE));
}

/* Capitals after white space, hyphens and opening brackets only, unlike str.title. */
FILTER(title)
{
    const struct template_string *text = subject_text(context, call);
    size_t mark = context->out_bytes, start = 0;
    bool before_word = true;
    template_charge(context, text->bytes);
    for (size_t at = 0; at <= text->bytes;) {
        int32_t point = ' ';
        size_t n =
            at < text->bytes ? template_point_read(text->data + at, text->bytes - at, &point) : 1;
        bool separator = template_point_is_space(point) || (point < 0x80 && strchr("-({[<", point));
        if (separator && !before_word) {
            const struct template_string *word = template_string_part(context, text, start, at);
            template_append_string(context, template_string_case(context, word, CASE_CAPITALIZE));
        }
        if (separator && at < text->bytes) {
            template_append(context, text->data + at, n);
        }
        if (before_word && !separator) {
            start = at;
        }
        before_word = separator;
        at += n;
    }
    return template_from_string(template_take(context, mark));
}

FILTER(replace)
{
    const struct template_string *text = subject_text(context, call);
    const struct template_string *old = template_text(context, call->bound[0]);
    const struct template_string *new = template_text(context, call->bound[1]);
    int64_t count = integer_or(context, call->bound[2], -1, "replace");
    return template_from_string(template_string_replace(context, text, old, new, count));
}

FILTER(escape)
{
    const struct template_string *text = subject_text(context, call);
    size_t mark = context->out_bytes;
    template_charge(context, text->bytes * 4);
    for (size_t i = 0; i < text->bytes; i++) {
        char c = text->data[i];
        const char *entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '"'  ? "&#34;"
                             : c == '\'' ? "&#39;"
                                         : NULL;
        template_append(context, entity ? entity : &c, entity ? strlen(entity) : 1);
    }
    return template_from_string(template_take(context, mark));
}

FILTER(indent)
{
    const struct template_string *text = subject_text(context, call);
    struct template_value width = call->bound[0];
    bool blank = template_flag(call->bound[2]);
    size_t mark = context->out_bytes;
    if (width.kind != VALUE_STRING) {
        template_append_repeated(context, ' ', integer_or(context, width, 4, "indent"));
    }
    const struct template_string *space =
        width.kind == VALUE_STRING ? width.string : template_take(context, mark);
    /* A newline at the end opens one more line, which is empty. */
    struct template_list *lines = template_string_lines(context, text, false);
    bool open_end = text->bytes == 0 || text->data[text->bytes - 1] == '\n';
    size_t count = lines->count + open_end;
    for (size_t i = 0; i < count; i++) {
        const struct template_string *line = i < lines->count ? lines->items[i].string : NULL;
        bool has_text = line && line->bytes > 0;
        template_append(context, "\n", i > 0);
        if (i == 0 ? template_flag(call->bound[1]) : has_text || blank) {
            template_append_string(context, space);
        }
        template_append(context, has_text ? line->data : "", has_text ? line->bytes : 0);
    }
    return template_from_string(template_take(context, mark));
}

FILTER(center)
{
    const struct template_string *text = subject_text(context, call);
    int64_t width = integer_or(context, call->bound[0], 80, "center");
    int64_t missing = width - (int64_t)text->points;
    /* The odd space goes left where the width is odd, as str.center does. */
    int64_t left = missing <= 0 ? 0 : missing / 2 + (missing & width & 1);
    size_t mark = context->out_bytes;
    template_append_repeated(context, ' ', left);
    template_append_string(context, text);
    template_append_repeated(context, ' ', missing - left);
    return template_from_string(template_take(context, mark));
}

FILTER(truncate)
{
    const struct template_string *text = subject_text(context, call);
    const struct template_string *end = template_is_absent(call->bound[2])
                                            ? template_string_literal(context, "...")
                                            : template_text(context, call->bound[2]);
    int64_t length = integer_or(context, call->bound[0], 255, "truncate");
    int64_t leeway = integer_or(context, call->bound[3], 5, "truncate");
    if (length < (int64_t)end->points || leeway < 0) {
        template_fail(context, "truncate needs a length that has room for its end");
    }
    if ((int64_t)text->points - length <= leeway) {
        return template_from_string(text);
    }
    const struct template_string *kept =
        template_string_cut(context, text, 0, (size_t)length - end->points);
    if (!template_flag(call->bound[1])) {
        const char *space = kept->bytes ? memrchr(kept->data, ' ', kept->bytes) : NULL;
        kept = space ? template_string_part(context, kept, 0, (size_t)(space - kept->data)) : kept;
    }
    size_t mark = context->out_bytes;
    template_append_string(context, kept);
    template_append_string(context, end);
    return template_from_string(template_take(context, mark));
}

FILTER(wordcount)
{
    const struct template_string *text = subject_text(context, call);
    int64_t words = 0;
    bool inside = false;
    template_charge(context, text->bytes * 4);
    for (size_t at = 0; at < text->bytes;) {
        int32_t point;
        at += template_point_read(text->data + at, text->bytes - at, &point);
        bool word =
            point == '_' || template_point_is_alpha(point) || template_point_is_digit(point);
        words += word && !inside;
        inside = word;
    }
    return template_integer(words);
}

static void append_quoted(struct template_context *context, const struct template_string *text,
                          bool query)
{
    for (size_t i = 0; i < text->bytes; i++) {
        unsigned char c = (unsigned char)text->data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("_.-~", c)) || (c == '/' && !query);
        char code[4];
        snprintf(code, sizeof(code), "%%%02X", c);
        if (plain || (c == ' ' && query)) {
            template_append(context, plain ? text->data + i : "+", 1);
        } else {
            template_append(context, code, 3);
        }
    }
}

FILTER(urlencode)
{
    size_t mark = context->out_bytes;
    if (call->subject.kind != VALUE_DICT) {
        const struct template_string *text = subject_text(context, call);
        template_charge(context, text->bytes * 4);
        append_quoted(context, text, false);
        return template_from_string(template_take(context, mark));
    }
    const struct template_dict *dict = call->subject.dict;
    for (size_t i = 0; i < dict->count; i++) {
        const struct template_string *key = template_text(context, dict->entries[i].key);
        const struct template_string *value = template_text(context, dict->entries[i].value);
        template_charge(context, (key->bytes + value->bytes) * 4);
        template_append(context, "&", i > 0);
        append_quoted(context, key, true);
        template_append(context, "=", 1);
        append_quoted(context, value, true);
    }
    return template_from_string(template_take(context, mark));
}

FILTER(format)
{
    const struct template_string *format = subject_text(context, call);
    if (call->keywords && call->n_args == 0) {
        struct template_dict *keywords = (struct template_dict *)call->keywords;
        return template_format_percent(context, format, template_from_dict(keywords));
    }
    if (call->keywords) {
        template_fail(context, "format takes arguments with names or without, not both");
    }
    struct template_list *args = template_list_new(context, call->n_args);
    for (size_t i = 0; i < call->n_args; i++) {
        template_list_add(context, args, call->args[i]);
    }
    return template_format_percent(context, format, template_from_list(VALUE_TUPLE, args));
}

/* ---- numbers ------------------------------------------------------------------------------ */

/* A plain copy of the text without the white space around it and single underscores between digits;
 * NULL if it cannot be a number. */
static const char *number_text(struct template_context *context, const struct template_string *text)
{
    text = template_string_strip(context, text, NULL, true, true);
    if (text->bytes == 0 || text->bytes > 400) {
        return NULL;
    }
    char *plain = template_allocate(context, text->bytes + 1);
    size_t n = 0;
    for (size_t i = 0; i < text->bytes; i++) {
        char c = text->data[i];
        if (c == '_') {
            if (i == 0 || i + 1 == text->bytes || text->data[i - 1] == '_') {
                return NULL;
            }
            continue;
        }
        if (c <= ' ') {
            return NULL;
        }
        plain[n++] = c;
    }
    plain[n] = 0;
    return plain;
}

static bool read_integer(struct template_context *context, const struct template_string *text,
                         int64_t base, int64_t *integer)
{
    const char *digits = number_text(context, text);
    if (!digits || base < 2 || base > 36) {
        return false;
    }
    bool minus = *digits == '-';
    digits += minus || *digits == '+';
    char mark = digits[0] == '0' ? digits[1] | 0x20 : 0;
    if ((base == 16 && mark == 'x') || (base == 8 && mark == 'o') || (base == 2 && mark == 'b')) {
        digits += 2;
    }
    char *end;
    errno = 0;
    bool starts = (*digits >= '0' && *digits <= '9') || (base > 10 && (*digits | 0x20) >= 'a');
    *integer = strtoll(digits, &end, (int)base);
    *integer = minus ? -*integer : *integer;
    return starts && *end == 0 && end > digits && errno == 0;
}

static bool read_float(struct template_context *context, const struct template_string *text,
                       double *number)
{
    const char *digits = number_text(context, text);
    if (!digits || strpbrk(digits, "xXpP(")) { /* forms that C knows and Python does not */
        return false;
    }
    char *end;
    *number = strtod(digits, &end);
    return *end == 0 && end > digits;
}

static bool float_to_integer(double number, int64_t *integer)
{
    bool fits = number > -0x1p63 && number < 0x1p63;
    *integer = fits ? (int64_t)number : 0;
    return fits;
}

FILTER(int)
{
    struct template_value value = call->subject;
    int64_t integer, base = integer_or(context, call->bound[1], 10, "int");
    double number;
    template_require(context, value);
    bool known = value.kind == VALUE_BOOL || value.kind == VALUE_INTEGER;
    if (known) {
        integer = value.kind == VALUE_BOOL ? value.boolean : value.integer;
    } else if (value.kind == VALUE_FLOAT) {
        known = float_to_integer(value.number, &integer);
    } else if (value.kind == VALUE_STRING) {
        known = read_integer(context, value.string, base, &integer) ||
                (read_float(context, value.string, &number) && float_to_integer(number, &integer));
    }
    if (known) {
        return template_integer(integer);
    }
    return template_is_given(call->bound[0]) ? call->bound[0] : template_integer(0);
}

FILTER(float)
{
    struct template_value value = call->subject;
    double number;
    template_require(context, value);
    if (value.kind == VALUE_FLOAT) {
        return value;
    }
    if (value.kind == VALUE_BOOL || value.kind == VALUE_INTEGER) {
        return template_float((double)template_to_integer(context, value, "float"));
    }
    if (value.kind == VALUE_STRING && read_float(context, value.string, &number)) {
        return template_float(number);
    }
    return template_is_given(call->bound[0]) ? call->bound[0] : template_float(0);
}

FILTER(abs)
{
    struct template_value value = call->subject;
    if (value.kind == VALUE_FLOAT) {
        return template_float(fabs(value.number));
    }
    int64_t integer = template_to_integer(context, value, "abs");
    return integer < 0 ? template_binary(context, OPERATOR_SUBTRACT, template_integer(0),
                                         template_integer(integer))
                       : template_integer(integer);
}

static double round_common(double number, int64_t precision)
{
    if (!isfinite(number) || precision > 300) {
        return number;
    }
    if (precision < 0) {
        double unit = pow(10, (double)(precision < -308 ? -308 : -precision));
        return rint(number / unit) * unit;
    }
    char text[700]; /* printf rounds the exact value, ties to even, as Python does */
    snprintf(text, sizeof(text), "%.*f", (int)precision, number);
    return strtod(text, NULL);
}

FILTER(round)
{
    struct template_value value = call->subject, method = call->bound[1];
    int64_t precision = integer_or(context, call->bound[0], 0, "round");
    bool common = template_is_absent(method) ||
                  (method.kind == VALUE_STRING && template_string_is(method.string, "common"));
    bool whole = value.kind == VALUE_INTEGER || value.kind == VALUE_BOOL;
    if (common && whole && precision >= 0) {
        return template_integer(template_to_integer(context, value, "round"));
    }
    double number = value.kind == VALUE_FLOAT
                        ? value.number
                        : (double)template_to_integer(context, value, "round");
    if (common) {
        double rounded = round_common(number, precision);
        return whole ? template_integer((int64_t)rounded) : template_float(rounded);
    }
    bool up = method.kind == VALUE_STRING && template_string_is(method.string, "ceil");
    if (!up && !(method.kind == VALUE_STRING && template_string_is(method.string, "floor"))) {
        template_fail(context, "round knows the methods 'common', 'ceil' and 'floor'");
    }
    double unit = pow(10, (double)precision);
    return template_float((up ? ceil(number * unit) : floor(number * unit)) / unit);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static const struct template_string *separator(struct template_context *context,
                                               struct template_value pair, size_t index,
                                               const char *otherwise)
{
    if (template_is_absent(pair)) {
        return template_string_literal(context, otherwise);
    }
    const struct template_list *list = template_iterate(context, pair);
    if (list->count != 2) {
        template_fail(context, "tojson needs two separators");
    }
    return template_to_string(context, list->items[index], "a separator of tojson");
}

FILTER(tojson)
{
    struct template_value indent = call->bound[1];
    size_t mark = context->out_bytes;
    struct template_json_style style = {
        .ascii = template_flag(call->bound[0]),
        .sort_keys = template_flag(call->bound[3]),
        .item_separator =
            separator(context, call->bound[2], 0, template_is_absent(indent) ? ", " : ","),
        .key_separator = separator(context, call->bound[2], 1, ": "),
    };
    if (indent.kind == VALUE_STRING) {
        style.indent = indent.string;
    } else if (!template_is_absent(indent)) {
        template_append_repeated(context, ' ', template_to_integer(context, indent, "indent"));
        style.indent = template_take(context, mark);
    }
    template_print_json(context, call->subject, &style);
    return template_from_string(template_take(context, mark));
}

FILTER(from_json)
{
    const struct template_string *text = template_to_string(context, call->subject, "from_json");
    template_charge(context, text->bytes * 16);
    json_error_t error;
    context->json = json_loadb(text->data, text->bytes, JSON_DECODE_ANY, &error);
    if (!context->json) {
        template_fail(context, "from_json: %s", error.text);
    }
    struct template_value value = template_from_json(context, context->json, true);
    json_decref(context->json);
    context->json = NULL;
    return value;
}

const struct template_function template_text_filters[] = {
    {"abs", "", filter_abs},
    {"capitalize", "", filter_capitalize},
    {"center", "width?", filter_center},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"float", "default?", filter_float},
    {"forceescape", "", filter_escape},
    {"format", NULL, filter_format},
    {"from_json", "", filter_from_json},
    {"fromjson", "", filter_from_json},
    {"indent", "width? first? blank?", filter_indent},
    {"int", "default? base?", filter_int},
    {"lower", "", filter_lower},
    {"replace", "old new count?", filter_replace},
    {"round", "precision? method?", filter_round},
    {"safe", "", filter_string},
    {"string", "", filter_string},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", filter_tojson},
    {"trim", "chars?", filter_trim},
    {"truncate", "length? killwords? end? leeway?", filter_truncate},
    {"upper", "", filter_upper},
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
    {0},
};
