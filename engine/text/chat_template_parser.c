/* Statements of a template to a syntax tree, and the token helpers of both parsers. */
#include <string.h>

#include "engine/text/chat_template_internal.h"

/* ---- tokens ------------------------------------------------------------------------------- */

void template_parser_advance(struct template_parser *parser)
{
    parser->current = parser->ahead;
    if (parser->current.kind != TOKEN_END) {
        parser->ahead = template_lexer_next(&parser->lexer);
    }
    parser->context->line = parser->current.line;
}

bool template_parser_at(const struct template_parser *parser, enum template_token_kind kind,
                        const char *text)
{
    return parser->current.kind == kind && parser->current.bytes == strlen(text) &&
           memcmp(parser->current.data, text, parser->current.bytes) == 0;
}

bool template_parser_skip(struct template_parser *parser, enum template_token_kind kind,
                          const char *text)
{
    if (!template_parser_at(parser, kind, text)) {
        return false;
    }
    template_parser_advance(parser);
    return true;
}

void template_parser_unexpected(struct template_parser *parser, const char *wanted)
{
    struct template_token token = parser->current;
    parser->context->line = token.line;
    if (token.kind == TOKEN_END) {
        template_fail(parser->context, "expected %s, but the template ends here", wanted);
    }
    if (token.kind == TOKEN_TEXT || token.kind == TOKEN_BLOCK_BEGIN ||
        token.kind == TOKEN_OUTPUT_BEGIN) {
        template_fail(parser->context, "expected %s, not text", wanted);
    }
    template_fail(parser->context, "expected %s, not '%.*s'", wanted,
                  template_clip(token.data, token.bytes), token.data);
}

void template_parser_expect(struct template_parser *parser, enum template_token_kind kind,
                            const char *text)
{
    if (!template_parser_skip(parser, kind, text)) {
        char wanted[32] = "'";
        strcat(strncat(wanted, text, 28), "'");
        template_parser_unexpected(parser, wanted);
    }
}

const struct template_string *template_parser_string(struct template_parser *parser,
                                                     const char *data, size_t bytes)
{
    struct template_string *string = template_allocate(parser->context, sizeof(*string));
    *string = *template_string_view(parser->context, data, bytes);
    string->hash = template_string_hash(string);
    return string;
}

const struct template_string *template_parser_name(struct template_parser *parser)
{
    if (parser->current.kind != TOKEN_NAME) {
        template_parser_unexpected(parser, "a name");
    }
    const struct template_string *name =
        template_parser_string(parser, parser->current.data, parser->current.bytes);
    template_parser_advance(parser);
    return name;
}

struct template_node *template_parser_node(struct template_parser *parser,
                                           enum template_node_kind kind)
{
    struct template_node *node = template_allocate(parser->context, sizeof(*node));
    *node = (struct template_node){.kind = kind, .line = parser->current.line};
    return node;
}

static bool at_name(const struct template_parser *parser, const char *name)
{
    return template_parser_at(parser, TOKEN_NAME, name);
}

static void expect_end(struct template_parser *parser)
{
    if (parser->current.kind != TOKEN_BLOCK_END) {
        template_parser_unexpected(parser, "'%}'");
    }
    template_parser_advance(parser);
}

/* ---- bodies ------------------------------------------------------------------------------- */

static struct template_node *parse_statement(struct template_parser *parser);

static struct template_node *parse_output(struct template_parser *parser)
{
    template_parser_advance(parser);
    struct template_node *node = template_parser_node(parser, NODE_OUTPUT);
    node->a = template_parse_tuple(parser, true);
    if (parser->current.kind != TOKEN_OUTPUT_END) {
        template_parser_unexpected(parser, "'}}'");
    }
    template_parser_advance(parser);
    return node;
}

/* Nodes up to a block tag that starts with one of the names (separated by spaces), which is left to
 * be read; NULL ends: up to the end of the template. */
static struct template_node *parse_nodes(struct template_parser *parser, const char *const *ends)
{
    struct template_node *first = NULL, **last = &first;
    while (parser->current.kind != TOKEN_END) {
        struct template_token token = parser->current;
        if (token.kind == TOKEN_OUTPUT_BEGIN) {
            *last = parse_output(parser);
        } else if (token.kind == TOKEN_BLOCK_BEGIN) {
            template_parser_advance(parser);
            for (const char *const *end = ends; end && *end; end++) {
                if (at_name(parser, *end)) {
                    return first;
                }
            }
            *last = parse_statement(parser);
        } else {
            *last = template_parser_node(parser, NODE_TEXT);
            (*last)->value =
                template_from_string(template_parser_string(parser, token.data, token.bytes));
            template_parser_advance(parser);
        }
        last = &(*last)->next;
    }
    if (ends) {
        char wanted[64] = "{% ";
        strcat(strncat(wanted, ends[0], 40), " %}");
        template_parser_unexpected(parser, wanted);
    }
    return first;
}

/* The rest of the opening tag, then nodes up to one of the ends. */
static struct template_node *parse_body(struct template_parser *parser, const char *const *ends)
{
    template_parser_skip(parser, TOKEN_OPERATOR, ":");
    expect_end(parser);
    return parse_nodes(parser, ends);
}

/* A body with one possible end, which is read too. */
static struct template_node *parse_closed_body(struct template_parser *parser, const char *end)
{
    const char *const ends[] = {end, NULL};
    struct template_node *body = parse_body(parser, ends);
    template_parser_advance(parser);
    expect_end(parser);
    return body;
}

/* ---- statements --------------------------------------------------------------------------- */

static struct template_node *parse_if(struct template_parser *parser)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    struct template_node *node = template_parser_node(parser, NODE_IF);
    struct template_node **last = &node->items;
    bool last_branch = false;
    parser->conditional++;
    while (!at_name(parser, "endif")) {
        if (last_branch) {
            template_parser_unexpected(parser, "{% endif %}");
        }
        *last = template_parser_node(parser, NODE_BRANCH);
        last_branch = at_name(parser, "else");
        template_parser_advance(parser);
        if (!last_branch) {
            (*last)->a = template_parse_tuple(parser, false);
        }
        (*last)->body = parse_body(parser, ends);
        last = &(*last)->next;
    }
    parser->conditional--;
    template_parser_advance(parser);
    expect_end(parser);
    return node;
}

static struct template_node *parse_for(struct template_parser *parser)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct template_node *node = template_parser_node(parser, NODE_FOR);
    template_parser_advance(parser);
    node->a = template_parse_target(parser, false);
    template_parser_expect(parser, TOKEN_NAME, "in");
    node->b = template_parse_tuple(parser, false);
    if (template_parser_skip(parser, TOKEN_NAME, "if")) {
        node->c = template_parse_expression(parser);
    }
    node->recursive = template_parser_skip(parser, TOKEN_NAME, "recursive");
    parser->loops++;
    node->body = parse_body(parser, ends);
    parser->loops--;
    if (template_parser_skip(parser, TOKEN_NAME, "else")) {
        node->otherwise = parse_closed_body(parser, "endfor");
        return node;
    }
    template_parser_advance(parser);
    expect_end(parser);
    return node;
}

static struct template_node *parse_set(struct template_parser *parser)
{
    struct template_node *node = template_parser_node(parser, NODE_SET);
    template_parser_advance(parser);
    node->a = template_parse_target(parser, true);
    if (template_parser_skip(parser, TOKEN_OPERATOR, "=")) {
        node->b = template_parse_tuple(parser, true);
        expect_end(parser);
        return node;
    }
    node->kind = NODE_SET_BLOCK;
    node->b = template_parse_filters(parser, NULL, false);
    node->body = parse_closed_body(parser, "endset");
    return node;
}

/* (a, b=1) */
static void parse_parameters(struct template_parser *parser, struct template_node *macro)
{
    struct template_node **last = &macro->items;
    template_parser_expect(parser, TOKEN_OPERATOR, "(");
    while (!template_parser_skip(parser, TOKEN_OPERATOR, ")")) {
        if (macro->items) {
            template_parser_expect(parser, TOKEN_OPERATOR, ",");
        }
        bool optional = last != &macro->items && macro->b->a;
        struct template_node *parameter = template_parser_node(parser, NODE_PARAMETER);
        parameter->name = template_parser_name(parser);
        if (template_parser_skip(parser, TOKEN_OPERATOR, "=")) {
            parameter->a = template_parse_expression(parser);
        } else if (optional) {
            template_fail(parser->context, "a parameter without a default follows one with it");
        }
        *last = macro->b = parameter;
        last = &parameter->next;
    }
    macro->b = NULL;
}

/* The body of a macro; notes which of the special names it mentions. */
static void parse_macro_body(struct template_parser *parser, struct template_node *macro,
                             const char *end)
{
    bool varargs = parser->saw_varargs, kwargs = parser->saw_kwargs, caller = parser->saw_caller;
    uint32_t loops = parser->loops;
    parser->saw_varargs = parser->saw_kwargs = parser->saw_caller = false;
    parser->loops = 0;
    macro->body = parse_closed_body(parser, end);
    macro->uses_varargs = parser->saw_varargs;
    macro->uses_kwargs = parser->saw_kwargs;
    macro->uses_caller = parser->saw_caller;
    parser->saw_varargs |= varargs;
    parser->saw_kwargs |= kwargs;
    parser->saw_caller |= caller;
    parser->loops = loops;
}

static struct template_node *parse_macro(struct template_parser *parser)
{
    struct template_node *node = template_parser_node(parser, NODE_MACRO);
    template_parser_advance(parser);
    node->name = template_parser_name(parser);
    parse_parameters(parser, node);
    parse_macro_body(parser, node, "endmacro");
    return node;
}

static struct template_node *parse_call_block(struct template_parser *parser)
{
    struct template_node *node = template_parser_node(parser, NODE_CALL_BLOCK);
    template_parser_advance(parser);
    if (template_parser_at(parser, TOKEN_OPERATOR, "(")) {
        parse_parameters(parser, node);
    }
    node->a = template_parse_expression(parser);
    if (node->a->kind != NODE_CALL) {
        template_fail(parser->context, "{%% call %%} needs the call of a macro");
    }
    parse_macro_body(parser, node, "endcall");
    return node;
}

static struct template_node *parse_filter_block(struct template_parser *parser)
{
    struct template_node *node = template_parser_node(parser, NODE_FILTER_BLOCK);
    template_parser_advance(parser);
    node->a = template_parse_filters(parser, NULL, true);
    node->body = parse_closed_body(parser, "endfilter");
    return node;
}

static struct template_node *parse_with(struct template_parser *parser)
{
    struct template_node *node = template_parser_node(parser, NODE_SCOPE);
    struct template_node **last = &node->items;
    template_parser_advance(parser);
    while (parser->current.kind == TOKEN_NAME || node->items) {
        struct template_node *set = template_parser_node(parser, NODE_SET);
        set->a = template_parser_node(parser, NODE_NAME);
        set->a->name = template_parser_name(parser);
        template_parser_expect(parser, TOKEN_OPERATOR, "=");
        set->b = template_parse_expression(parser);
        *last = set;
        last = &set->next;
        if (!template_parser_skip(parser, TOKEN_OPERATOR, ",")) {
            break;
        }
    }
    node->body = parse_closed_body(parser, "endwith");
    return node;
}

/* Marks what the assistant says, for training; here it only opens a scope. */
static struct template_node *parse_generation(struct template_parser *parser)
{
    struct template_node *node = template_parser_node(parser, NODE_SCOPE);
    template_parser_advance(parser);
    node->body = parse_closed_body(parser, "endgeneration");
    return node;
}

static struct template_node *parse_flow(struct template_parser *parser)
{
    if (parser->loops == 0) {
        template_parser_unexpected(parser, "a loop around break or continue");
    }
    struct template_node *node =
        template_parser_node(parser, at_name(parser, "break") ? NODE_BREAK : NODE_CONTINUE);
    template_parser_advance(parser);
    expect_end(parser);
    return node;
}

static struct template_node *parse_statement(struct template_parser *parser)
{
    static const struct {
        const char *name;
        struct template_node *(*parse)(struct template_parser *parser);
    } statements[] = {
        {"if", parse_if},           {"for", parse_for},
        {"set", parse_set},         {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},       {"generation", parse_generation},
        {"break", parse_flow},      {"continue", parse_flow},
    };
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        if (at_name(parser, statements[i].name)) {
            if (parser->context->depth > TEMPLATE_MAX_NESTING) {
                template_fail(parser->context, "blocks are nested too deeply");
            }
            template_enter(parser->context);
            struct template_node *node = statements[i].parse(parser);
            template_leave(parser->context);
            return node;
        }
    }
    template_parser_unexpected(parser, "a known statement");
}

struct template_node *template_parser_run(struct template_context *context, const char *text,
                                          size_t bytes)
{
    struct template_parser parser = {.context = context};
    template_lexer_init(&parser.lexer, context, text, bytes);
    parser.ahead = template_lexer_next(&parser.lexer);
    template_parser_advance(&parser);
    struct template_node *first = template_parser_node(&parser, NODE_SCOPE);
    first->body = parse_nodes(&parser, NULL);
    return first;
}
