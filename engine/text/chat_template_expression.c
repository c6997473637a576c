/* Expressions of a template to syntax trees, by recursive descent; one function per precedence,
 * from loose to tight: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary, then what
 * follows a value (attributes, subscripts, calls, filters, tests). As jinja2.parser, including that
 * a filter after a unary minus sees the negated value.
 */
#include <string.h>

#include "engine/text/chat_template_internal.h"

typedef struct template_node *(*parse_function)(struct template_parser *parser);

static struct template_node *make_node(struct template_parser *parser, enum template_node_kind kind,
                                       struct template_node *a, struct template_node *b)
{
    struct template_node *node = template_parser_node(parser, kind);
    node->a = a;
    node->b = b;
    node->line = a ? a->line : node->line;
    return node;
}

static struct template_node *make_constant(struct template_parser *parser,
                                           struct template_value value)
{
    struct template_node *node = template_parser_node(parser, NODE_CONSTANT);
    node->value = value;
    return node;
}

static bool at_operator(const struct template_parser *parser, const char *text)
{
    return template_parser_at(parser, TOKEN_OPERATOR, text);
}

static bool skip_operator(struct template_parser *parser, const char *text)
{
    return template_parser_skip(parser, TOKEN_OPERATOR, text);
}

static bool skip_name(struct template_parser *parser, const char *text)
{
    return template_parser_skip(parser, TOKEN_NAME, text);
}

/* ---- values ------------------------------------------------------------------------------- */

/* Items up to `close`, each read by `parse_item`, into parent->items. */
static void parse_items(struct template_parser *parser, struct template_node *parent,
                        const char *close, parse_function parse_item)
{
    struct template_node **last = &parent->items;
    while (!skip_operator(parser, close)) {
        if (parent->items) {
            template_parser_expect(parser, TOKEN_OPERATOR, ",");
            if (skip_operator(parser, close)) {
                break;
            }
        }
        *last = parse_item(parser);
        while (*last) {
            last = &(*last)->next;
        }
    }
}

static struct template_node *parse_dict_item(struct template_parser *parser)
{
    struct template_node *key = template_parse_expression(parser);
    template_parser_expect(parser, TOKEN_OPERATOR, ":");
    key->next = template_parse_expression(parser);
    return key;
}

static struct template_node *parse_name(struct template_parser *parser)
{
    static const struct {
        const char *name;
        struct template_value value;
    } constants[] = {
        {"true", {.kind = VALUE_BOOL, .boolean = true}},
        {"True", {.kind = VALUE_BOOL, .boolean = true}},
        {"false", {.kind = VALUE_BOOL, .boolean = false}},
        {"False", {.kind = VALUE_BOOL, .boolean = false}},
        {"none", {.kind = VALUE_NONE}},
        {"None", {.kind = VALUE_NONE}},
    };
    for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        if (template_parser_at(parser, TOKEN_NAME, constants[i].name)) {
            struct template_node *node = make_constant(parser, constants[i].value);
            template_parser_advance(parser);
            return node;
        }
    }
    struct template_node *node = template_parser_node(parser, NODE_NAME);
    node->name = template_parser_name(parser);
    parser->saw_varargs |= template_string_is(node->name, "varargs");
    parser->saw_kwargs |= template_string_is(node->name, "kwargs");
    parser->saw_caller |= template_string_is(node->name, "caller");
    return node;
}

static struct template_node *parse_parentheses(struct template_parser *parser)
{
    if (at_operator(parser, ")")) {
        struct template_node *empty = template_parser_node(parser, NODE_TUPLE);
        template_parser_advance(parser);
        return empty;
    }
    struct template_node *node = template_parse_tuple(parser, true);
    template_parser_expect(parser, TOKEN_OPERATOR, ")");
    return node;
}

static struct template_node *parse_constant(struct template_parser *parser)
{
    struct template_node *node = make_constant(parser, template_none());
    node->value = parser->current.kind == TOKEN_STRING    ? template_parse_strings(parser)
                  : parser->current.kind == TOKEN_INTEGER ? template_parse_integer(parser)
                                                          : template_parse_float(parser);
    return node;
}

static struct template_node *parse_value(struct template_parser *parser)
{
    enum template_token_kind kind = parser->current.kind;
    if (kind == TOKEN_NAME) {
        return parse_name(parser);
    }
    if (kind == TOKEN_STRING || kind == TOKEN_INTEGER || kind == TOKEN_FLOAT) {
        return parse_constant(parser);
    }
    if (skip_operator(parser, "(")) {
        return parse_parentheses(parser);
    }
    bool list = at_operator(parser, "[");
    if (!list && !at_operator(parser, "{")) {
        template_parser_unexpected(parser, "a value");
    }
    struct template_node *node = template_parser_node(parser, list ? NODE_LIST : NODE_DICT);
    template_parser_advance(parser);
    parse_items(parser, node, list ? "]" : "}", list ? template_parse_expression : parse_dict_item);
    return node;
}

/* ---- what follows a value ----------------------------------------------------------------- */

static struct template_node *parse_argument(struct template_parser *parser)
{
    bool is_name = parser->current.kind == TOKEN_NAME;
    struct template_node *node;
    if (is_name && parser->ahead.kind == TOKEN_OPERATOR && parser->ahead.bytes == 1 &&
        parser->ahead.data[0] == '=') {
        node = template_parser_node(parser, NODE_KEYWORD);
        node->name = template_parser_name(parser);
        template_parser_advance(parser);
    } else if (at_operator(parser, "*") || at_operator(parser, "**")) {
        node = template_parser_node(parser,
                                    at_operator(parser, "*") ? NODE_SPREAD : NODE_SPREAD_KEYWORDS);
        template_parser_advance(parser);
    } else {
        return template_parse_expression(parser);
    }
    node->a = template_parse_expression(parser);
    return node;
}

static void parse_arguments(struct template_parser *parser, struct template_node *call)
{
    parse_items(parser, call, ")", parse_argument);
    bool named = false;
    for (const struct template_node *item = call->items; item; item = item->next) {
        bool positional = item->kind != NODE_KEYWORD && item->kind != NODE_SPREAD_KEYWORDS;
        if (named && positional) {
            parser->context->line = call->line;
            template_fail(parser->context, "an argument without a name follows one with a name");
        }
        named |= !positional;
    }
}

static struct template_node *parse_subscript(struct template_parser *parser)
{
    struct template_node *start = NULL, *slice;
    if (!at_operator(parser, ":")) {
        start = template_parse_expression(parser);
        if (!at_operator(parser, ":")) {
            return start;
        }
    }
    slice = make_node(parser, NODE_SLICE, start, NULL);
    template_parser_advance(parser);
    if (!at_operator(parser, ":") && !at_operator(parser, "]")) {
        slice->b = template_parse_expression(parser);
    }
    if (skip_operator(parser, ":") && !at_operator(parser, "]")) {
        slice->c = template_parse_expression(parser);
    }
    return slice;
}

static struct template_node *parse_attribute(struct template_parser *parser,
                                             struct template_node *of)
{
    struct template_node *node;
    if (parser->current.kind == TOKEN_INTEGER) {
        return make_node(parser, NODE_ITEM, of, parse_constant(parser));
    }
    node = make_node(parser, NODE_ATTRIBUTE, of, NULL);
    node->line = parser->current.line;
    node->name = template_parser_name(parser);
    return node;
}

static struct template_node *parse_call(struct template_parser *parser,
                                        struct template_node *callee)
{
    struct template_node *call = make_node(parser, NODE_CALL, callee, NULL);
    parse_arguments(parser, call);
    return call;
}

static struct template_node *parse_postfix(struct template_parser *parser,
                                           struct template_node *node)
{
    for (;;) {
        if (skip_operator(parser, ".")) {
            node = parse_attribute(parser, node);
        } else if (skip_operator(parser, "[")) {
            node = make_node(parser, NODE_ITEM, node, NULL);
            node->b = parse_subscript(parser);
            template_parser_expect(parser, TOKEN_OPERATOR, "]");
        } else if (skip_operator(parser, "(")) {
            node = parse_call(parser, node);
        } else {
            return node;
        }
    }
}

/* An unknown filter or test fails now, or, inside an if, only when it is reached. */
static void check_known(struct template_parser *parser, const struct template_node *node,
                        const char *what)
{
    if (!node->function && !parser->conditional) {
        parser->context->line = node->line;
        template_fail(parser->context, "there is no %s named '%.*s'", what, (int)node->name->bytes,
                      node->name->data);
    }
}

struct template_node *template_parse_filters(struct template_parser *parser,
                                             struct template_node *subject, bool first)
{
    struct template_node *node = subject;
    while (first || skip_operator(parser, "|")) {
        first = false;
        node = make_node(parser, NODE_FILTER, node, NULL);
        node->line = parser->current.line;
        node->name = template_parser_name(parser);
        node->function = template_filter_find(node->name);
        check_known(parser, node, "filter");
        if (skip_operator(parser, "(")) {
            parse_arguments(parser, node);
        }
    }
    return node;
}

/* Whether an argument without brackets follows the name of a test. */
static bool at_bare_argument(const struct template_parser *parser)
{
    static const char *const ends[] = {"else", "or", "and", "if", "is", "in", "not", "recursive"};
    enum template_token_kind kind = parser->current.kind;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (template_parser_at(parser, TOKEN_NAME, ends[i])) {
            return false;
        }
    }
    return kind == TOKEN_NAME || kind == TOKEN_STRING || kind == TOKEN_INTEGER ||
           kind == TOKEN_FLOAT || at_operator(parser, "[") || at_operator(parser, "{");
}

static struct template_node *parse_test(struct template_parser *parser,
                                        struct template_node *subject)
{
    bool negated = skip_name(parser, "not");
    struct template_node *node = make_node(parser, NODE_TEST, subject, NULL);
    node->name = template_parser_name(parser);
    node->function = template_test_find(node->name);
    check_known(parser, node, "test");
    if (skip_operator(parser, "(")) {
        parse_arguments(parser, node);
    } else if (at_bare_argument(parser)) {
        node->items = parse_postfix(parser, parse_value(parser));
    }
    return negated ? make_node(parser, NODE_NOT, node, NULL) : node;
}

static struct template_node *parse_filters_and_tests(struct template_parser *parser,
                                                     struct template_node *node)
{
    for (;;) {
        if (at_operator(parser, "|")) {
            node = template_parse_filters(parser, node, false);
        } else if (skip_name(parser, "is")) {
            node = parse_test(parser, node);
        } else if (skip_operator(parser, "(")) {
            node = parse_call(parser, node);
        } else {
            return node;
        }
    }
}

/* ---- operators, tight to loose ------------------------------------------------------------ */

static struct template_node *parse_unary_plain(struct template_parser *parser)
{
    template_enter(parser->context);
    struct template_node *node;
    if (at_operator(parser, "-") || at_operator(parser, "+")) {
        node = template_parser_node(parser, at_operator(parser, "-") ? NODE_NEGATE : NODE_PLUS);
        template_parser_advance(parser);
        node->a = parse_unary_plain(parser);
    } else {
        node = parse_value(parser);
    }
    node = parse_postfix(parser, node);
    template_leave(parser->context);
    return node;
}

static struct template_node *parse_unary(struct template_parser *parser)
{
    return parse_filters_and_tests(parser, parse_unary_plain(parser));
}

struct binary {
    const char *text;
    enum template_operator operation;
};

/* Operands read by `operand`, joined from the left by any operator of the table. */
static struct template_node *parse_binary(struct template_parser *parser,
                                          const struct binary *operators, parse_function operand)
{
    struct template_node *left = operand(parser);
    for (const struct binary *each = operators; each->text;) {
        uint32_t line = parser->current.line;
        if (!skip_operator(parser, each->text)) {
            each++;
            continue;
        }
        left = make_node(parser, NODE_BINARY, left, NULL);
        left->line = line;
        left->operation = each->operation;
        left->b = operand(parser);
        each = operators;
    }
    return left;
}

static struct template_node *parse_power(struct template_parser *parser)
{
    static const struct binary operators[] = {{"**", OPERATOR_POWER}, {0}};
    return parse_binary(parser, operators, parse_unary);
}

static struct template_node *parse_product(struct template_parser *parser)
{
    static const struct binary operators[] = {{"*", OPERATOR_MULTIPLY},
                                              {"/", OPERATOR_DIVIDE},
                                              {"//", OPERATOR_FLOOR_DIVIDE},
                                              {"%", OPERATOR_MODULO},
                                              {0}};
    return parse_binary(parser, operators, parse_power);
}

static struct template_node *parse_concatenation(struct template_parser *parser)
{
    static const struct binary operators[] = {{"~", OPERATOR_CONCATENATE}, {0}};
    return parse_binary(parser, operators, parse_product);
}

static struct template_node *parse_sum(struct template_parser *parser)
{
    static const struct binary operators[] = {{"+", OPERATOR_ADD}, {"-", OPERATOR_SUBTRACT}, {0}};
    return parse_binary(parser, operators, parse_concatenation);
}

/* True, with *operation set, if a comparison follows. */
static bool skip_comparison(struct template_parser *parser, enum template_operator *operation)
{
    static const struct binary operators[] = {
        {"==", OPERATOR_EQUAL},      {"!=", OPERATOR_NOT_EQUAL}, {"<", OPERATOR_LESS},
        {"<=", OPERATOR_LESS_EQUAL}, {">", OPERATOR_GREATER},    {">=", OPERATOR_GREATER_EQUAL}};
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (skip_operator(parser, operators[i].text)) {
            *operation = operators[i].operation;
            return true;
        }
    }
    bool negated = template_parser_at(parser, TOKEN_NAME, "not") &&
                   parser->ahead.kind == TOKEN_NAME && parser->ahead.bytes == 2 &&
                   memcmp(parser->ahead.data, "in", 2) == 0;
    if (negated) {
        template_parser_advance(parser);
    }
    *operation = negated ? OPERATOR_NOT_IN : OPERATOR_IN;
    return skip_name(parser, "in");
}

static struct template_node *parse_comparison(struct template_parser *parser)
{
    struct template_node *first = parse_sum(parser), *compare = NULL, **last = NULL;
    enum template_operator operation;
    while (skip_comparison(parser, &operation)) {
        if (!compare) {
            compare = make_node(parser, NODE_COMPARE, first, NULL);
            last = &compare->items;
        }
        *last = template_parser_node(parser, NODE_OPERAND);
        (*last)->operation = operation;
        (*last)->a = parse_sum(parser);
        last = &(*last)->next;
    }
    return compare ? compare : first;
}

static struct template_node *parse_not(struct template_parser *parser)
{
    if (!template_parser_at(parser, TOKEN_NAME, "not")) {
        return parse_comparison(parser);
    }
    struct template_node *node = template_parser_node(parser, NODE_NOT);
    template_parser_advance(parser);
    template_enter(parser->context);
    node->a = parse_not(parser);
    template_leave(parser->context);
    return node;
}

static struct template_node *parse_and(struct template_parser *parser)
{
    struct template_node *left = parse_not(parser);
    while (skip_name(parser, "and")) {
        left = make_node(parser, NODE_AND, left, NULL);
        left->b = parse_not(parser);
    }
    return left;
}

static struct template_node *parse_or(struct template_parser *parser)
{
    struct template_node *left = parse_and(parser);
    while (skip_name(parser, "or")) {
        left = make_node(parser, NODE_OR, left, NULL);
        left->b = parse_and(parser);
    }
    return left;
}

struct template_node *template_parse_expression(struct template_parser *parser)
{
    template_enter(parser->context);
    struct template_node *node = parse_or(parser);
    while (skip_name(parser, "if")) {
        struct template_node *condition = make_node(parser, NODE_CONDITION, NULL, node);
        parser->conditional++;
        condition->a = parse_or(parser);
        if (skip_name(parser, "else")) {
            condition->c = template_parse_expression(parser);
        }
        parser->conditional--;
        node = condition;
    }
    template_leave(parser->context);
    return node;
}

/* ---- tuples and targets ------------------------------------------------------------------- */

static bool at_tuple_end(const struct template_parser *parser)
{
    return parser->current.kind == TOKEN_OUTPUT_END || parser->current.kind == TOKEN_BLOCK_END ||
           at_operator(parser, ")") || at_operator(parser, "=") ||
           template_parser_at(parser, TOKEN_NAME, "in") ||
           template_parser_at(parser, TOKEN_NAME, "recursive");
}

/* item, or a tuple if a comma follows it. */
static struct template_node *parse_list(struct template_parser *parser, parse_function parse_item)
{
    struct template_node *first = parse_item(parser);
    if (!at_operator(parser, ",")) {
        return first;
    }
    struct template_node *tuple = template_parser_node(parser, NODE_TUPLE);
    struct template_node *last = tuple->items = first;
    while (skip_operator(parser, ",") && !at_tuple_end(parser)) {
        last->next = parse_item(parser);
        last = last->next;
    }
    return tuple;
}

struct template_node *template_parse_tuple(struct template_parser *parser, bool with_condition)
{
    return parse_list(parser, with_condition ? template_parse_expression : parse_or);
}

static struct template_node *parse_target(struct template_parser *parser, bool with_namespace);

static struct template_node *parse_plain_target(struct template_parser *parser)
{
    return parse_target(parser, false);
}

static struct template_node *parse_namespace_target(struct template_parser *parser)
{
    return parse_target(parser, true);
}

static struct template_node *parse_target(struct template_parser *parser, bool with_namespace)
{
    if (skip_operator(parser, "(")) {
        template_enter(parser->context);
        struct template_node *inner =
            parse_list(parser, with_namespace ? parse_namespace_target : parse_plain_target);
        template_leave(parser->context);
        template_parser_expect(parser, TOKEN_OPERATOR, ")");
        return inner;
    }
    if (parser->current.kind != TOKEN_NAME) {
        template_parser_unexpected(parser, "a name to assign to");
    }
    struct template_node *node = parse_name(parser);
    if (node->kind == NODE_CONSTANT) {
        template_fail(parser->context, "a constant cannot be assigned to");
    }
    if (with_namespace && skip_operator(parser, ".")) {
        node = make_node(parser, NODE_ATTRIBUTE, node, NULL);
        node->name = template_parser_name(parser);
    }
    return node;
}

struct template_node *template_parse_target(struct template_parser *parser, bool with_namespace)
{
    return parse_list(parser, with_namespace ? parse_namespace_target : parse_plain_target);
}
