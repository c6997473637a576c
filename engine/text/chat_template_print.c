/* Text forms of values: str() and repr() as Python writes them, and JSON as json.dumps writes it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

static void print_integer(struct template_context *context, int64_t integer)
{
    char digits[24];
    snprintf(digits, sizeof(digits), "%" PRId64, integer);
    template_append_text(context, digits);
}

/* Shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16 on. */
void template_print_float(struct template_context *context, double number)
{
    if (!isfinite(number)) {
        template_append_text(context, isnan(number) ? "nan" : number < 0 ? "-inf" : "inf");
        return;
    }
    char scientific[40];
    int precision = 0;
    do {
        snprintf(scientific, sizeof(scientific), "%.*e", precision, number);
    } while (strtod(scientific, NULL) != number && ++precision < 17);
    int exponent = atoi(strchr(scientific, 'e') + 1);
    if (exponent < -4 || exponent >= 16) {
        template_append_text(context, scientific);
        return;
    }
    char plain[48];
    int decimals = precision - exponent;
    snprintf(plain, sizeof(plain), "%.*f", decimals > 1 ? decimals : 1, number);
    template_append_text(context, plain);
}

/* ---- repr --------------------------------------------------------------------------------- */

static void print_escape(struct template_context *context, int32_t point, char quote)
{
    char text[16];
    if (point == '\n' || point == '\r' || point == '\t') {
        snprintf(text, sizeof(text), "\\%c", point == '\n' ? 'n' : point == '\r' ? 'r' : 't');
    } else if (point == '\\' || point == quote) {
        snprintf(text, sizeof(text), "\\%c", (char)point);
    } else if (template_point_is_printable(point)) {
        template_append_point(context, point);
        return;
    } else {
        const char *format = point < 0x100     ? "\\x%02" PRIx32
                             : point < 0x10000 ? "\\u%04" PRIx32
                                               : "\\U%08" PRIx32;
        snprintf(text, sizeof(text), format, (uint32_t)point);
    }
    template_append_text(context, text);
}

static void print_string_repr(struct template_context *context,
                              const struct template_string *string)
{
    bool has_single = string->bytes && memchr(string->data, '\'', string->bytes);
    bool has_double = string->bytes && memchr(string->data, '"', string->bytes);
    char quote = has_single && !has_double ? '"' : '\'';
    template_charge(context, string->bytes * 4);
    template_append(context, &quote, 1);
    for (size_t at = 0; at < string->bytes;) {
        int32_t point;
        at += template_point_read(string->data + at, string->bytes - at, &point);
        print_escape(context, point, quote);
    }
    template_append(context, &quote, 1);
}

static void print_items(struct template_context *context, const struct template_list *list,
                        const char *open, const char *close)
{
    template_append_text(context, open);
    for (size_t i = 0; i < list->count; i++) {
        template_append_text(context, i ? ", " : "");
        template_print_repr(context, list->items[i]);
    }
    template_append_text(context, close);
}

static void print_dict(struct template_context *context, const struct template_dict *dict)
{
    template_append_text(context, "{");
    for (size_t i = 0; i < dict->count; i++) {
        template_append_text(context, i ? ", " : "");
        template_print_repr(context, dict->entries[i].key);
        template_append_text(context, ": ");
        template_print_repr(context, dict->entries[i].value);
    }
    template_append_text(context, "}");
}

static void print_range(struct template_context *context, const struct template_list *range)
{
    char text[96];
    int n = snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64, range->start, range->stop);
    if (range->step != 1) {
        n += snprintf(text + n, sizeof(text) - (size_t)n, ", %" PRId64, range->step);
    }
    snprintf(text + n, sizeof(text) - (size_t)n, ")");
    template_append_text(context, text);
}

static void print_object(struct template_context *context, struct template_value value)
{
    char text[80];
    if (value.kind == VALUE_LOOP) {
        snprintf(text, sizeof(text), "<LoopContext %zu/%zu>", value.loop->index + 1,
                 value.loop->count);
        template_append_text(context, text);
    } else if (value.kind == VALUE_MACRO && value.macro->node->name) {
        template_append_text(context, "<Macro ");
        print_string_repr(context, value.macro->node->name);
        template_append_text(context, ">");
    } else {
        snprintf(text, sizeof(text), "<%s>", template_type(value));
        template_append_text(context, text);
    }
}

void template_print_repr(struct template_context *context, struct template_value value)
{
    template_enter(context);
    template_charge(context, 0);
    switch (value.kind) {
    case VALUE_UNDEFINED:
        template_append_text(context, "Undefined");
        break;
    case VALUE_NONE:
        template_append_text(context, "None");
        break;
    case VALUE_BOOL:
        template_append_text(context, value.boolean ? "True" : "False");
        break;
    case VALUE_INTEGER:
        print_integer(context, value.integer);
        break;
    case VALUE_FLOAT:
        template_print_float(context, value.number);
        break;
    case VALUE_STRING:
        print_string_repr(context, value.string);
        break;
    case VALUE_LIST:
        print_items(context, value.list, "[", "]");
        break;
    case VALUE_TUPLE:
        print_items(context, value.list, "(", value.list->count == 1 ? ",)" : ")");
        break;
    case VALUE_KEYS:
        print_items(context, value.list, "dict_keys([", "])");
        break;
    case VALUE_VALUES:
        print_items(context, value.list, "dict_values([", "])");
        break;
    case VALUE_ITEMS:
        print_items(context, value.list, "dict_items([", "])");
        break;
    case VALUE_RANGE:
        print_range(context, value.list);
        break;
    case VALUE_DICT:
        print_dict(context, value.dict);
        break;
    case VALUE_NAMESPACE:
        template_append_text(context, "<Namespace ");
        print_dict(context, value.dict);
        template_append_text(context, ">");
        break;
    default:
        print_object(context, value);
    }
    template_leave(context);
}

void template_print(struct template_context *context, struct template_value value)
{
    if (value.kind == VALUE_STRING) {
        template_append_string(context, value.string);
    } else if (value.kind != VALUE_UNDEFINED) {
        template_print_repr(context, value);
    }
}

const struct template_string *template_text(struct template_context *context,
                                            struct template_value value)
{
    if (value.kind == VALUE_STRING) {
        return value.string;
    }
    size_t mark = context->out_bytes;
    template_print(context, value);
    return template_take(context, mark);
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void print_json_point(struct template_context *context, int32_t point, bool ascii)
{
    static const char plain[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    const char *found = point > 0 && point < 0x80 ? strchr(plain, point) : NULL;
    char text[16];
    if (found) {
        snprintf(text, sizeof(text), "\\%c", letters[found - plain]);
    } else if (point >= 0x10000 && ascii) {
        uint32_t offset = (uint32_t)point - 0x10000;
        snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xD800 + (offset >> 10),
                 0xDC00 + (offset & 0x3FF));
    } else if (point < 0x20 || (ascii && point >= 0x7F)) {
        snprintf(text, sizeof(text), "\\u%04x", (unsigned)point);
    } else {
        template_append_point(context, point);
        return;
    }
    template_append_text(context, text);
}

static void print_json_string(struct template_context *context,
                              const struct template_string *string, bool ascii)
{
    template_charge(context, string->bytes * 4);
    template_append_text(context, "\"");
    for (size_t at = 0; at < string->bytes;) {
        int32_t point;
        at += template_point_read(string->data + at, string->bytes - at, &point);
        print_json_point(context, point, ascii);
    }
    template_append_text(context, "\"");
}

static void json_break(struct template_context *context, const struct template_json_style *style,
                       uint32_t level)
{
    if (style->indent) {
        template_append_text(context, "\n");
        for (uint32_t i = 0; i < level; i++) {
            template_append_string(context, style->indent);
        }
    }
}

static void print_json(struct template_context *context, struct template_value value,
                       const struct template_json_style *style, uint32_t level);

static void print_json_list(struct template_context *context, const struct template_list *list,
                            const struct template_json_style *style, uint32_t level)
{
    template_append_text(context, "[");
    for (size_t i = 0; i < list->count; i++) {
        if (i) {
            template_append_string(context, style->item_separator);
        }
        json_break(context, style, level + 1);
        print_json(context, list->items[i], style, level + 1);
    }
    if (list->count) {
        json_break(context, style, level);
    }
    template_append_text(context, "]");
}

static void print_json_key(struct template_context *context, struct template_value key,
                           const struct template_json_style *style)
{
    if (key.kind == VALUE_STRING) {
        print_json_string(context, key.string, style->ascii);
    } else if (key.kind >= VALUE_NONE && key.kind <= VALUE_FLOAT) {
        template_append_text(context, "\"");
        print_json(context, key, style, 0);
        template_append_text(context, "\"");
    } else {
        template_fail(context, "a %s cannot be a key in JSON", template_type(key));
    }
}

/* Entries by key, sorted by insertion into place; keys of several kinds have no order. */
static const struct template_entry *sorted_entries(struct template_context *context,
                                                   const struct template_dict *dict)
{
    struct template_entry *sorted = template_allocate(context, (dict->count + 1) * sizeof(*sorted));
    for (size_t i = 0; i < dict->count; i++) {
        size_t at = i;
        while (at > 0 && template_compare(context, dict->entries[i].key, sorted[at - 1].key) < 0) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = dict->entries[i];
    }
    return sorted;
}

static void print_json_dict(struct template_context *context, const struct template_dict *dict,
                            const struct template_json_style *style, uint32_t level)
{
    const struct template_entry *entries =
        style->sort_keys ? sorted_entries(context, dict) : dict->entries;
    template_append_text(context, "{");
    for (size_t i = 0; i < dict->count; i++) {
        if (i) {
            template_append_string(context, style->item_separator);
        }
        json_break(context, style, level + 1);
        print_json_key(context, entries[i].key, style);
        template_append_string(context, style->key_separator);
        print_json(context, entries[i].value, style, level + 1);
    }
    if (dict->count) {
        json_break(context, style, level);
    }
    template_append_text(context, "}");
}

static void print_json_number(struct template_context *context, double number)
{
    if (isfinite(number)) {
        template_print_float(context, number);
    } else {
        template_append_text(context, isnan(number) ? "NaN"
                                      : number < 0  ? "-Infinity"
                                                    : "Infinity");
    }
}

static void print_json(struct template_context *context, struct template_value value,
                       const struct template_json_style *style, uint32_t level)
{
    template_enter(context);
    template_charge(context, 0);
    if (value.kind == VALUE_NONE) {
        template_append_text(context, "null");
    } else if (value.kind == VALUE_BOOL) {
        template_append_text(context, value.boolean ? "true" : "false");
    } else if (value.kind == VALUE_INTEGER) {
        print_integer(context, value.integer);
    } else if (value.kind == VALUE_FLOAT) {
        print_json_number(context, value.number);
    } else if (value.kind == VALUE_STRING) {
        print_json_string(context, value.string, style->ascii);
    } else if (value.kind == VALUE_LIST || value.kind == VALUE_TUPLE) {
        print_json_list(context, value.list, style, level);
    } else if (value.kind == VALUE_DICT) {
        print_json_dict(context, value.dict, style, level);
    } else {
        template_require(context, value);
        template_fail(context, "a %s cannot be written as JSON", template_type(value));
    }
    template_leave(context);
}

void template_print_json(struct template_context *context, struct template_value value,
                         const struct template_json_style *style)
{
    print_json(context, value, style, 0);
}
