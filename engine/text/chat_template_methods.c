/* Methods of strings, as Python's str. A table at the end names them all. */
#include <string.h>

#include "engine/text/chat_template_internal.h"

#define METHOD(name) \
    static struct template_value string_##name(struct template_context *context, \
                                               const struct template_call *call)

static const struct template_string *text_argument(struct template_context *context,
                                                   const struct template_call *call, size_t i)
{
    return template_to_string(context, call->bound[i], call->name);
}

static struct template_value from(const struct template_string *string)
{
    return template_from_string(string);
}

static struct template_value part(struct template_context *context,
                                  const struct template_string *string, size_t start, size_t end)
{
    return from(template_string_part(context, string, start, end));
}

/* ---- strip and case ----------------------------------------------------------------------- */

static struct template_value strip(struct template_context *context,
                                   const struct template_call *call, bool left, bool right)
{
    const struct template_string *chars =
        template_is_absent(call->bound[0]) ? NULL : text_argument(context, call, 0);
    return from(template_string_strip(context, call->subject.string, chars, left, right));
}

METHOD(strip)
{
    return strip(context, call, true, true);
}

METHOD(lstrip)
{
    return strip(context, call, true, false);
}

METHOD(rstrip)
{
    return strip(context, call, false, true);
}

METHOD(upper)
{
    return from(template_string_case(context, call->subject.string, CASE_UPPER));
}

METHOD(lower)
{
    return from(template_string_case(context, call->subject.string, CASE_LOWER));
}

METHOD(title)
{
    return from(template_string_case(context, call->subject.string, CASE_TITLE));
}

METHOD(capitalize)
{
    return from(template_string_case(context, call->subject.string, CASE_CAPITALIZE));
}

METHOD(swapcase)
{
    return from(template_string_case(context, call->subject.string, CASE_SWAP));
}

/* ---- split and join ----------------------------------------------------------------------- */

static int64_t split_limit(struct template_context *context, struct template_value value)
{
    int64_t limit =
        template_is_absent(value) ? -1 : template_to_integer(context, value, "maxsplit");
    return limit < 0 ? INT64_MAX : limit;
}

static struct template_list *split_by(struct template_context *context,
                                      const struct template_string *text,
                                      const struct template_string *separator, int64_t limit)
{
    struct template_list *parts = template_list_new(context, 4);
    size_t at = 0;
    for (; limit > 0; limit--) {
        size_t found = template_string_find(context, text, separator, at);
        if (found == SIZE_MAX) {
            break;
        }
        template_list_add(context, parts, part(context, text, at, found));
        at = found + separator->bytes;
    }
    template_list_add(context, parts, part(context, text, at, text->bytes));
    return parts;
}

static struct template_list *split_words(struct template_context *context,
                                         const struct template_string *text, int64_t limit)
{
    struct template_list *words = template_list_new(context, 4);
    template_charge(context, text->bytes * 4);
    size_t at = template_space_after(text->data, 0, text->bytes);
    for (; at < text->bytes; limit--) {
        size_t end = at;
        int32_t point = 0;
        while (end < text->bytes && limit > 0) {
            size_t n = template_point_read(text->data + end, text->bytes - end, &point);
            if (template_point_is_space(point)) {
                break;
            }
            end += n;
        }
        if (limit == 0) {
            template_list_add(context, words, part(context, text, at, text->bytes));
            break;
        }
        template_list_add(context, words, part(context, text, at, end));
        at = template_space_after(text->data, end, text->bytes);
    }
    return words;
}

static const struct template_string *separator_argument(struct template_context *context,
                                                        const struct template_call *call)
{
    const struct template_string *separator = text_argument(context, call, 0);
    if (separator->bytes == 0) {
        template_fail(context, "%s needs a separator that is not empty", call->name);
    }
    return separator;
}

METHOD(split)
{
    int64_t limit = split_limit(context, call->bound[1]);
    struct template_list *parts =
        template_is_absent(call->bound[0])
            ? split_words(context, call->subject.string, limit)
            : split_by(context, call->subject.string, separator_argument(context, call), limit);
    return template_from_list(VALUE_LIST, parts);
}

/* All pieces, of which those in front of the last `limit` are joined again as they stood. */
METHOD(rsplit)
{
    const struct template_string *text = call->subject.string;
    int64_t limit = split_limit(context, call->bound[1]);
    struct template_list *parts = string_split(context,
                                               &(struct template_call){
                                                   .name = call->name,
                                                   .subject = call->subject,
                                                   .bound = {call->bound[0]},
                                               })
                                      .list;
    if ((int64_t)parts->count <= 1 || (int64_t)parts->count - 1 <= limit) {
        return template_from_list(VALUE_LIST, parts);
    }
    size_t joined = parts->count - (size_t)limit;
    const struct template_string *first = parts->items[0].string;
    const struct template_string *last = parts->items[joined - 1].string;
    size_t start = template_is_absent(call->bound[0]) ? 0 : (size_t)(first->data - text->data);
    size_t end = (size_t)(last->data - text->data) + last->bytes;
    struct template_list *result = template_list_new(context, (size_t)limit + 1);
    template_list_add(context, result, part(context, text, start, end));
    for (size_t i = joined; i < parts->count; i++) {
        template_list_add(context, result, parts->items[i]);
    }
    return template_from_list(VALUE_LIST, result);
}

METHOD(splitlines)
{
    bool keep = template_is_given(call->bound[0]) && template_truth(call->bound[0]);
    return template_from_list(VALUE_LIST,
                              template_string_lines(context, call->subject.string, keep));
}

METHOD(join)
{
    const struct template_list *items = template_iterate(context, call->bound[0]);
    size_t mark = context->out_bytes;
    for (size_t i = 0; i < items->count; i++) {
        template_charge(context, 0);
        if (i) {
            template_append_string(context, call->subject.string);
        }
        template_append_string(context, template_to_string(context, items->items[i], "join"));
    }
    return from(template_take(context, mark));
}

/* ---- search ------------------------------------------------------------------------------- */

/* The part of the text from bound[1] to bound[2], and where it starts. False if it starts behind
 * the end, where not even an empty text is found. */
static bool window(struct template_context *context, const struct template_call *call,
                   const struct template_string **text, int64_t *start)
{
    int64_t length = (int64_t)call->subject.string->points;
    *start = template_is_absent(call->bound[1])
                 ? 0
                 : template_to_integer(context, call->bound[1], call->name);
    *start = *start < -length ? 0 : *start < 0 ? *start + length : *start;
    struct template_value stop = call->bound[2], none = template_none();
    *text = template_slice(context, call->subject, call->bound[1], stop, none).string;
    int64_t end =
        template_is_absent(stop) ? length : template_to_integer(context, stop, call->name);
    end = end < -length ? 0 : end < 0 ? end + length : end > length ? length : end;
    return *start <= end;
}

static size_t find_last(struct template_context *context, const struct template_string *text,
                        const struct template_string *needle)
{
    if (needle->bytes > text->bytes) {
        return SIZE_MAX;
    }
    for (size_t at = text->bytes - needle->bytes + 1; at-- > 0;) {
        template_charge(context, needle->bytes);
        if (needle->bytes == 0 || memcmp(text->data + at, needle->data, needle->bytes) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

static int64_t find(struct template_context *context, const struct template_call *call, bool last)
{
    const struct template_string *needle = text_argument(context, call, 0), *text;
    int64_t start;
    if (!window(context, call, &text, &start)) {
        return -1;
    }
    size_t found =
        last ? find_last(context, text, needle) : template_string_find(context, text, needle, 0);
    return found == SIZE_MAX
               ? -1
               : start + (int64_t)template_string_part(context, text, 0, found)->points;
}

static struct template_value index_of(struct template_context *context,
                                      const struct template_call *call, bool last)
{
    int64_t index = find(context, call, last);
    if (index < 0) {
        template_fail(context, "%s does not find the text", call->name);
    }
    return template_integer(index);
}

METHOD(find)
{
    return template_integer(find(context, call, false));
}

METHOD(rfind)
{
    return template_integer(find(context, call, true));
}

METHOD(index)
{
    return index_of(context, call, false);
}

METHOD(rindex)
{
    return index_of(context, call, true);
}

METHOD(count)
{
    const struct template_string *needle = text_argument(context, call, 0), *text;
    int64_t start, count = 0;
    if (!window(context, call, &text, &start)) {
        return template_integer(0);
    }
    if (needle->bytes == 0) {
        return template_integer((int64_t)text->points + 1);
    }
    for (size_t at = 0; (at = template_string_find(context, text, needle, at)) != SIZE_MAX;) {
        at += needle->bytes;
        count++;
    }
    return template_integer(count);
}

static bool has_end(const struct template_string *text, const struct template_string *end,
                    bool at_start)
{
    size_t at = at_start || end->bytes > text->bytes ? 0 : text->bytes - end->bytes;
    return end->bytes <= text->bytes &&
           (end->bytes == 0 || memcmp(text->data + at, end->data, end->bytes) == 0);
}

static struct template_value starts_or_ends(struct template_context *context,
                                            const struct template_call *call, bool at_start)
{
    const struct template_string *text;
    int64_t start;
    if (!window(context, call, &text, &start)) {
        return template_bool(false);
    }
    if (call->bound[0].kind != VALUE_TUPLE) {
        return template_bool(has_end(text, text_argument(context, call, 0), at_start));
    }
    const struct template_list *ends = call->bound[0].list;
    for (size_t i = 0; i < ends->count; i++) {
        template_charge(context, 0);
        if (has_end(text, template_to_string(context, ends->items[i], call->name), at_start)) {
            return template_bool(true);
        }
    }
    return template_bool(false);
}

METHOD(startswith)
{
    return starts_or_ends(context, call, true);
}

METHOD(endswith)
{
    return starts_or_ends(context, call, false);
}

METHOD(removeprefix)
{
    const struct template_string *text = call->subject.string;
    const struct template_string *end = text_argument(context, call, 0);
    return part(context, text, has_end(text, end, true) ? end->bytes : 0, text->bytes);
}

METHOD(removesuffix)
{
    const struct template_string *text = call->subject.string;
    const struct template_string *end = text_argument(context, call, 0);
    return part(context, text, 0, text->bytes - (has_end(text, end, false) ? end->bytes : 0));
}

static struct template_value partition(struct template_context *context,
                                       const struct template_call *call, bool last)
{
    const struct template_string *text = call->subject.string;
    const struct template_string *separator = separator_argument(context, call);
    size_t at = last ? find_last(context, text, separator)
                     : template_string_find(context, text, separator, 0);
    struct template_list *three = template_list_new(context, 3);
    struct template_value empty = from(template_string_literal(context, ""));
    if (at == SIZE_MAX) {
        template_list_add(context, three, last ? empty : call->subject);
        template_list_add(context, three, empty);
        template_list_add(context, three, last ? call->subject : empty);
    } else {
        template_list_add(context, three, part(context, text, 0, at));
        template_list_add(context, three, from(separator));
        template_list_add(context, three, part(context, text, at + separator->bytes, text->bytes));
    }
    return template_from_list(VALUE_TUPLE, three);
}

METHOD(partition)
{
    return partition(context, call, false);
}

METHOD(rpartition)
{
    return partition(context, call, true);
}

METHOD(replace)
{
    int64_t count = template_is_absent(call->bound[2])
                        ? -1
                        : template_to_integer(context, call->bound[2], call->name);
    return from(template_string_replace(context, call->subject.string,
                                        text_argument(context, call, 0),
                                        text_argument(context, call, 1), count));
}

/* ---- width -------------------------------------------------------------------------------- */

/* share: how much of what is missing goes to the left, 0 none, 1 half, 2 all. */
static struct template_value justify(struct template_context *context,
                                     const struct template_call *call, int share)
{
    const struct template_string *text = call->subject.string;
    const struct template_string *fill = template_is_absent(call->bound[1])
                                             ? template_string_literal(context, " ")
                                             : text_argument(context, call, 1);
    int64_t width = template_to_integer(context, call->bound[0], call->name);
    int64_t missing = width - (int64_t)text->points;
    if (fill->points != 1) {
        template_fail(context, "%s needs one character to fill with", call->name);
    }
    if (missing <= 0) {
        return call->subject;
    }
    int64_t left = share == 2 ? missing : share == 1 ? missing / 2 + (missing & width & 1) : 0;
    size_t mark = context->out_bytes;
    for (int64_t i = 0; i <= missing; i++) {
        if (i == left) {
            template_append_string(context, text);
        }
        if (i < missing) {
            template_append_string(context, fill);
        }
    }
    return from(template_take(context, mark));
}

METHOD(ljust)
{
    return justify(context, call, 0);
}

METHOD(center)
{
    return justify(context, call, 1);
}

METHOD(rjust)
{
    return justify(context, call, 2);
}

METHOD(zfill)
{
    const struct template_string *text = call->subject.string;
    int64_t width = template_to_integer(context, call->bound[0], call->name);
    size_t sign = text->bytes && (text->data[0] == '-' || text->data[0] == '+'), mark;
    mark = context->out_bytes;
    template_append(context, text->data, sign);
    template_append_repeated(context, '0', width - (int64_t)text->points);
    template_append(context, text->data + sign, text->bytes - sign);
    return from(template_take(context, mark));
}

METHOD(format)
{
    return template_format_braces(context, call->subject.string, call);
}

/* ---- kinds of characters ------------------------------------------------------------------ */

static bool is_alphanumeric(int32_t point)
{
    return template_point_is_alpha(point) || template_point_is_digit(point);
}

static struct template_value all_points(struct template_context *context,
                                        const struct template_call *call, bool (*is)(int32_t point))
{
    const struct template_string *text = call->subject.string;
    template_charge(context, text->bytes);
    for (size_t at = 0; at < text->bytes;) {
        int32_t point;
        at += template_point_read(text->data + at, text->bytes - at, &point);
        if (!is(point)) {
            return template_bool(false);
        }
    }
    return template_bool(text->bytes > 0);
}

METHOD(isalpha)
{
    return all_points(context, call, template_point_is_alpha);
}

METHOD(isdigit)
{
    return all_points(context, call, template_point_is_digit);
}

METHOD(isalnum)
{
    return all_points(context, call, is_alphanumeric);
}

METHOD(isspace)
{
    return all_points(context, call, template_point_is_space);
}

METHOD(isascii)
{
    return template_bool(call->subject.string->points == call->subject.string->bytes);
}

static struct template_value has_case(struct template_context *context,
                                      const struct template_call *call, const char *test)
{
    struct template_call apply = {
        .args = (struct template_value[]){from(template_string_literal(context, test))},
        .n_args = 1};
    return template_bool(template_test_apply(context, &apply, 0, call->subject));
}

METHOD(islower)
{
    return has_case(context, call, "lower");
}

METHOD(isupper)
{
    return has_case(context, call, "upper");
}

const struct template_function template_string_methods[] = {
    {"capitalize", "", string_capitalize},
    {"casefold", "", string_lower},
    {"center", "width fillchar?", string_center},
    {"count", "sub start? end?", string_count},
    {"endswith", "suffix start? end?", string_endswith},
    {"find", "sub start? end?", string_find},
    {"format", NULL, string_format},
    {"index", "sub start? end?", string_index},
    {"isalnum", "", string_isalnum},
    {"isalpha", "", string_isalpha},
    {"isascii", "", string_isascii},
    {"isdecimal", "", string_isdigit},
    {"isdigit", "", string_isdigit},
    {"islower", "", string_islower},
    {"isnumeric", "", string_isdigit},
    {"isspace", "", string_isspace},
    {"isupper", "", string_isupper},
    {"join", "iterable", string_join},
    {"ljust", "width fillchar?", string_ljust},
    {"lower", "", string_lower},
    {"lstrip", "chars?", string_lstrip},
    {"partition", "sep", string_partition},
    {"removeprefix", "prefix", string_removeprefix},
    {"removesuffix", "suffix", string_removesuffix},
    {"replace", "old new count?", string_replace},
    {"rfind", "sub start? end?", string_rfind},
    {"rindex", "sub start? end?", string_rindex},
    {"rjust", "width fillchar?", string_rjust},
    {"rpartition", "sep", string_rpartition},
    {"rsplit", "sep? maxsplit?", string_rsplit},
    {"rstrip", "chars?", string_rstrip},
    {"split", "sep? maxsplit?", string_split},
    {"splitlines", "keepends?", string_splitlines},
    {"startswith", "prefix start? end?", string_startswith},
    {"strip", "chars?", string_strip},
    {"swapcase", "", string_swapcase},
    {"title", "", string_title},
    {"upper", "", string_upper},
    {"zfill", "width", string_zfill},
    {0},
};
