/* The tests of Jinja: what may stand behind "is". Each returns a boolean. */

#include "engine/text/chat_template_internal.h"

#define TEST(name) \
    static struct template_value test_##name(struct template_context *context, \
                                             const struct template_call *call)

static bool is_kind(const struct template_call *call, enum template_kind kind)
{
    return call->subject.kind == kind;
}

TEST(defined)
{
    return template_bool(!is_kind(call, VALUE_UNDEFINED));
}

TEST(undefined)
{
    return template_bool(is_kind(call, VALUE_UNDEFINED));
}

TEST(none)
{
    return template_bool(is_kind(call, VALUE_NONE));
}

TEST(boolean)
{
    return template_bool(is_kind(call, VALUE_BOOL));
}

TEST(true)
{
    return template_bool(is_kind(call, VALUE_BOOL) && call->subject.boolean);
}

TEST(false)
{
    return template_bool(is_kind(call, VALUE_BOOL) && !call->subject.boolean);
}

TEST(integer)
{
    return template_bool(is_kind(call, VALUE_INTEGER));
}

TEST(float)
{
    return template_bool(is_kind(call, VALUE_FLOAT));
}

TEST(number)
{
    return template_bool(call->subject.kind >= VALUE_BOOL && call->subject.kind <= VALUE_FLOAT);
}

TEST(string)
{
    return template_bool(is_kind(call, VALUE_STRING));
}

TEST(mapping)
{
    return template_bool(is_kind(call, VALUE_DICT));
}

TEST(sequence)
{
    enum template_kind kind = call->subject.kind;
    return template_bool(kind == VALUE_STRING || kind == VALUE_LIST || kind == VALUE_TUPLE ||
                         kind == VALUE_RANGE || kind == VALUE_DICT || kind == VALUE_UNDEFINED);
}

TEST(iterable)
{
    enum template_kind kind = call->subject.kind;
    return template_bool(template_is_list(call->subject) || kind == VALUE_STRING ||
                         kind == VALUE_DICT || kind == VALUE_UNDEFINED || kind == VALUE_LOOP);
}

TEST(callable)
{
    enum template_kind kind = call->subject.kind;
    return template_bool(kind == VALUE_UNDEFINED || kind == VALUE_LOOP || kind == VALUE_MACRO ||
                         kind == VALUE_FUNCTION || kind == VALUE_METHOD);
}

TEST(sameas)
{
    return template_bool(template_same(call->subject, call->bound[0]));
}

TEST(escaped)
{
    return template_bool(false);
}

TEST(in)
{
    return template_bool(template_contains(context, call->bound[0], call->subject));
}

TEST(filter)
{
    return template_bool(is_kind(call, VALUE_STRING) && template_filter_find(call->subject.string));
}

TEST(test)
{
    return template_bool(is_kind(call, VALUE_STRING) && template_test_find(call->subject.string));
}

static struct template_value rest_is(struct template_context *context, struct template_value number,
                                     struct template_value divisor, int64_t rest)
{
    struct template_value value = template_binary(context, OPERATOR_MODULO, number, divisor);
    return template_bool(template_equal(context, value, template_integer(rest)));
}

TEST(odd)
{
    return rest_is(context, call->subject, template_integer(2), 1);
}

TEST(even)
{
    return rest_is(context, call->subject, template_integer(2), 0);
}

TEST(divisibleby)
{
    return rest_is(context, call->subject, call->bound[0], 0);
}

/* True if the text has cased letters and all of them are of the one case. */
static bool all_cased(struct template_context *context, const struct template_call *call,
                      enum template_case way, enum template_case other)
{
    const struct template_string *text = template_text(context, call->subject);
    return template_string_equal(text, template_string_case(context, text, way)) &&
           !template_string_equal(text, template_string_case(context, text, other));
}

TEST(lower)
{
    return template_bool(all_cased(context, call, CASE_LOWER, CASE_UPPER));
}

TEST(upper)
{
    return template_bool(all_cased(context, call, CASE_UPPER, CASE_LOWER));
}

TEST(eq)
{
    return template_bool(template_equal(context, call->subject, call->bound[0]));
}

TEST(ne)
{
    return template_bool(!template_equal(context, call->subject, call->bound[0]));
}

static int order(struct template_context *context, const struct template_call *call)
{
    return template_compare(context, call->subject, call->bound[0]);
}

TEST(lt)
{
    return template_bool(order(context, call) < 0);
}

TEST(le)
{
    return template_bool(order(context, call) <= 0);
}

TEST(gt)
{
    return template_bool(order(context, call) == 1);
}

TEST(ge)
{
    int value = order(context, call);
    return template_bool(value == 0 || value == 1);
}

static const struct template_function tests[] = {
    {"defined", "", test_defined},
    {"undefined", "", test_undefined},
    {"none", "", test_none},
    {"boolean", "", test_boolean},
    {"true", "", test_true},
    {"false", "", test_false},
    {"integer", "", test_integer},
    {"float", "", test_float},
    {"number", "", test_number},
    {"string", "", test_string},
    {"mapping", "", test_mapping},
    {"sequence", "", test_sequence},
    {"iterable", "", test_iterable},
    {"callable", "", test_callable},
    {"sameas", "other", test_sameas},
    {"escaped", "", test_escaped},
    {"in", "seq", test_in},
    {"filter", "", test_filter},
    {"test", "", test_test},
    {"odd", "", test_odd},
    {"even", "", test_even},
    {"divisibleby", "num", test_divisibleby},
    {"lower", "", test_lower},
    {"upper", "", test_upper},
    {"eq", "b", test_eq},
    {"equalto", "b", test_eq},
    {"==", "b", test_eq},
    {"ne", "b", test_ne},
    {"!=", "b", test_ne},
    {"lt", "b", test_lt},
    {"lessthan", "b", test_lt},
    {"<", "b", test_lt},
    {"le", "b", test_le},
    {"<=", "b", test_le},
    {"gt", "b", test_gt},
    {"greaterthan", "b", test_gt},
    {">", "b", test_gt},
    {"ge", "b", test_ge},
    {">=", "b", test_ge},
    {0},
};

const struct template_function *template_test_find(const struct template_string *name)
{
    return template_function_find(tests, name);
}
