/* Methods of dicts, lists and loops, and the global functions.
 *
 * Hugging Face's sandbox forbids methods that change a list or dict, but published templates use
 * append and pop; they are allowed here. What they change lives only as long as the rendering.
 */
#include <stdio.h>
#include <string.h>

#include "engine/text/chat_template_internal.h"

#define FUNCTION(name) \
    static struct template_value name(struct template_context *context, \
                                      const struct template_call *call)

/* ---- dicts -------------------------------------------------------------------------------- */

static struct template_value dict_view(struct template_context *context,
                                       const struct template_dict *dict, enum template_kind kind)
{
    struct template_list *list = template_list_new(context, dict->count);
    for (size_t i = 0; i < dict->count; i++) {
        const struct template_entry *entry = &dict->entries[i];
        template_list_add(context, list,
                          kind == VALUE_KEYS ? entry->key
                          : kind == VALUE_VALUES
                              ? entry->value
                              : template_pair(context, entry->key, entry->value));
    }
    return template_from_list(kind, list);
}

FUNCTION(dict_items)
{
    return dict_view(context, call->subject.dict, VALUE_ITEMS);
}

FUNCTION(dict_keys)
{
    return dict_view(context, call->subject.dict, VALUE_KEYS);
}

FUNCTION(dict_values)
{
    return dict_view(context, call->subject.dict, VALUE_VALUES);
}

FUNCTION(dict_get)
{
    struct template_value *found = template_dict_find(context, call->subject.dict, call->bound[0]);
    return found ? *found : template_is_given(call->bound[1]) ? call->bound[1] : template_none();
}

FUNCTION(dict_pop)
{
    struct template_value *found = template_dict_find(context, call->subject.dict, call->bound[0]);
    if (!found) {
        if (!template_is_given(call->bound[1])) {
            template_fail(context, "pop does not find the key");
        }
        return call->bound[1];
    }
    struct template_value value = *found;
    template_dict_remove(context, call->subject.dict, call->bound[0]);
    return value;
}

FUNCTION(dict_setdefault)
{
    struct template_value *found = template_dict_find(context, call->subject.dict, call->bound[0]);
    if (found) {
        return *found;
    }
    struct template_value value =
        template_is_given(call->bound[1]) ? call->bound[1] : template_none();
    template_dict_set(context, call->subject.dict, call->bound[0], value);
    return value;
}

/* Adds what dict(...) or namespace(...) is made from: a dict or pairs, then keywords. */
static void fill_dict(struct template_context *context, struct template_dict *dict,
                      const struct template_call *call)
{
    if (call->n_args > 1) {
        template_fail(context, "'%s' takes not more than one argument without a name", call->name);
    }
    if (call->n_args == 1 && call->args[0].kind == VALUE_DICT) {
        const struct template_dict *from = call->args[0].dict;
        for (size_t i = 0; i < from->count; i++) {
            template_dict_set(context, dict, from->entries[i].key, from->entries[i].value);
        }
    } else if (call->n_args == 1) {
        const struct template_list *pairs = template_iterate(context, call->args[0]);
        for (size_t i = 0; i < pairs->count; i++) {
            const struct template_list *pair = template_iterate(context, pairs->items[i]);
            if (pair->count != 2) {
                template_fail(context, "'%s' needs pairs of a key and a value", call->name);
            }
            template_dict_set(context, dict, pair->items[0], pair->items[1]);
        }
    }
    for (size_t i = 0; call->keywords && i < call->keywords->count; i++) {
        template_dict_set(context, dict, call->keywords->entries[i].key,
                          call->keywords->entries[i].value);
    }
}

FUNCTION(dict_update)
{
    fill_dict(context, call->subject.dict, call);
    return template_none();
}

FUNCTION(dict_copy)
{
    struct template_call copy = {.name = call->name, .args = &call->subject, .n_args = 1};
    struct template_dict *dict = template_dict_new(context);
    fill_dict(context, dict, &copy);
    return template_from_dict(dict);
}

/* ---- lists -------------------------------------------------------------------------------- */

FUNCTION(list_append)
{
    template_list_add(context, call->subject.list, call->bound[0]);
    return template_none();
}

FUNCTION(list_extend)
{
    const struct template_list *more = template_iterate(context, call->bound[0]);
    for (size_t i = 0, count = more->count; i < count; i++) {
        template_list_add(context, call->subject.list, more->items[i]);
    }
    return template_none();
}

FUNCTION(list_insert)
{
    struct template_list *list = call->subject.list;
    int64_t count = (int64_t)list->count,
            at = template_to_integer(context, call->bound[0], "insert");
    at = at < -count ? 0 : at < 0 ? at + count : at > count ? count : at;
    template_charge(context, list->count * sizeof(struct template_value));
    template_list_add(context, list, call->bound[1]);
    memmove(list->items + at + 1, list->items + at,
            (size_t)(count - at) * sizeof(struct template_value));
    list->items[at] = call->bound[1];
    return template_none();
}

static void remove_item(struct template_context *context, struct template_list *list, size_t at)
{
    template_charge(context, list->count * sizeof(struct template_value));
    memmove(list->items + at, list->items + at + 1,
            (list->count - at - 1) * sizeof(struct template_value));
    list->count--;
}

FUNCTION(list_pop)
{
    struct template_list *list = call->subject.list;
    int64_t at = template_is_given(call->bound[0])
                     ? template_to_integer(context, call->bound[0], "pop")
                     : -1;
    at += at < 0 ? (int64_t)list->count : 0;
    if (at < 0 || at >= (int64_t)list->count) {
        template_fail(context, "pop reaches outside of the list");
    }
    struct template_value value = list->items[at];
    remove_item(context, list, (size_t)at);
    return value;
}

static int64_t find_item(struct template_context *context, const struct template_call *call)
{
    const struct template_list *list = call->subject.list;
    for (size_t i = 0; i < list->count; i++) {
        if (template_equal(context, list->items[i], call->bound[0])) {
            return (int64_t)i;
        }
    }
    template_fail(context, "'%s' does not find the item", call->name);
}

FUNCTION(list_remove)
{
    remove_item(context, call->subject.list, (size_t)find_item(context, call));
    return template_none();
}

FUNCTION(list_index)
{
    return template_integer(find_item(context, call));
}

FUNCTION(list_count)
{
    const struct template_list *list = call->subject.list;
    int64_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        count += template_equal(context, list->items[i], call->bound[0]);
    }
    return template_integer(count);
}

/* ---- loops -------------------------------------------------------------------------------- */

FUNCTION(loop_cycle)
{
    if (call->n_args == 0) {
        template_fail(context, "cycle needs values");
    }
    return call->args[call->subject.loop->index % call->n_args];
}

FUNCTION(loop_changed)
{
    struct template_list *now = template_list_new(context, call->n_args);
    for (size_t i = 0; i < call->n_args; i++) {
        template_list_add(context, now, call->args[i]);
    }
    struct template_value value = template_from_list(VALUE_TUPLE, now);
    struct template_loop *loop = call->subject.loop;
    bool changed = !template_equal(context, loop->changed, value);
    loop->changed = value;
    return template_bool(changed);
}

/* ---- globals ------------------------------------------------------------------------------ */

FUNCTION(global_range)
{
    int64_t start = template_to_integer(context, call->bound[0], "range"), stop = start, step = 1;
    if (template_is_given(call->bound[1])) {
        stop = template_to_integer(context, call->bound[1], "range");
    } else {
        start = 0;
    }
    if (template_is_given(call->bound[2])) {
        step = template_to_integer(context, call->bound[2], "range");
    }
    if (step == 0) {
        template_fail(context, "the step of a range is zero");
    }
    struct template_list *list = template_list_new(context, 0);
    list->start = start;
    list->stop = stop;
    list->step = step;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
        if (list->count == TEMPLATE_MAX_RANGE) {
            template_fail(context, "a range has more than %d items", TEMPLATE_MAX_RANGE);
        }
        template_list_add(context, list, template_integer(i));
        if (__builtin_add_overflow(i, step, &i)) {
            break;
        }
    }
    template_charge(context, list->count * 64);
    return template_from_list(VALUE_RANGE, list);
}

FUNCTION(global_dict)
{
    struct template_dict *dict = template_dict_new(context);
    fill_dict(context, dict, call);
    return template_from_dict(dict);
}

FUNCTION(global_namespace)
{
    struct template_value value = global_dict(context, call);
    value.kind = VALUE_NAMESPACE;
    return value;
}

FUNCTION(global_raise_exception)
{
    template_raise(context, template_text(context, call->bound[0]));
}

FUNCTION(global_strftime_now)
{
    const struct template_string *wanted =
        template_to_string(context, call->bound[0], "strftime_now");
    char format[256], text[4096];
    if (wanted->bytes >= sizeof(format)) {
        template_fail(context, "the format of strftime_now is longer than %zu bytes",
                      sizeof(format) - 1);
    }
    memcpy(format, wanted->data, wanted->bytes);
    format[wanted->bytes] = 0;
    size_t n = strftime(text, sizeof(text), format, context->now);
    size_t mark = context->out_bytes;
    template_append(context, text, n);
    return template_from_string(template_take(context, mark));
}

static const struct template_function dict_methods[] = {
    {"copy", "", dict_copy},
    {"get", "key default?", dict_get},
    {"items", "", dict_items},
    {"keys", "", dict_keys},
    {"pop", "key default?", dict_pop},
    {"setdefault", "key default?", dict_setdefault},
    {"update", NULL, dict_update},
    {"values", "", dict_values},
    {0},
};

static const struct template_function list_methods[] = {
    {"append", "object", list_append},       {"count", "value", list_count},
    {"extend", "iterable", list_extend},     {"index", "value", list_index},
    {"insert", "index object", list_insert}, {"pop", "index?", list_pop},
    {"remove", "value", list_remove},        {0},
};

static const struct template_function tuple_methods[] = {
    {"count", "value", list_count},
    {"index", "value", list_index},
    {0},
};

static const struct template_function loop_methods[] = {
    {"changed", NULL, loop_changed},
    {"cycle", NULL, loop_cycle},
    {0},
};

static const struct template_function globals[] = {
    {"dict", NULL, global_dict},
    {"namespace", NULL, global_namespace},
    {"raise_exception", "message", global_raise_exception},
    {"range", "start stop? step?", global_range},
    {"strftime_now", "format", global_strftime_now},
    {0},
};

const struct template_function *template_method_find(enum template_kind kind,
                                                     const struct template_string *name)
{
    switch (kind) {
    case VALUE_STRING:
        return template_function_find(template_string_methods, name);
    case VALUE_LIST:
        return template_function_find(list_methods, name);
    case VALUE_TUPLE:
        return template_function_find(tuple_methods, name);
    case VALUE_DICT:
        return template_function_find(dict_methods, name);
    case VALUE_LOOP:
        return template_function_find(loop_methods, name);
    default:
        return NULL;
    }
}

const struct template_function *template_global_find(const struct template_string *name)
{
    return template_function_find(globals, name);
}
