/* Python's two ways to format: "%d of %s" % (1, 'x') and "{} of {name:>5}".format(...).
 *
 * Covered: flags, fill, alignment, sign, width, precision, grouping by comma or underscore, and the
 * types s r d i u x X o b c e E f F g G %; fields by position, number or name, with !s and !r.
 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

struct spec {
    char fill[4]; /* one character */
    size_t fill_bytes;
    char align; /* < > ^ = or 0 */
    char sign;  /* + - or space */
    char group; /* , _ or 0 */
    bool alternate;
    int64_t width, precision; /* precision -1: none */
    char type;                /* or 0 */
};

#define MAX_PRECISION 1000

static void pad(struct template_context *context, const struct spec *spec, int64_t count)
{
    if (spec->fill_bytes == 1) {
        template_append_repeated(context, spec->fill[0], count);
        return;
    }
    for (; count > 0; count--) {
        template_append(context, spec->fill, spec->fill_bytes);
    }
}

/* `sign` is the part that "=" keeps in front of the padding. */
static void append_padded(struct template_context *context, const struct spec *spec,
                          const char *sign, const struct template_string *text, char default_align)
{
    char align = spec->align ? spec->align : default_align;
    int64_t missing = spec->width - (int64_t)text->points - (int64_t)strlen(sign);
    int64_t left = missing <= 0 ? 0 : align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    if (align == '=') {
        template_append_text(context, sign);
        sign = "";
    }
    pad(context, spec, left);
    template_append_text(context, sign);
    template_append_string(context, text);
    pad(context, spec, missing > left ? missing - left : 0);
}

static void format_string(struct template_context *context, const struct spec *spec,
                          const struct template_string *text, char default_align)
{
    if (spec->precision >= 0 && (uint64_t)spec->precision < text->points) {
        text = template_string_cut(context, text, 0, (size_t)spec->precision);
    }
    append_padded(context, spec, "", text, default_align);
}

/* Puts the group sign between groups of the digits in front of the point. */
static const char *group_digits(struct template_context *context, const char *digits, char group,
                                size_t size)
{
    size_t whole = strspn(digits, "0123456789abcdefABCDEF"), n = 0;
    char *grouped = template_allocate(context, strlen(digits) * 2 + 1);
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % size == 0) {
            grouped[n++] = group;
        }
        grouped[n++] = digits[i];
    }
    strcpy(grouped + n, digits + whole);
    return grouped;
}

static void append_number(struct template_context *context, const struct spec *spec, bool negative,
                          const char *prefix, const char *digits)
{
    char sign[8];
    const char *mark = negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "";
    snprintf(sign, sizeof(sign), "%s%s", mark, prefix);
    if (spec->group) {
        digits = group_digits(context, digits, spec->group, *prefix || spec->type == 'x' ? 4 : 3);
    }
    append_padded(context, spec, sign, template_string_literal(context, digits), '>');
}

static void format_integer(struct template_context *context, const struct spec *spec,
                           int64_t integer)
{
    char digits[72];
    size_t n = sizeof(digits);
    uint64_t rest = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    char type = spec->type;
    unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    const char *letters = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    digits[--n] = 0;
    do {
        digits[--n] = letters[rest % base];
        rest /= base;
    } while (rest);
    char prefix[3] = {'0', type, 0};
    append_number(context, spec, integer < 0, spec->alternate && base != 10 ? prefix : "",
                  digits + n);
}

static void format_float(struct template_context *context, const struct spec *spec, double number)
{
    char digits[MAX_PRECISION + 400], format[8] = "%.*f";
    bool negative = signbit(number) && !isnan(number);
    double size = fabs(number);
    bool percent = spec->type == '%';
    int precision = spec->precision >= 0 ? (int)spec->precision : 6;
    assert(precision <= MAX_PRECISION);
    if (!spec->type && spec->precision < 0) {
        size_t from = context->out_bytes;
        template_print_float(context, size);
        const struct template_string *text = template_take(context, from);
        snprintf(digits, sizeof(digits), "%.*s", (int)text->bytes, text->data);
    } else {
        format[3] = percent ? 'f' : spec->type ? spec->type : 'g';
        snprintf(digits, sizeof(digits) - 4, format, precision, percent ? size * 100 : size);
        if (percent || (!spec->type && isfinite(size) && !strpbrk(digits, ".e"))) {
            strcat(digits, percent ? "%" : ".0");
        }
    }
    append_number(context, spec, negative, "", digits);
}

static bool is_float_type(char type)
{
    return type && strchr("eEfFgG%", type);
}

static bool is_integer_type(char type)
{
    return type && strchr("dxXob", type);
}

static void format_number(struct template_context *context, const struct spec *spec,
                          struct template_value value)
{
    if (spec->type == 'c') {
        int64_t point = template_to_integer(context, value, "the format 'c'");
        size_t from = context->out_bytes;
        if (point < 0 || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) {
            template_fail(context, "%" PRId64 " is no character", point);
        }
        template_append_point(context, (int32_t)point);
        format_string(context, spec, template_take(context, from), '<');
    } else if (value.kind == VALUE_FLOAT || is_float_type(spec->type)) {
        if (is_integer_type(spec->type)) {
            template_fail(context, "the format '%c' needs a whole number", spec->type);
        }
        double number = value.kind == VALUE_FLOAT
                            ? value.number
                            : (double)template_to_integer(context, value, "a format");
        format_float(context, spec, number);
    } else {
        format_integer(context, spec, template_to_integer(context, value, "a format"));
    }
}

/* Reads up to six digits; more fail. */
static int64_t read_number(struct template_context *context, const struct template_string *text,
                           size_t *at)
{
    int64_t number = 0;
    while (*at < text->bytes && text->data[*at] >= '0' && text->data[*at] <= '9') {
        number = number * 10 + text->data[(*at)++] - '0';
        if (number > 999999) {
            template_fail(context, "a width in a format is too large");
        }
    }
    return number;
}

static void check_precision(struct template_context *context, const struct spec *spec, bool text)
{
    if (!text && spec->precision > MAX_PRECISION) {
        template_fail(context, "a precision in a format is larger than %d", MAX_PRECISION);
    }
}

/* ---- str.format --------------------------------------------------------------------------- */

static char char_at(const struct template_string *text, size_t at)
{
    return at < text->bytes ? text->data[at] : 0;
}

static bool is_align(char c)
{
    return c && strchr("<>^=", c);
}

/* [[fill]align][sign][#][0][width][grouping][.precision][type] */
static struct spec read_spec(struct template_context *context, const struct template_string *text)
{
    struct spec spec = {.fill = " ", .fill_bytes = 1, .sign = '-', .precision = -1};
    size_t at = 0;
    int32_t point;
    size_t first = text->bytes ? template_point_read(text->data, text->bytes, &point) : 0;
    if (first && is_align(char_at(text, first))) {
        memcpy(spec.fill, text->data, first);
        spec.fill_bytes = first;
        spec.align = text->data[first];
        at = first + 1;
    } else if (is_align(char_at(text, 0))) {
        spec.align = text->data[at++];
    }
    char c = char_at(text, at);
    if (c == '+' || c == '-' || c == ' ') {
        spec.sign = c;
        at++;
    }
    if (char_at(text, at) == '#') {
        spec.alternate = true;
        at++;
    }
    if (char_at(text, at) == '0' && !spec.align) {
        spec.fill[0] = '0';
        spec.align = '=';
    }
    spec.width = read_number(context, text, &at);
    if (char_at(text, at) == ',' || char_at(text, at) == '_') {
        spec.group = text->data[at++];
    }
    if (char_at(text, at) == '.') {
        at++;
        spec.precision = read_number(context, text, &at);
    }
    if (at < text->bytes) {
        spec.type = text->data[at++];
    }
    if (at != text->bytes || (spec.type && !strchr("sdxXobceEfFgG%", spec.type))) {
        template_fail(context, "'%.*s' is no known format", template_clip(text->data, text->bytes),
                      text->data);
    }
    return spec;
}

static void format_value(struct template_context *context, struct template_value value,
                         const struct template_string *spec_text)
{
    if (spec_text->bytes == 0) {
        template_print(context, value);
        return;
    }
    struct spec spec = read_spec(context, spec_text);
    bool number = value.kind >= VALUE_BOOL && value.kind <= VALUE_FLOAT;
    if (!number && value.kind != VALUE_STRING) {
        template_require(context, value);
        template_fail(context, "a %s takes no format", template_type(value));
    }
    check_precision(context, &spec, !number);
    if (number && spec.type != 's') {
        format_number(context, &spec, value);
    } else if (!number && (!spec.type || spec.type == 's')) {
        spec.align = spec.align == '=' ? '<' : spec.align;
        format_string(context, &spec, value.string, '<');
    } else {
        template_fail(context, "the format '%c' does not fit a %s", spec.type,
                      template_type(value));
    }
}

/* Value of {}, {2} or {name}; *next counts the {}. */
static struct template_value find_field(struct template_context *context,
                                        const struct template_call *call,
                                        const struct template_string *field, size_t *next)
{
    size_t at = 0;
    if (field->bytes == 0 || (field->data[0] >= '0' && field->data[0] <= '9')) {
        int64_t index = field->bytes ? read_number(context, field, &at) : (int64_t)(*next)++;
        if (at == field->bytes && (uint64_t)index < call->n_args) {
            return call->args[index];
        }
    } else if (call->keywords) {
        struct template_value *found =
            template_dict_find(context, call->keywords, template_from_string(field));
        if (found) {
            return *found;
        }
    }
    template_fail(context, "format has no value for the field '{%.*s}'",
                  template_clip(field->data, field->bytes), field->data);
}

/* What stands between { and }: name[!conversion][:spec] */
static void append_field(struct template_context *context, const struct template_call *call,
                         const struct template_string *inside, size_t *next)
{
    size_t name = 0;
    while (name < inside->bytes && inside->data[name] != '!' && inside->data[name] != ':') {
        name++;
    }
    struct template_value value =
        find_field(context, call, template_string_part(context, inside, 0, name), next);
    size_t at = name;
    if (char_at(inside, at) == '!') {
        char conversion = char_at(inside, at + 1);
        size_t mark = context->out_bytes;
        if (conversion == 'r') {
            template_print_repr(context, value);
        } else if (conversion == 's') {
            template_print(context, value);
        } else {
            template_fail(context, "a format knows only the conversions !s and !r");
        }
        value = template_from_string(template_take(context, mark));
        at += 2;
    }
    if (at < inside->bytes && inside->data[at] != ':') {
        template_fail(context, "a ':' is missing in a format");
    }
    at += at < inside->bytes;
    format_value(context, value, template_string_part(context, inside, at, inside->bytes));
}

struct template_value template_format_braces(struct template_context *context,
                                             const struct template_string *format,
                                             const struct template_call *call)
{
    size_t mark = context->out_bytes, next = 0;
    template_charge(context, format->bytes);
    for (size_t at = 0; at < format->bytes; at++) {
        char c = format->data[at];
        if (c != '{' && c != '}') {
            template_append(context, &c, 1);
            continue;
        }
        if (char_at(format, at + 1) == c) {
            template_append(context, &c, 1);
            at++;
            continue;
        }
        const char *end = c == '{' ? memchr(format->data + at, '}', format->bytes - at) : NULL;
        if (!end) {
            template_fail(context, "a single '%c' in a format", c);
        }
        size_t close = (size_t)(end - format->data);
        append_field(context, call, template_string_part(context, format, at + 1, close), &next);
        at = close;
    }
    return template_from_string(template_take(context, mark));
}

/* ---- % ------------------------------------------------------------------------------------ */

struct percent {
    struct template_value values;
    size_t next;
    bool by_name;
};

static struct template_value next_value(struct template_context *context, struct percent *percent)
{
    bool tuple = percent->values.kind == VALUE_TUPLE;
    size_t count = tuple ? percent->values.list->count : 1;
    if (percent->next >= count) {
        template_fail(context, "a format has more fields than values");
    }
    size_t i = percent->next++;
    return tuple ? percent->values.list->items[i] : percent->values;
}

/* "(name)" after the percent sign. */
static struct template_value named_value(struct template_context *context, struct percent *percent,
                                         const struct template_string *format, size_t *at)
{
    const char *end = memchr(format->data + *at, ')', format->bytes - *at);
    if (!end || percent->values.kind != VALUE_DICT) {
        template_fail(context, "a format with %%(name) needs a dict");
    }
    size_t close = (size_t)(end - format->data);
    const struct template_string *name = template_string_part(context, format, *at + 1, close);
    struct template_value *found =
        template_dict_find(context, percent->values.dict, template_from_string(name));
    if (!found) {
        template_fail(context, "format has no value for '%.*s'",
                      template_clip(name->data, name->bytes), name->data);
    }
    percent->by_name = true;
    *at = close + 1;
    return *found;
}

static struct spec read_percent_spec(struct template_context *context,
                                     const struct template_string *format, size_t *at)
{
    struct spec spec = {.fill = " ", .fill_bytes = 1, .sign = '-', .align = '>', .precision = -1};
    for (char c; (c = char_at(format, *at)) && strchr("-+ 0#", c); (*at)++) {
        if (c == '-') {
            spec.align = '<';
        } else if (c == '0' && spec.align != '<') {
            spec.align = '=';
        } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
            spec.sign = c;
        }
        spec.alternate = spec.alternate || c == '#';
    }
    spec.width = read_number(context, format, at);
    if (char_at(format, *at) == '.') {
        (*at)++;
        spec.precision = read_number(context, format, at);
    }
    spec.type = char_at(format, *at);
    *at += 1;
    return spec;
}

static void append_percent(struct template_context *context, struct spec spec,
                           struct template_value value)
{
    bool text = spec.type == 's' || spec.type == 'r';
    check_precision(context, &spec, text);
    if (text) {
        size_t mark = context->out_bytes;
        if (spec.type == 'r') {
            template_print_repr(context, value);
        } else {
            template_print(context, value);
        }
        spec.align = spec.align == '=' ? '>' : spec.align;
        format_string(context, &spec, template_take(context, mark), '>');
        return;
    }
    if (!spec.type || !strchr("diuxXoceEfFgG", spec.type)) {
        template_fail(context, "%%%c is no known format", spec.type ? spec.type : ' ');
    }
    if (spec.type == 'i' || spec.type == 'u') {
        spec.type = 'd';
    }
    if (spec.align == '=') {
        spec.fill[0] = '0';
    }
    if (spec.type == 'c' && value.kind == VALUE_STRING && value.string->points == 1) {
        format_string(context, &spec, value.string, '>');
        return;
    }
    if (spec.type == 'd' && value.kind == VALUE_FLOAT && fabs(value.number) < 0x1p62) {
        value = template_integer((int64_t)value.number);
    }
    format_number(context, &spec, value);
}

struct template_value template_format_percent(struct template_context *context,
                                              const struct template_string *format,
                                              struct template_value values)
{
    size_t mark = context->out_bytes;
    struct percent percent = {.values = values};
    template_charge(context, format->bytes);
    for (size_t at = 0; at < format->bytes;) {
        char c = format->data[at++];
        if (c != '%') {
            template_append(context, &c, 1);
            continue;
        }
        if (char_at(format, at) == '%') {
            template_append(context, "%", 1);
            at++;
            continue;
        }
        bool named = char_at(format, at) == '(';
        struct template_value value =
            named ? named_value(context, &percent, format, &at) : template_none();
        struct spec spec = read_percent_spec(context, format, &at);
        append_percent(context, spec, named ? value : next_value(context, &percent));
    }
    bool all_used = percent.by_name || values.kind == VALUE_DICT ||
                    percent.next == (values.kind == VALUE_TUPLE ? values.list->count : 1);
    if (!all_used) {
        template_fail(context, "a format has fewer fields than values");
    }
    return template_from_string(template_take(context, mark));
}
