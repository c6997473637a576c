/* Filters on sequences and mappings, as jinja2.filters. Those that Jinja makes generators return a
 * VALUE_GENERATOR here too: it is true even if empty, and has no length.
 */
#include <string.h>

#include "engine/text/chat_template_internal.h"

/* ---- attributes and keys ------------------------------------------------------------------ */

/* item.attribute for filters: a name, a number, or names joined by dots. */
static struct template_value attribute_path(struct template_context *context,
                                            struct template_value item, struct template_value path)
{
    if (path.kind != VALUE_STRING) {
        return template_is_absent(path) ? item : template_item(context, item, path, NULL);
    }
    const struct template_string *text = path.string;
    for (size_t at = 0; at <= text->bytes;) {
        size_t end = at;
        while (end < text->bytes && text->data[end] != '.') {
            end++;
        }
        int64_t number = 0;
        bool digits = end > at && end - at < 10;
        for (size_t i = at; i < end && digits; i++) {
            digits = text->data[i] >= '0' && text->data[i] <= '9';
            number = number * 10 + text->data[i] - '0';
        }
        struct template_value part =
            digits ? template_integer(number)
                   : template_from_string(template_string_part(context, text, at, end));
        item = template_item(context, item, part, NULL);
        at = end + 1;
    }
    return item;
}

/* The item's attribute as sort, unique, min and groupby see it: text in lower case unless told. */
static struct template_value sort_key(struct template_context *context, struct template_value item,
                                      struct template_value path, bool case_sensitive)
{
    struct template_value key = attribute_path(context, item, path);
    if (key.kind == VALUE_STRING && !case_sensitive) {
        key = template_from_string(template_string_case(context, key.string, CASE_LOWER));
    }
    return key;
}

/* Keys by each of several attributes separated by commas. */
static struct template_value sort_keys(struct template_context *context, struct template_value item,
                                       struct template_value paths, bool case_sensitive)
{
    if (paths.kind != VALUE_STRING || !memchr(paths.string->data, ',', paths.string->bytes)) {
        return sort_key(context, item, paths, case_sensitive);
    }
    struct template_list *keys = template_list_new(context, 2);
    for (size_t at = 0; at <= paths.string->bytes;) {
        size_t end = at;
        while (end < paths.string->bytes && paths.string->data[end] != ',') {
            end++;
        }
        struct template_value path =
            template_from_string(template_string_part(context, paths.string, at, end));
        template_list_add(context, keys, sort_key(context, item, path, case_sensitive));
        at = end + 1;
    }
    return template_from_list(VALUE_LIST, keys);
}

struct keyed {
    struct template_value key, item;
};

static bool comes_before(struct template_context *context, const struct keyed *a,
                         const struct keyed *b, bool reverse)
{
    if (template_equal(context, a->key, b->key)) {
        return false;
    }
    int order = template_compare(context, a->key, b->key);
    return reverse ? order == 1 : order == -1;
}

/* Merge sort, bottom up; stable, also in reverse. */
static struct keyed *sort_keyed(struct template_context *context, struct keyed *from, size_t n,
                                bool reverse)
{
    struct keyed *to = template_allocate(context, (n + 1) * sizeof(*to));
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            size_t middle = start + width < n ? start + width : n;
            size_t end = middle + width < n ? middle + width : n;
            size_t a = start, b = middle;
            for (size_t i = start; i < end; i++) {
                bool right =
                    a == middle || (b < end && comes_before(context, &from[b], &from[a], reverse));
                to[i] = from[right ? b++ : a++];
            }
        }
        struct keyed *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static struct template_list *sort_items(struct template_context *context,
                                        const struct template_list *items,
                                        struct template_value path, bool case_sensitive,
                                        bool reverse)
{
    struct keyed *keyed = template_allocate(context, (items->count + 1) * sizeof(*keyed));
    for (size_t i = 0; i < items->count; i++) {
        keyed[i] = (struct keyed){sort_keys(context, items->items[i], path, case_sensitive),
                                  items->items[i]};
    }
    keyed = sort_keyed(context, keyed, items->count, reverse);
    struct template_list *sorted = template_list_new(context, items->count);
    for (size_t i = 0; i < items->count; i++) {
        template_list_add(context, sorted, keyed[i].item);
    }
    return sorted;
}

FILTER(sort)
{
    const struct template_list *items = template_iterate(context, call->subject);
    struct template_list *sorted =
        sort_items(context, items, call->bound[2], template_flag(call->bound[1]),
                   template_flag(call->bound[0]));
    return template_from_list(VALUE_LIST, sorted);
}

static struct template_list *pairs_of(struct template_context *context, struct template_value value)
{
    template_require(context, value);
    if (value.kind != VALUE_DICT) {
        template_fail(context, "only a dict has pairs of keys and values, not a %s",
                      template_type(value));
    }
    struct template_list *pairs = template_list_new(context, value.dict->count);
    for (size_t i = 0; i < value.dict->count; i++) {
        const struct template_entry *entry = &value.dict->entries[i];
        template_list_add(context, pairs, template_pair(context, entry->key, entry->value));
    }
    return pairs;
}

FILTER(dictsort)
{
    struct template_value by = call->bound[1];
    bool by_value = by.kind == VALUE_STRING && template_string_is(by.string, "value");
    if (template_is_given(by) && !by_value &&
        !(by.kind == VALUE_STRING && template_string_is(by.string, "key"))) {
        template_fail(context, "dictsort sorts by 'key' or by 'value'");
    }
    struct template_list *sorted =
        sort_items(context, pairs_of(context, call->subject), template_integer(by_value),
                   template_flag(call->bound[0]), template_flag(call->bound[2]));
    return template_from_list(VALUE_LIST, sorted);
}

FILTER(unique)
{
    const struct template_list *items = template_iterate(context, call->subject);
    struct template_dict *seen = template_dict_new(context);
    struct template_list *kept = template_list_new(context, 0);
    for (size_t i = 0; i < items->count; i++) {
        struct template_value key =
            sort_key(context, items->items[i], call->bound[1], template_flag(call->bound[0]));
        if (!template_dict_find(context, seen, key)) {
            template_dict_set(context, seen, key, template_none());
            template_list_add(context, kept, items->items[i]);
        }
    }
    return template_from_list(VALUE_GENERATOR, kept);
}

static struct template_value extreme(struct template_context *context,
                                     const struct template_call *call, bool largest)
{
    const struct template_list *items = template_iterate(context, call->subject);
    struct keyed best = {.item = template_undefined(NULL)};
    for (size_t i = 0; i < items->count; i++) {
        struct keyed next = {
            sort_key(context, items->items[i], call->bound[1], template_flag(call->bound[0])),
            items->items[i]};
        if (i == 0 || template_compare(context, next.key, best.key) == (largest ? 1 : -1)) {
            best = next;
        }
    }
    return best.item;
}

FILTER(min)
{
    return extreme(context, call, false);
}

FILTER(max)
{
    return extreme(context, call, true);
}

FILTER(groupby)
{
    struct template_value path = call->bound[0], fallback = call->bound[1];
    bool case_sensitive = template_flag(call->bound[2]);
    const struct template_list *items = template_iterate(context, call->subject);
    struct keyed *keyed = template_allocate(context, (items->count + 1) * sizeof(*keyed));
    for (size_t i = 0; i < items->count; i++) {
        struct template_value item = items->items[i];
        struct template_value key = sort_key(context, item, path, case_sensitive);
        bool use_fallback = key.kind == VALUE_UNDEFINED && !template_is_absent(fallback);
        keyed[i] = (struct keyed){use_fallback ? fallback : key, item};
    }
    keyed = sort_keyed(context, keyed, items->count, false);
    struct template_list *groups = template_list_new(context, 0), *members = NULL;
    for (size_t i = 0; i < items->count; i++) {
        if (i == 0 || !template_equal(context, keyed[i].key, keyed[i - 1].key)) {
            struct template_value name = attribute_path(context, keyed[i].item, path);
            members = template_list_new(context, 1);
            struct template_value group =
                template_pair(context, name.kind == VALUE_UNDEFINED ? keyed[i].key : name,
                              template_from_list(VALUE_LIST, members));
            group.list->group = true;
            template_list_add(context, groups, group);
        }
        template_list_add(context, members, keyed[i].item);
    }
    return template_from_list(VALUE_LIST, groups);
}

/* ---- map, select, reject ------------------------------------------------------------------ */

static struct template_value keyword(struct template_context *context,
                                     const struct template_call *call, const char *name)
{
    struct template_value missing = {.kind = VALUE_MISSING};
    if (!call->keywords) {
        return missing;
    }
    struct template_value *found = template_dict_find(
        context, call->keywords, template_from_string(template_string_literal(context, name)));
    return found ? *found : missing;
}

FILTER(map)
{
    const struct template_list *items = template_iterate(context, call->subject);
    struct template_list *mapped = template_list_new(context, items->count);
    struct template_value path = keyword(context, call, "attribute");
    struct template_value fallback = keyword(context, call, "default");
    bool by_attribute = call->n_args == 0 && template_is_given(path);
    if (!by_attribute && call->n_args == 0) {
        template_fail(context, "'map' needs the name of a filter or an attribute");
    }
    for (size_t i = 0; i < items->count; i++) {
        struct template_value value;
        if (by_attribute) {
            value = attribute_path(context, items->items[i], path);
            bool use_fallback = value.kind == VALUE_UNDEFINED && template_is_given(fallback);
            value = use_fallback ? fallback : value;
        } else {
            value = template_filter_apply(context, call, 0, items->items[i]);
        }
        template_list_add(context, mapped, value);
    }
    return template_from_list(VALUE_GENERATOR, mapped);
}

static struct template_value select_items(struct template_context *context,
                                          const struct template_call *call, bool by_attribute,
                                          bool wanted)
{
    if (by_attribute && call->n_args == 0) {
        template_fail(context, "'%s' needs the name of an attribute", call->name);
    }
    const struct template_list *items = template_iterate(context, call->subject);
    struct template_list *kept = template_list_new(context, 0);
    size_t test = by_attribute ? 1 : 0;
    for (size_t i = 0; i < items->count; i++) {
        struct template_value value = items->items[i];
        if (by_attribute) {
            value = attribute_path(context, value, call->args[0]);
        }
        bool holds = call->n_args > test ? template_test_apply(context, call, test, value)
                                         : template_truth(value);
        if (holds == wanted) {
            template_list_add(context, kept, items->items[i]);
        }
    }
    return template_from_list(VALUE_GENERATOR, kept);
}

FILTER(select)
{
    return select_items(context, call, false, true);
}

FILTER(reject)
{
    return select_items(context, call, false, false);
}

FILTER(selectattr)
{
    return select_items(context, call, true, true);
}

FILTER(rejectattr)
{
    return select_items(context, call, true, false);
}

/* ---- the rest ----------------------------------------------------------------------------- */

FILTER(default)
{
    struct template_value value = call->subject;
    bool replace =
        value.kind == VALUE_UNDEFINED || (template_flag(call->bound[1]) && !template_truth(value));
    if (!replace) {
        return value;
    }
    return template_is_given(call->bound[0])
               ? call->bound[0]
               : template_from_string(template_string_literal(context, ""));
}

FILTER(length)
{
    int64_t length = template_length(call->subject);
    if (length < 0) {
        template_fail(context, "a %s has no length", template_type(call->subject));
    }
    return template_integer(length);
}

FILTER(join)
{
    const struct template_list *items = template_iterate(context, call->subject);
    struct template_value separator = call->bound[0];
    size_t mark = context->out_bytes;
    for (size_t i = 0; i < items->count; i++) {
        if (i && template_is_given(separator)) {
            template_print(context, separator);
        }
        template_charge(context, 0);
        template_print(context, attribute_path(context, items->items[i], call->bound[1]));
    }
    return template_from_string(template_take(context, mark));
}

FILTER(list)
{
    const struct template_list *items = template_iterate(context, call->subject);
    struct template_list *copy = template_list_new(context, items->count);
    for (size_t i = 0; i < items->count; i++) {
        template_list_add(context, copy, items->items[i]);
    }
    template_charge(context, items->count * sizeof(struct template_value));
    return template_from_list(VALUE_LIST, copy);
}

FILTER(first)
{
    const struct template_list *items = template_iterate(context, call->subject);
    return items->count ? items->items[0] : template_undefined(NULL);
}

FILTER(last)
{
    const struct template_list *items = template_iterate(context, call->subject);
    return items->count ? items->items[items->count - 1] : template_undefined(NULL);
}

FILTER(items)
{
    struct template_value value = call->subject;
    struct template_list *pairs =
        value.kind == VALUE_UNDEFINED ? template_list_new(context, 0) : pairs_of(context, value);
    return template_from_list(VALUE_GENERATOR, pairs);
}

FILTER(reverse)
{
    struct template_value step = template_integer(-1), none = template_none();
    if (call->subject.kind == VALUE_STRING) {
        return template_slice(context, call->subject, none, none, step);
    }
    struct template_value all =
        template_from_list(VALUE_LIST, template_iterate(context, call->subject));
    return template_from_list(VALUE_GENERATOR, template_slice(context, all, none, none, step).list);
}

FILTER(sum)
{
    struct template_value start = call->bound[1];
    struct template_value sum = template_is_given(start) ? start : template_integer(0);
    const struct template_list *items = template_iterate(context, call->subject);
    for (size_t i = 0; i < items->count; i++) {
        template_charge(context, 0);
        sum = template_binary(context, OPERATOR_ADD, sum,
                              attribute_path(context, items->items[i], call->bound[0]));
    }
    return sum;
}

static struct template_list *part_of(struct template_context *context,
                                     const struct template_list *items, size_t from, size_t count)
{
    struct template_list *part = template_list_new(context, count);
    for (size_t i = from; i < from + count; i++) {
        template_list_add(context, part, items->items[i]);
    }
    return part;
}

FILTER(batch)
{
    const struct template_list *items = template_iterate(context, call->subject);
    int64_t size = template_to_integer(context, call->bound[0], "batch");
    if (size < 1 || size > TEMPLATE_MAX_RANGE) {
        template_fail(context, "batch needs a size from 1 to %d", TEMPLATE_MAX_RANGE);
    }
    struct template_list *batches = template_list_new(context, 0);
    for (size_t i = 0; i < items->count; i += (size_t)size) {
        size_t left = items->count - i, count = left < (size_t)size ? left : (size_t)size;
        struct template_list *batch = part_of(context, items, i, count);
        while (!template_is_absent(call->bound[1]) && batch->count < (size_t)size) {
            template_list_add(context, batch, call->bound[1]);
        }
        template_list_add(context, batches, template_from_list(VALUE_LIST, batch));
    }
    return template_from_list(VALUE_GENERATOR, batches);
}

FILTER(slice)
{
    const struct template_list *items = template_iterate(context, call->subject);
    int64_t slices = template_to_integer(context, call->bound[0], "slice");
    if (slices < 1 || slices > TEMPLATE_MAX_RANGE) {
        template_fail(context, "slice needs a number from 1 to %d", TEMPLATE_MAX_RANGE);
    }
    size_t each = items->count / (size_t)slices, extra = items->count % (size_t)slices, at = 0;
    struct template_list *result = template_list_new(context, (size_t)slices);
    for (size_t i = 0; i < (size_t)slices; i++) {
        struct template_list *part = part_of(context, items, at, each + (i < extra));
        at += part->count;
        if (!template_is_absent(call->bound[1]) && i >= extra) {
            template_list_add(context, part, call->bound[1]);
        }
        template_list_add(context, result, template_from_list(VALUE_LIST, part));
    }
    return template_from_list(VALUE_GENERATOR, result);
}

/* Unlike a dot, never a key of a dict. */
FILTER(attr)
{
    const struct template_string *name = template_to_string(context, call->bound[0], "attr");
    template_require(context, call->subject);
    if (call->subject.kind == VALUE_DICT && !template_method_find(VALUE_DICT, name)) {
        return template_undefined(NULL);
    }
    return template_attribute(context, call->subject, name, NULL);
}

const struct template_function template_item_filters[] = {
    {"attr", "name", filter_attr},
    {"batch", "linecount fill_with?", filter_batch},
    {"count", "", filter_length},
    {"d", "default_value? boolean?", filter_default},
    {"default", "default_value? boolean?", filter_default},
    {"dictsort", "case_sensitive? by? reverse?", filter_dictsort},
    {"first", "", filter_first},
    {"groupby", "attribute default? case_sensitive?", filter_groupby},
    {"items", "", filter_items},
    {"join", "d? attribute?", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"map", NULL, filter_map},
    {"max", "case_sensitive? attribute?", filter_max},
    {"min", "case_sensitive? attribute?", filter_min},
    {"reject", NULL, filter_reject},
    {"rejectattr", NULL, filter_rejectattr},
    {"reverse", "", filter_reverse},
    {"select", NULL, filter_select},
    {"selectattr", NULL, filter_selectattr},
    {"slice", "slices fill_with?", filter_slice},
    {"sort", "reverse? case_sensitive? attribute?", filter_sort},
    {"sum", "attribute? start?", filter_sum},
    {"unique", "case_sensitive? attribute?", filter_unique},
    {0},
};
