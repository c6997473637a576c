/* The parts of values: attributes and methods, subscripts, slices, iteration; and conversions that
 * fail with a sentence. Missing parts are undefined values that remember what was looked up.
 */

#include "engine/text/chat_template_internal.h"

void template_require(struct template_context *context, struct template_value value)
{
    if (value.kind != VALUE_UNDEFINED) {
        return;
    }
    const struct template_node *node = value.node;
    if (node && node->kind == NODE_NAME) {
        template_fail(context, "'%.*s' is undefined", (int)node->name->bytes, node->name->data);
    }
    if (node && node->kind == NODE_ATTRIBUTE) {
        template_fail(context, "a value has no attribute '%.*s'", (int)node->name->bytes,
                      node->name->data);
    }
    if (node && node->kind == NODE_PARAMETER) {
        template_fail(context, "the argument '%.*s' was not given", (int)node->name->bytes,
                      node->name->data);
    }
    if (node && node->kind == NODE_ITEM && node->b->kind == NODE_CONSTANT) {
        const struct template_string *key = template_text(context, node->b->value);
        template_fail(context, "a value has no element '%.*s'",
                      template_clip(key->data, key->bytes), key->data);
    }
    template_fail(context, "an undefined value is used");
}

int64_t template_to_integer(struct template_context *context, struct template_value value,
                            const char *use)
{
    template_require(context, value);
    if (value.kind == VALUE_BOOL) {
        return value.boolean;
    }
    if (value.kind != VALUE_INTEGER) {
        template_fail(context, "%s needs a whole number, not a %s", use, template_type(value));
    }
    return value.integer;
}

const struct template_string *template_to_string(struct template_context *context,
                                                 struct template_value value, const char *use)
{
    template_require(context, value);
    if (value.kind != VALUE_STRING) {
        template_fail(context, "%s needs a string, not a %s", use, template_type(value));
    }
    return value.string;
}

/* ---- attributes --------------------------------------------------------------------------- */

static struct template_value neighbour(const struct template_loop *loop, size_t index,
                                       const struct template_node *node)
{
    return index < loop->count ? loop->items[index] : template_undefined(node);
}

static struct template_value loop_attribute(const struct template_loop *loop,
                                            const struct template_string *name,
                                            const struct template_node *node)
{
    int64_t index = (int64_t)loop->index, count = (int64_t)loop->count;
    const struct {
        const char *name;
        struct template_value value;
    } attributes[] = {
        {"index0", template_integer(index)},
        {"index", template_integer(index + 1)},
        {"first", template_bool(index == 0)},
        {"last", template_bool(index + 1 == count)},
        {"length", template_integer(count)},
        {"revindex", template_integer(count - index)},
        {"revindex0", template_integer(count - index - 1)},
        {"depth", template_integer((int64_t)loop->depth)},
        {"depth0", template_integer((int64_t)loop->depth - 1)},
        {"previtem", neighbour(loop, loop->index - 1, node)},
        {"nextitem", neighbour(loop, loop->index + 1, node)},
    };
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        if (template_string_is(name, attributes[i].name)) {
            return attributes[i].value;
        }
    }
    return template_undefined(node);
}

/* The attribute that is not a key: a method, or a part of a loop, namespace or group. */
static struct template_value own_attribute(struct template_context *context,
                                           struct template_value value,
                                           const struct template_string *name,
                                           const struct template_node *node)
{
    const struct template_function *function = template_method_find(value.kind, name);
    if (function) {
        struct template_method *method = template_allocate(context, sizeof(*method));
        *method = (struct template_method){.receiver = value, .function = function};
        return (struct template_value){.kind = VALUE_METHOD, .method = method};
    }
    if (value.kind == VALUE_LOOP) {
        return loop_attribute(value.loop, name, node);
    }
    if (value.kind == VALUE_NAMESPACE) {
        struct template_value *found =
            template_dict_find(context, value.dict, template_from_string(name));
        return found ? *found : template_undefined(node);
    }
    if (value.kind == VALUE_TUPLE && value.list->group) {
        bool grouper = template_string_is(name, "grouper");
        if (grouper || template_string_is(name, "list")) {
            return value.list->items[grouper ? 0 : 1];
        }
    }
    if ((value.kind == VALUE_MACRO) && template_string_is(name, "name") &&
        value.macro->node->name) {
        return template_from_string(value.macro->node->name);
    }
    return template_undefined(node);
}

struct template_value template_attribute(struct template_context *context,
                                         struct template_value value,
                                         const struct template_string *name,
                                         const struct template_node *node)
{
    template_require(context, value);
    struct template_value own = own_attribute(context, value, name, node);
    if (own.kind == VALUE_UNDEFINED && value.kind == VALUE_DICT) {
        struct template_value *found =
            template_dict_find(context, value.dict, template_from_string(name));
        return found ? *found : own;
    }
    return own;
}

/* ---- subscripts --------------------------------------------------------------------------- */

static bool is_sequence(struct template_value value)
{
    return value.kind == VALUE_LIST || value.kind == VALUE_TUPLE || value.kind == VALUE_RANGE;
}

static struct template_value indexed(struct template_context *context, struct template_value value,
                                     int64_t index, const struct template_node *node)
{
    int64_t length = template_length(value);
    if (index < 0) {
        index += length;
    }
    if (index < 0 || index >= length) {
        return template_undefined(node);
    }
    if (value.kind == VALUE_STRING) {
        return template_from_string(
            template_string_cut(context, value.string, (size_t)index, (size_t)index + 1));
    }
    return value.list->items[index];
}

struct template_value template_item(struct template_context *context, struct template_value value,
                                    struct template_value key, const struct template_node *node)
{
    template_require(context, value);
    if (value.kind == VALUE_DICT && template_hashable(key)) {
        struct template_value *found = template_dict_find(context, value.dict, key);
        if (found) {
            return *found;
        }
    }
    if ((key.kind == VALUE_INTEGER || key.kind == VALUE_BOOL) &&
        (is_sequence(value) || value.kind == VALUE_STRING)) {
        return indexed(context, value, template_to_integer(context, key, "an index"), node);
    }
    if (key.kind == VALUE_STRING) {
        return own_attribute(context, value, key.string, node);
    }
    return template_undefined(node);
}

/* One end of a slice, brought into [low, high]. */
static int64_t slice_end(struct template_context *context, struct template_value end,
                         int64_t missing, int64_t length, int64_t low, int64_t high)
{
    if (end.kind == VALUE_NONE || end.kind == VALUE_MISSING) {
        return missing;
    }
    int64_t at = template_to_integer(context, end, "a slice");
    if (at < 0) {
        at = at < -length ? low : at + length;
    }
    return at < low ? low : at > high ? high : at;
}

static struct template_value slice_string(struct template_context *context,
                                          const struct template_string *string, int64_t from,
                                          int64_t count, int64_t step)
{
    if (step == 1) {
        return template_from_string(
            template_string_cut(context, string, (size_t)from, (size_t)(from + count)));
    }
    /* Characters by number: an offset for each keeps this linear. */
    size_t *offsets = template_allocate(context, (string->points + 1) * sizeof(*offsets));
    size_t n = 0;
    for (size_t at = 0; at < string->bytes && n < string->points; n++) {
        int32_t point;
        offsets[n] = at;
        at += template_point_read(string->data + at, string->bytes - at, &point);
    }
    template_charge(context, string->bytes * 8);
    size_t mark = context->out_bytes;
    for (int64_t i = 0; i < count; i++, from += step) {
        size_t at = (size_t)from < n ? offsets[from] : string->bytes;
        size_t end = (size_t)from + 1 < n ? offsets[from + 1] : string->bytes;
        template_append(context, string->data + at, end - at);
    }
    return template_from_string(template_take(context, mark));
}

struct template_value template_slice(struct template_context *context, struct template_value value,
                                     struct template_value start, struct template_value stop,
                                     struct template_value step_value)
{
    template_require(context, value);
    if (!is_sequence(value) && value.kind != VALUE_STRING) {
        template_fail(context, "a %s cannot be sliced", template_type(value));
    }
    int64_t length = template_length(value), step = 1;
    if (step_value.kind != VALUE_NONE && step_value.kind != VALUE_MISSING) {
        step = template_to_integer(context, step_value, "a slice");
    }
    if (step == 0) {
        template_fail(context, "the step of a slice is zero");
    }
    if (step < -length - 1 || step > length + 1) { /* the same items, and no overflow below */
        step = step < 0 ? -length - 1 : length + 1;
    }
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
    int64_t from = slice_end(context, start, step > 0 ? low : high, length, low, high);
    int64_t to = slice_end(context, stop, step > 0 ? high : low, length, low, high);
    int64_t distance = step > 0 ? to - from : from - to, stride = step > 0 ? step : -step;
    int64_t count = distance > 0 ? (distance + stride - 1) / stride : 0;
    if (value.kind == VALUE_STRING) {
        return slice_string(context, value.string, from, count, step);
    }
    template_charge(context, (uint64_t)count * sizeof(struct template_value));
    struct template_list *list = template_list_new(context, (size_t)count);
    for (int64_t i = 0; i < count; i++, from += step) {
        template_list_add(context, list, value.list->items[from]);
    }
    return template_from_list(value.kind == VALUE_TUPLE ? VALUE_TUPLE : VALUE_LIST, list);
}

/* ---- iteration ---------------------------------------------------------------------------- */

static struct template_list *characters(struct template_context *context,
                                        const struct template_string *string)
{
    struct template_list *list = template_list_new(context, string->points);
    template_charge(context, string->bytes * 8);
    for (size_t at = 0; at < string->bytes;) {
        int32_t point;
        size_t n = template_point_read(string->data + at, string->bytes - at, &point);
        template_list_add(context, list,
                          template_from_string(template_string_part(context, string, at, at + n)));
        at += n;
    }
    return list;
}

struct template_list *template_iterate(struct template_context *context,
                                       struct template_value value)
{
    if (value.kind == VALUE_STRING) {
        return characters(context, value.string);
    }
    if (value.kind == VALUE_UNDEFINED) {
        return template_list_new(context, 0);
    }
    if (value.kind == VALUE_DICT) {
        struct template_list *keys = template_list_new(context, value.dict->count);
        for (size_t i = 0; i < value.dict->count; i++) {
            template_list_add(context, keys, value.dict->entries[i].key);
        }
        return keys;
    }
    if (!template_is_list(value)) {
        template_fail(context, "a %s cannot be iterated", template_type(value));
    }
    template_charge(context, value.list->count * sizeof(struct template_value));
    /* A view of the items as they are now: the body of a loop may append to the list. */
    struct template_list *view = template_allocate(context, sizeof(*view));
    *view = *value.list;
    if (value.kind == VALUE_GENERATOR) {
        value.list->count = 0;
    }
    view->capacity = view->count;
    return view;
}
