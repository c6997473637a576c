/* Values of expressions: names, operators, calls. */
#include <math.h>

#include "engine/text/chat_template_internal.h"

/* ---- arithmetic, as Python's -------------------------------------------------------------- */

static bool is_number(struct template_value value)
{
    return value.kind >= VALUE_BOOL && value.kind <= VALUE_FLOAT;
}

static int64_t as_integer(struct template_value value)
{
    return value.kind == VALUE_BOOL ? value.boolean : value.integer;
}

static double as_double(struct template_value value)
{
    return value.kind == VALUE_FLOAT ? value.number : (double)as_integer(value);
}

static _Noreturn void fail_types(struct template_context *context, const char *what,
                                 struct template_value a, struct template_value b)
{
    template_require(context, a);
    template_require(context, b);
    template_fail(context, "cannot %s a value of type %s and one of type %s", what,
                  template_type(a), template_type(b));
}

static void check_divisor(struct template_context *context, bool zero)
{
    if (zero) {
        template_fail(context, "division by zero");
    }
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

static double float_modulo(double a, double b)
{
    double rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest == 0 ? copysign(0, b) : rest;
}

/* False if the result does not fit. */
static bool integer_power(int64_t base, int64_t exponent, int64_t *result)
{
    *result = 1;
    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) && __builtin_mul_overflow(*result, base, result)) {
            return false;
        }
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) {
            return false;
        }
    }
    return true;
}

static struct template_value integer_binary(struct template_context *context,
                                            enum template_operator operation, int64_t a, int64_t b)
{
    int64_t result = 0;
    bool fits = true;
    switch (operation) {
    case OPERATOR_ADD:
        fits = !__builtin_add_overflow(a, b, &result);
        break;
    case OPERATOR_SUBTRACT:
        fits = !__builtin_sub_overflow(a, b, &result);
        break;
    case OPERATOR_MULTIPLY:
        fits = !__builtin_mul_overflow(a, b, &result);
        break;
    case OPERATOR_DIVIDE:
        check_divisor(context, b == 0);
        return template_float((double)a / (double)b);
    case OPERATOR_POWER:
        if (b < 0) {
            check_divisor(context, a == 0);
            return template_float(pow((double)a, (double)b));
        }
        fits = integer_power(a, b, &result);
        break;
    default:
        check_divisor(context, b == 0);
        fits = b != -1 || a != INT64_MIN;
        if (fits) {
            int64_t quotient = floor_divide(a, b);
            result = operation == OPERATOR_FLOOR_DIVIDE ? quotient : a - quotient * b;
        }
    }
    if (!fits) {
        template_fail(context, "a whole number grows beyond 64 bits");
    }
    return template_integer(result);
}

static struct template_value float_binary(struct template_context *context,
                                          enum template_operator operation, double a, double b)
{
    bool divides = operation == OPERATOR_DIVIDE || operation == OPERATOR_FLOOR_DIVIDE ||
                   operation == OPERATOR_MODULO;
    check_divisor(context, divides && b == 0);
    switch (operation) {
    case OPERATOR_ADD:
        return template_float(a + b);
    case OPERATOR_SUBTRACT:
        return template_float(a - b);
    case OPERATOR_MULTIPLY:
        return template_float(a * b);
    case OPERATOR_DIVIDE:
        return template_float(a / b);
    case OPERATOR_FLOOR_DIVIDE:
        return template_float(rint((a - float_modulo(a, b)) / b));
    case OPERATOR_MODULO:
        return template_float(float_modulo(a, b));
    default:
        if ((a == 0 && b < 0) || (a < 0 && b != floor(b))) {
            template_fail(context, "a power has no real value");
        }
        return template_float(pow(a, b));
    }
}

/* ---- operators on text and lists ---------------------------------------------------------- */

static struct template_value join_text(struct template_context *context, struct template_value a,
                                       struct template_value b)
{
    size_t mark = context->out_bytes;
    template_print(context, a);
    template_print(context, b);
    template_charge(context, context->out_bytes - mark);
    return template_from_string(template_take(context, mark));
}

static struct template_value join_lists(struct template_context *context, struct template_value a,
                                        struct template_value b)
{
    struct template_list *list = template_list_new(context, a.list->count + b.list->count);
    template_charge(context, list->capacity * sizeof(struct template_value));
    for (size_t i = 0; i < a.list->count; i++) {
        template_list_add(context, list, a.list->items[i]);
    }
    for (size_t i = 0; i < b.list->count; i++) {
        template_list_add(context, list, b.list->items[i]);
    }
    return template_from_list(a.kind, list);
}

static struct template_value add(struct template_context *context, struct template_value a,
                                 struct template_value b)
{
    if (a.kind == b.kind && a.kind == VALUE_STRING) {
        return join_text(context, a, b);
    }
    if (a.kind == b.kind && (a.kind == VALUE_LIST || a.kind == VALUE_TUPLE)) {
        return join_lists(context, a, b);
    }
    fail_types(context, "add", a, b);
}

/* text or list, so many times */
static struct template_value repeat(struct template_context *context, struct template_value value,
                                    int64_t count)
{
    if (value.kind == VALUE_STRING) {
        size_t mark = context->out_bytes;
        for (int64_t i = 0; i < count && value.string->bytes > 0; i++) {
            template_charge(context, value.string->bytes);
            template_append_string(context, value.string);
        }
        return template_from_string(template_take(context, mark));
    }
    struct template_list *list = template_list_new(context, 0);
    for (int64_t i = 0; i < count && value.list->count > 0; i++) {
        template_charge(context, value.list->count * sizeof(struct template_value));
        for (size_t item = 0; item < value.list->count; item++) {
            template_list_add(context, list, value.list->items[item]);
        }
    }
    return template_from_list(value.kind, list);
}

static bool is_whole(struct template_value value)
{
    return value.kind == VALUE_INTEGER || value.kind == VALUE_BOOL;
}

static bool repeats(struct template_value value)
{
    return value.kind == VALUE_STRING || value.kind == VALUE_LIST || value.kind == VALUE_TUPLE;
}

struct template_value template_binary(struct template_context *context,
                                      enum template_operator operation, struct template_value a,
                                      struct template_value b)
{
    static const char *const verbs[] = {"add",    "subtract",         "multiply", "divide",
                                        "divide", "take the rest of", "raise"};
    if (operation == OPERATOR_CONCATENATE) {
        return join_text(context, a, b);
    }
    if (is_whole(a) && is_whole(b)) {
        return integer_binary(context, operation, as_integer(a), as_integer(b));
    }
    if (is_number(a) && is_number(b)) {
        return float_binary(context, operation, as_double(a), as_double(b));
    }
    if (operation == OPERATOR_ADD) {
        return add(context, a, b);
    }
    if (operation == OPERATOR_MULTIPLY && repeats(a) && is_whole(b)) {
        return repeat(context, a, as_integer(b));
    }
    if (operation == OPERATOR_MULTIPLY && repeats(b) && is_whole(a)) {
        return repeat(context, b, as_integer(a));
    }
    if (operation == OPERATOR_MODULO && a.kind == VALUE_STRING) {
        return template_format_percent(context, a.string, b);
    }
    fail_types(context, verbs[operation], a, b);
}

static bool compare(struct template_context *context, enum template_operator operation,
                    struct template_value a, struct template_value b)
{
    if (operation == OPERATOR_EQUAL || operation == OPERATOR_NOT_EQUAL) {
        return template_equal(context, a, b) == (operation == OPERATOR_EQUAL);
    }
    if (operation == OPERATOR_IN || operation == OPERATOR_NOT_IN) {
        return template_contains(context, b, a) == (operation == OPERATOR_IN);
    }
    int order = template_compare(context, a, b);
    if (order == TEMPLATE_UNORDERED) {
        return false;
    }
    return operation == OPERATOR_LESS         ? order < 0
           : operation == OPERATOR_LESS_EQUAL ? order <= 0
           : operation == OPERATOR_GREATER    ? order > 0
                                              : order >= 0;
}

static struct template_value negate(struct template_context *context, struct template_value value,
                                    bool minus)
{
    template_require(context, value);
    if (value.kind == VALUE_FLOAT) {
        return template_float(minus ? -value.number : value.number);
    }
    int64_t integer = template_to_integer(context, value, "a sign");
    return integer_binary(context, minus ? OPERATOR_SUBTRACT : OPERATOR_ADD, 0, integer);
}

/* ---- calls -------------------------------------------------------------------------------- */

static void add_keywords(struct template_context *context, struct template_dict **keywords,
                         struct template_value name, struct template_value value)
{
    if (!*keywords) {
        *keywords = template_dict_new(context);
    }
    if (template_dict_find(context, *keywords, name)) {
        template_fail(context, "the argument '%.*s' is given twice", (int)name.string->bytes,
                      name.string->data);
    }
    template_dict_set(context, *keywords, name, value);
}

static void evaluate_arguments(struct template_context *context, const struct template_node *node,
                               struct template_call *call)
{
    struct template_list *args = template_list_new(context, 0);
    struct template_dict *keywords = NULL;
    for (const struct template_node *item = node->items; item; item = item->next) {
        bool plain = item->kind != NODE_KEYWORD && item->kind != NODE_SPREAD &&
                     item->kind != NODE_SPREAD_KEYWORDS;
        struct template_value value = template_evaluate(context, plain ? item : item->a);
        if (plain) {
            template_list_add(context, args, value);
        } else if (item->kind == NODE_KEYWORD) {
            add_keywords(context, &keywords, template_from_string(item->name), value);
        } else if (item->kind == NODE_SPREAD) {
            const struct template_list *list = template_iterate(context, value);
            for (size_t i = 0; i < list->count; i++) {
                template_list_add(context, args, list->items[i]);
            }
        } else {
            if (value.kind != VALUE_DICT) {
                template_fail(context, "** needs a dict, not a %s", template_type(value));
            }
            for (size_t i = 0; i < value.dict->count; i++) {
                template_to_string(context, value.dict->entries[i].key, "the name of an argument");
                add_keywords(context, &keywords, value.dict->entries[i].key,
                             value.dict->entries[i].value);
            }
        }
    }
    call->args = args->items;
    call->n_args = args->count;
    call->keywords = keywords;
}

static struct template_value invoke(struct template_context *context, struct template_value callee,
                                    struct template_call *call)
{
    template_require(context, callee);
    if (callee.kind == VALUE_METHOD) {
        call->subject = callee.method->receiver;
        return template_function_call(context, callee.method->function, call);
    }
    if (callee.kind == VALUE_FUNCTION) {
        return template_function_call(context, callee.function, call);
    }
    if (callee.kind == VALUE_MACRO) {
        return template_run_macro(context, callee.macro, call);
    }
    if (callee.kind == VALUE_LOOP && callee.loop->node->recursive && call->n_args == 1) {
        return template_run_loop_again(context, callee.loop, call->args[0]);
    }
    template_fail(context, "a value of type %s cannot be called", template_type(callee));
}

static struct template_value evaluate_call(struct template_context *context,
                                           const struct template_node *node)
{
    struct template_call call = {0};
    struct template_value callee = template_evaluate(context, node->a);
    evaluate_arguments(context, node, &call);
    /* {% call %} hands its body over as a hidden last argument (chat_template_run.c). */
    if (node->b) {
        struct template_dict *keywords = (struct template_dict *)call.keywords;
        add_keywords(context, &keywords, template_from_string(node->b->name), node->b->value);
        call.keywords = keywords;
    }
    context->line = node->line;
    return invoke(context, callee, &call);
}

static struct template_value evaluate_filter(struct template_context *context,
                                             const struct template_node *node)
{
    struct template_call call = {0};
    call.subject = node->a ? template_evaluate(context, node->a) : context->captured;
    evaluate_arguments(context, node, &call);
    context->line = node->line;
    if (!node->function) {
        template_fail(context, "there is no %s named '%.*s'",
                      node->kind == NODE_TEST ? "test" : "filter", (int)node->name->bytes,
                      node->name->data);
    }
    return template_function_call(context, node->function, &call);
}

/* ---- expressions -------------------------------------------------------------------------- */

static struct template_value evaluate_name(struct template_context *context,
                                           const struct template_node *node)
{
    struct template_value name = template_from_string(node->name);
    for (struct template_scope *scope = context->scope; scope; scope = scope->parent) {
        struct template_value *found = template_dict_find(context, &scope->names, name);
        if (found) {
            return *found;
        }
    }
    const struct template_function *function = template_global_find(node->name);
    if (function) {
        return (struct template_value){.kind = VALUE_FUNCTION, .function = function};
    }
    return template_undefined(node);
}

static struct template_value evaluate_list(struct template_context *context,
                                           const struct template_node *node)
{
    struct template_list *list = template_list_new(context, 0);
    for (const struct template_node *item = node->items; item; item = item->next) {
        template_list_add(context, list, template_evaluate(context, item));
    }
    return template_from_list(node->kind == NODE_LIST ? VALUE_LIST : VALUE_TUPLE, list);
}

static struct template_value evaluate_dict(struct template_context *context,
                                           const struct template_node *node)
{
    struct template_dict *dict = template_dict_new(context);
    for (const struct template_node *key = node->items; key; key = key->next->next) {
        struct template_value key_value = template_evaluate(context, key);
        template_dict_set(context, dict, key_value, template_evaluate(context, key->next));
    }
    return template_from_dict(dict);
}

static struct template_value evaluate_compare(struct template_context *context,
                                              const struct template_node *node)
{
    struct template_value left = template_evaluate(context, node->a);
    for (const struct template_node *operand = node->items; operand; operand = operand->next) {
        struct template_value right = template_evaluate(context, operand->a);
        context->line = operand->line;
        if (!compare(context, operand->operation, left, right)) {
            return template_bool(false);
        }
        left = right;
    }
    return template_bool(true);
}

static struct template_value evaluate_optional(struct template_context *context,
                                               const struct template_node *node)
{
    return node ? template_evaluate(context, node) : template_none();
}

static struct template_value evaluate_item(struct template_context *context,
                                           const struct template_node *node)
{
    struct template_value value = template_evaluate(context, node->a);
    if (node->b->kind == NODE_SLICE) {
        struct template_value start = evaluate_optional(context, node->b->a);
        struct template_value stop = evaluate_optional(context, node->b->b);
        struct template_value step = evaluate_optional(context, node->b->c);
        context->line = node->line;
        return template_slice(context, value, start, stop, step);
    }
    struct template_value key = template_evaluate(context, node->b);
    context->line = node->line;
    return template_item(context, value, key, node);
}

static struct template_value evaluate_binary(struct template_context *context,
                                             const struct template_node *node)
{
    struct template_value a = template_evaluate(context, node->a);
    struct template_value b = template_evaluate(context, node->b);
    context->line = node->line;
    return template_binary(context, node->operation, a, b);
}

static struct template_value evaluate(struct template_context *context,
                                      const struct template_node *node)
{
    struct template_value value;
    switch (node->kind) {
    case NODE_CONSTANT:
        return node->value;
    case NODE_NAME:
        return evaluate_name(context, node);
    case NODE_LIST:
    case NODE_TUPLE:
        return evaluate_list(context, node);
    case NODE_DICT:
        return evaluate_dict(context, node);
    case NODE_NOT:
        return template_bool(!template_truth(template_evaluate(context, node->a)));
    case NODE_NEGATE:
    case NODE_PLUS:
        return negate(context, template_evaluate(context, node->a), node->kind == NODE_NEGATE);
    case NODE_BINARY:
        return evaluate_binary(context, node);
    case NODE_AND:
    case NODE_OR:
        value = template_evaluate(context, node->a);
        return template_truth(value) == (node->kind == NODE_OR)
                   ? value
                   : template_evaluate(context, node->b);
    case NODE_COMPARE:
        return evaluate_compare(context, node);
    case NODE_CONDITION:
        if (template_truth(template_evaluate(context, node->a))) {
            return template_evaluate(context, node->b);
        }
        return node->c ? template_evaluate(context, node->c) : template_undefined(node);
    case NODE_ATTRIBUTE:
        value = template_evaluate(context, node->a);
        context->line = node->line;
        return template_attribute(context, value, node->name, node);
    case NODE_ITEM:
        return evaluate_item(context, node);
    case NODE_CALL:
        return evaluate_call(context, node);
    case NODE_FILTER:
    case NODE_TEST:
        return evaluate_filter(context, node);
    default:
        template_fail(context, "this does not belong into an expression");
    }
}

struct template_value template_evaluate(struct template_context *context,
                                        const struct template_node *node)
{
    template_enter(context);
    template_charge(context, 0);
    context->line = node->line;
    struct template_value value = evaluate(context, node);
    template_leave(context);
    return value;
}
