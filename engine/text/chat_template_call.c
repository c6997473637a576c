/* Calls of functions written in C: binding of arguments, and the lookup in the tables of filters,
 * tests (chat_template_tests.c), methods and globals.
 */
#include <string.h>

#include "engine/text/chat_template_internal.h"

const struct template_function *template_function_find(const struct template_function *table,
                                                       const struct template_string *name)
{
    for (; table->name; table++) {
        if (template_string_is(name, table->name)) {
            return table;
        }
    }
    return NULL;
}

const struct template_function *template_filter_find(const struct template_string *name)
{
    const struct template_function *found = template_function_find(template_item_filters, name);
    return found ? found : template_function_find(template_text_filters, name);
}

/* The next name of a parameter list; *optional if "?" follows it. False at the end. */
static bool next_parameter(const char **list, struct template_string *name, bool *optional)
{
    const char *start = *list + strspn(*list, " ");
    size_t bytes = strcspn(start, "? ");
    *name = (struct template_string){.data = start, .bytes = bytes, .points = bytes};
    *optional = start[bytes] == '?';
    *list = start + bytes + *optional;
    return bytes > 0;
}

static void bind(struct template_context *context, const struct template_function *function,
                 struct template_call *call)
{
    const char *list = function->parameters;
    struct template_string name;
    size_t n = 0, used_keywords = 0;
    for (bool optional; next_parameter(&list, &name, &optional); n++) {
        struct template_value value = {.kind = VALUE_MISSING};
        struct template_value *keyword =
            call->keywords
                ? template_dict_find(context, call->keywords, template_from_string(&name))
                : NULL;
        used_keywords += keyword != NULL;
        if (n < call->n_args) {
            value = call->args[n];
        } else if (keyword) {
            value = *keyword;
        } else if (!optional) {
            template_fail(context, "'%s' needs the argument '%.*s'", function->name,
                          (int)name.bytes, name.data);
        }
        call->bound[n] = value;
    }
    if (call->n_args > n) {
        template_fail(context, "'%s' takes not more than %zu arguments", function->name, n);
    }
    if (call->keywords && call->keywords->count > used_keywords) {
        template_fail(context, "'%s' got an argument whose name it does not know", function->name);
    }
}

struct template_value template_function_call(struct template_context *context,
                                             const struct template_function *function,
                                             struct template_call *call)
{
    template_charge(context, 0);
    call->name = function->name;
    if (function->parameters) {
        bind(context, function, call);
    }
    return function->call(context, call);
}

/* What remains of a call once its first arguments are used. */
static struct template_call rest_of_call(const struct template_call *call, size_t skip,
                                         struct template_value subject)
{
    return (struct template_call){.subject = subject,
                                  .args = call->args + skip,
                                  .n_args = call->n_args - skip,
                                  .keywords = call->keywords};
}

struct template_value template_filter_apply(struct template_context *context,
                                            const struct template_call *call, size_t skip,
                                            struct template_value subject)
{
    const struct template_string *name =
        template_to_string(context, call->args[skip], "the name of a filter");
    const struct template_function *function = template_filter_find(name);
    if (!function) {
        template_fail(context, "there is no filter named '%.*s'",
                      template_clip(name->data, name->bytes), name->data);
    }
    struct template_call rest = rest_of_call(call, skip + 1, subject);
    return template_function_call(context, function, &rest);
}

bool template_test_apply(struct template_context *context, const struct template_call *call,
                         size_t skip, struct template_value subject)
{
    const struct template_string *name =
        template_to_string(context, call->args[skip], "the name of a test");
    const struct template_function *function = template_test_find(name);
    if (!function) {
        template_fail(context, "there is no test named '%.*s'",
                      template_clip(name->data, name->bytes), name->data);
    }
    struct template_call rest = rest_of_call(call, skip + 1, subject);
    return template_truth(template_function_call(context, function, &rest));
}
