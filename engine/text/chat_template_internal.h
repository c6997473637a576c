/* What the parts of the template interpreter share: values, the syntax tree, and the context of one
 * parse or one rendering.
 *
 * Semantics are those of Jinja 3.1 as Hugging Face configures it (trim_blocks, lstrip_blocks,
 * autoescape off, loop controls, lenient undefined values), so values behave as Python's do.
 *
 * Two conventions keep the code small. All memory comes from the arena of the context and is never
 * freed singly. And what goes wrong ends in template_fail, which leaves the sentence in the error
 * and jumps back to the public function (chat_template.c) that made the context: only that function
 * releases the arena, so no path leaks, and nothing between may own anything else.
 *
 * Text is built at the end of the one output buffer: remember context->out_bytes, append, then
 * template_take what was appended as a string.
 */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <jansson.h>

#include "engine/text/chat_template.h"

#define TEMPLATE_MAX_NESTING 200     /* brackets and blocks in the source */
#define TEMPLATE_MAX_DEPTH 1000      /* evaluations inside each other, macros included */
#define TEMPLATE_MAX_STEPS 10000000u /* nodes evaluated, or 64 bytes of text looked at */
#define TEMPLATE_MAX_OUTPUT (UINT64_C(16) << 20) /* bytes */
#define TEMPLATE_MAX_MEMORY (UINT64_C(256) << 20)
#define TEMPLATE_MAX_RANGE 100000 /* as Jinja's sandbox */

/* ---- values ------------------------------------------------------------------------------- */

struct template_node;
struct template_function;

/* Never changed after creation; views into each other are free. */
struct template_string {
    const char *data; /* UTF-8, not NUL-terminated */
    size_t bytes;
    size_t points; /* code points */
    uint64_t hash; /* 0: not computed */
};

enum template_kind {
    VALUE_MISSING, /* an argument that was not given */
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LIST, /* from here to VALUE_RANGE: struct template_list */
    VALUE_TUPLE,
    VALUE_GENERATOR, /* of filters such as map: true even if empty, iterated once */
    VALUE_KEYS,      /* of dict methods */
    VALUE_VALUES,
    VALUE_ITEMS,
    VALUE_RANGE,
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_LOOP,
    VALUE_MACRO,
    VALUE_FUNCTION,
    VALUE_METHOD,
};

struct template_value {
    enum template_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double number;
        const struct template_string *string;
        struct template_list *list;
        struct template_dict *dict; /* VALUE_DICT and VALUE_NAMESPACE */
        struct template_loop *loop;
        struct template_macro *macro;
        const struct template_function *function;
        struct template_method *method;
        const struct template_node *node; /* VALUE_UNDEFINED: what was looked up, or NULL */
    };
};

struct template_list {
    struct template_value *items;
    size_t count, capacity;
    int64_t start, stop, step; /* VALUE_RANGE, for its text */
    bool group;                /* VALUE_TUPLE of groupby: has .grouper and .list */
};

struct template_entry {
    struct template_value key, value;
    uint64_t hash;
};

/* Keeps the order of insertion. */
struct template_dict {
    struct template_entry *entries;
    size_t count, capacity;
    uint32_t *slots; /* entry + 1, or 0; NULL while the dict is small */
    size_t n_slots;  /* a power of two */
};

/* Names visible at one place; a lookup goes on in the parent. */
struct template_scope {
    struct template_scope *parent;
    struct template_dict names;
};

struct template_loop {
    const struct template_node *node;
    struct template_scope *scope; /* around the loop, for a recursive one */
    const struct template_value *items;
    size_t count, index, depth;
    struct template_value changed; /* what loop.changed saw last, or VALUE_MISSING */
};

struct template_macro {
    const struct template_node *node; /* NODE_MACRO or NODE_CALL_BLOCK */
    struct template_scope *scope;     /* where it was defined */
};

struct template_method {
    struct template_value receiver;
    const struct template_function *function;
};

/* Arguments of one call. `bound` follows the function's parameter names. */
#define TEMPLATE_MAX_PARAMETERS 6
struct template_call {
    const char *name; /* for messages */
    struct template_value subject;
    const struct template_value *args;
    size_t n_args;
    const struct template_dict *keywords; /* or NULL */
    struct template_value bound[TEMPLATE_MAX_PARAMETERS];
};

struct template_context;

/* One row of a table of filters, tests, methods or globals. */
struct template_function {
    const char *name;
    /* Names separated by spaces, "?" after optional ones; NULL if it looks at args itself. */
    const char *parameters;
    struct template_value (*call)(struct template_context *context,
                                  const struct template_call *call);
};

/* ---- the context -------------------------------------------------------------------------- */

struct template_chunk;

struct template_context {
    jmp_buf fail;
    struct error *err;
    uint32_t line; /* where we are, for messages; 0: nowhere */
    uint32_t depth;
    uint64_t steps;

    struct template_chunk *chunks;
    char *free_memory;
    size_t free_bytes;
    uint64_t memory; /* total taken */

    char *out;
    size_t out_bytes, out_capacity;

    struct template_scope *scope;
    const struct tm *now;
    enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;
    struct template_value captured; /* the text a {% filter %} or {% set %} block works on */
    json_t *json;                   /* of from_json while it is being converted */
};

/* Leaves "chat template, line N: ..." in the error and jumps. */
_Noreturn void template_fail(struct template_context *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How many bytes of a text a sentence quotes: whole characters, at most 60 bytes. */
int template_clip(const char *data, size_t bytes);
/* The template's own message, without the prefix. */
_Noreturn void template_raise(struct template_context *context,
                              const struct template_string *message);
void *template_allocate(struct template_context *context, size_t bytes);
/* Counts work of looking at `bytes` bytes; every loop and search calls it. */
void template_charge(struct template_context *context, uint64_t bytes);
/* Around every recursion. */
void template_enter(struct template_context *context);
void template_leave(struct template_context *context);

void template_append(struct template_context *context, const void *data, size_t bytes);
void template_append_text(struct template_context *context, const char *text);
void template_append_string(struct template_context *context, const struct template_string *string);
void template_append_point(struct template_context *context, int32_t point);
void template_append_repeated(struct template_context *context, char byte, int64_t count);
const struct template_string *template_take(struct template_context *context, size_t from);

/* chat_template_render at a fixed time, for tests. */
bool chat_template_render_at(const struct chat_template *template, const json_t *variables,
                             const struct tm *now, char **text, size_t *bytes, struct error *err);

/* ---- strings (chat_template_string.c) ----------------------------------------------------- */

/* data must live as long as the context. */
const struct template_string *template_string_view(struct template_context *context,
                                                   const char *data, size_t bytes);
const struct template_string *template_string_literal(struct template_context *context,
                                                      const char *text);
uint64_t template_string_hash(const struct template_string *string);
bool template_string_equal(const struct template_string *a, const struct template_string *b);
bool template_string_is(const struct template_string *string, const char *text);
/* -1, 0 or 1, by code points. */
int template_string_compare(const struct template_string *a, const struct template_string *b);
/* Code points from..to, in code points. */
const struct template_string *template_string_cut(struct template_context *context,
                                                  const struct template_string *string, size_t from,
                                                  size_t to);
/* Bytes from..to; both must be character boundaries. */
const struct template_string *template_string_part(struct template_context *context,
                                                   const struct template_string *string,
                                                   size_t from, size_t to);
/* Byte offset of needle at or after `from`, or SIZE_MAX. */
size_t template_string_find(struct template_context *context, const struct template_string *string,
                            const struct template_string *needle, size_t from);
/* chars NULL: white space. */
const struct template_string *template_string_strip(struct template_context *context,
                                                    const struct template_string *string,
                                                    const struct template_string *chars, bool left,
                                                    bool right);
/* count < 0: all. */
const struct template_string *template_string_replace(struct template_context *context,
                                                      const struct template_string *string,
                                                      const struct template_string *old,
                                                      const struct template_string *new,
                                                      int64_t count);
enum template_case { CASE_LOWER, CASE_UPPER, CASE_SWAP, CASE_CAPITALIZE, CASE_TITLE };
const struct template_string *template_string_case(struct template_context *context,
                                                   const struct template_string *string,
                                                   enum template_case way);
struct template_list *template_string_lines(struct template_context *context,
                                            const struct template_string *string, bool keep_ends);

/* One code point at the front of 0 < n bytes; what is not UTF-8 counts as one byte of U+FFFD. */
size_t template_point_read(const char *data, size_t n, int32_t *point);
/* As Python's str.isspace and the \s of its regular expressions. */
bool template_point_is_space(int32_t point);
bool template_point_is_alpha(int32_t point);
bool template_point_is_digit(int32_t point);
bool template_point_is_printable(int32_t point);
size_t template_space_before(const char *data, size_t end); /* offset after stripping the right */
size_t template_space_after(const char *data, size_t at, size_t end);

/* ---- values (chat_template_value.c) ------------------------------------------------------- */

struct template_value template_undefined(const struct template_node *node);
struct template_value template_none(void);
struct template_value template_bool(bool boolean);
struct template_value template_integer(int64_t integer);
struct template_value template_float(double number);
struct template_value template_from_string(const struct template_string *string);
struct template_value template_from_list(enum template_kind kind, struct template_list *list);
struct template_value template_from_dict(struct template_dict *dict);
/* Strings are not copied: json must outlive the context, unless copy. */
struct template_value template_from_json(struct template_context *context, const json_t *json,
                                         bool copy);

static inline bool template_is_list(struct template_value value)
{
    return value.kind >= VALUE_LIST && value.kind <= VALUE_RANGE;
}
static inline bool template_is_given(struct template_value value)
{
    return value.kind != VALUE_MISSING;
}
static inline bool template_is_absent(struct template_value value)
{
    return value.kind == VALUE_MISSING || value.kind == VALUE_NONE;
}

struct template_list *template_list_new(struct template_context *context, size_t capacity);
void template_list_add(struct template_context *context, struct template_list *list,
                       struct template_value value);
struct template_value template_pair(struct template_context *context, struct template_value a,
                                    struct template_value b);

struct template_dict *template_dict_new(struct template_context *context);
/* NULL if absent. Fails on a key that cannot be hashed. */
struct template_value *template_dict_find(struct template_context *context,
                                          const struct template_dict *dict,
                                          struct template_value key);
void template_dict_set(struct template_context *context, struct template_dict *dict,
                       struct template_value key, struct template_value value);
bool template_dict_remove(struct template_context *context, struct template_dict *dict,
                          struct template_value key);

/* Python's name of the type, for messages. */
const char *template_type(struct template_value value);
bool template_truth(struct template_value value);
/* An argument that switches something on. */
static inline bool template_flag(struct template_value value)
{
    return template_is_given(value) && template_truth(value);
}
bool template_hashable(struct template_value value);
bool template_equal(struct template_context *context, struct template_value a,
                    struct template_value b);
bool template_same(struct template_value a, struct template_value b); /* "is" */
/* -1, 0, 1, or TEMPLATE_UNORDERED for a NaN; fails for kinds without an order. */
#define TEMPLATE_UNORDERED 2
int template_compare(struct template_context *context, struct template_value a,
                     struct template_value b);
bool template_contains(struct template_context *context, struct template_value container,
                       struct template_value item);
/* The items of anything iterable; the array may be shared, do not write to it. */
struct template_list *template_iterate(struct template_context *context,
                                       struct template_value value);
/* -1 if it has none. */
int64_t template_length(struct template_value value);
struct template_value template_attribute(struct template_context *context,
                                         struct template_value value,
                                         const struct template_string *name,
                                         const struct template_node *node);
struct template_value template_item(struct template_context *context, struct template_value value,
                                    struct template_value key, const struct template_node *node);
/* start, stop, step may be VALUE_NONE or VALUE_MISSING. */
struct template_value template_slice(struct template_context *context, struct template_value value,
                                     struct template_value start, struct template_value stop,
                                     struct template_value step);
/* Fails with "'x' is undefined" if it is. */
void template_require(struct template_context *context, struct template_value value);
/* Integers and booleans; fails otherwise, naming the use. */
int64_t template_to_integer(struct template_context *context, struct template_value value,
                            const char *use);
const struct template_string *template_to_string(struct template_context *context,
                                                 struct template_value value, const char *use);

/* ---- text forms (chat_template_print.c) --------------------------------------------------- */

void template_print(struct template_context *context, struct template_value value); /* str() */
void template_print_repr(struct template_context *context, struct template_value value);
/* A string is itself. */
const struct template_string *template_text(struct template_context *context,
                                            struct template_value value);
void template_print_float(struct template_context *context, double number);

struct template_json_style {
    bool ascii, sort_keys;
    const struct template_string *indent; /* per level, or NULL: all on one line */
    const struct template_string *item_separator, *key_separator;
};
void template_print_json(struct template_context *context, struct template_value value,
                         const struct template_json_style *style);

/* ---- formatting (chat_template_format.c) -------------------------------------------------- */

/* format % values */
struct template_value template_format_percent(struct template_context *context,
                                              const struct template_string *format,
                                              struct template_value values);
/* format.format(...) */
struct template_value template_format_braces(struct template_context *context,
                                             const struct template_string *format,
                                             const struct template_call *call);

/* ---- the tables --------------------------------------------------------------------------- */

const struct template_function *template_filter_find(const struct template_string *name);
const struct template_function *template_test_find(const struct template_string *name);
const struct template_function *template_global_find(const struct template_string *name);
/* NULL if values of this kind have no such method. */
const struct template_function *template_method_find(enum template_kind kind,
                                                     const struct template_string *name);
/* In one table that ends with a NULL name. */
const struct template_function *template_function_find(const struct template_function *table,
                                                       const struct template_string *name);
/* Begins the definition of a filter. */
#define FILTER(name) \
    static struct template_value filter_##name(struct template_context *context, \
                                               const struct template_call *call)
extern const struct template_function template_string_methods[]; /* chat_template_methods.c */
extern const struct template_function template_item_filters[];   /* chat_template_items.c */
extern const struct template_function template_text_filters[];   /* chat_template_filters.c */

/* Binds the arguments and calls. */
struct template_value template_function_call(struct template_context *context,
                                             const struct template_function *function,
                                             struct template_call *call);
/* Calls the filter or test named by the first argument after `skip` ones, with the rest. */
struct template_value template_filter_apply(struct template_context *context,
                                            const struct template_call *call, size_t skip,
                                            struct template_value subject);
bool template_test_apply(struct template_context *context, const struct template_call *call,
                         size_t skip, struct template_value subject);

/* ---- the syntax tree ---------------------------------------------------------------------- */

enum template_node_kind {
    /* Expressions. Lists of nodes hang together by `next`. */
    NODE_CONSTANT,  /* value */
    NODE_NAME,      /* name */
    NODE_LIST,      /* items */
    NODE_TUPLE,     /* items */
    NODE_DICT,      /* items: key, value, key, value, ... */
    NODE_NOT,       /* a */
    NODE_NEGATE,    /* a */
    NODE_PLUS,      /* a */
    NODE_BINARY,    /* a operator b */
    NODE_AND,       /* a, b */
    NODE_OR,        /* a, b */
    NODE_COMPARE,   /* a, then items: NODE_OPERAND */
    NODE_OPERAND,   /* operator a */
    NODE_CONDITION, /* b if a else c; c may be NULL */
    NODE_ATTRIBUTE, /* a.name */
    NODE_ITEM,      /* a[b] */
    NODE_SLICE,     /* a:b:c, each may be NULL; only as b of NODE_ITEM */
    NODE_CALL,      /* a(items); b: name and value of one more argument, see NODE_CALL_BLOCK */
    NODE_FILTER,    /* a|name(items); a NULL: the captured text */
    NODE_TEST,      /* a is name(items) */
    NODE_KEYWORD,   /* name=a; only in arguments */
    NODE_SPREAD,    /* *a; only in arguments */
    NODE_SPREAD_KEYWORDS, /* **a; only in arguments */
    /* Statements. */
    NODE_TEXT,         /* value */
    NODE_OUTPUT,       /* a */
    NODE_IF,           /* items: NODE_BRANCH */
    NODE_BRANCH,       /* a (NULL: else), body */
    NODE_FOR,          /* a in b if c, body, otherwise, recursive */
    NODE_SET,          /* a = b */
    NODE_SET_BLOCK,    /* a = body, through b if not NULL */
    NODE_MACRO,        /* name(items: NODE_PARAMETER), body, uses_... */
    NODE_PARAMETER,    /* name = a (or NULL) */
    NODE_CALL_BLOCK,   /* items: NODE_PARAMETER; a: NODE_CALL; body, uses_... */
    NODE_FILTER_BLOCK, /* body through a */
    NODE_SCOPE,        /* items: NODE_SET, evaluated outside; body */
    NODE_BREAK,
    NODE_CONTINUE,
};

enum template_operator {
    OPERATOR_ADD,
    OPERATOR_SUBTRACT,
    OPERATOR_MULTIPLY,
    OPERATOR_DIVIDE,
    OPERATOR_FLOOR_DIVIDE,
    OPERATOR_MODULO,
    OPERATOR_POWER,
    OPERATOR_CONCATENATE,
    OPERATOR_EQUAL,
    OPERATOR_NOT_EQUAL,
    OPERATOR_LESS,
    OPERATOR_LESS_EQUAL,
    OPERATOR_GREATER,
    OPERATOR_GREATER_EQUAL,
    OPERATOR_IN,
    OPERATOR_NOT_IN,
};

struct template_node {
    enum template_node_kind kind;
    enum template_operator operation;
    uint32_t line;
    bool recursive;
    bool uses_varargs, uses_kwargs, uses_caller; /* names that a macro's body mentions */
    struct template_node *a, *b, *c;
    struct template_node *items, *body, *otherwise, *next;
    const struct template_string *name;
    const struct template_function *function; /* of NODE_FILTER, NODE_TEST; NULL if unknown */
    struct template_value value;
};

/* ---- source to tree (chat_template_lexer.c, _parser.c, _expression.c, ...) ---- */

enum template_token_kind {
    TOKEN_END,
    TOKEN_TEXT, /* outside of tags */
    TOKEN_BLOCK_BEGIN,
    TOKEN_BLOCK_END,
    TOKEN_OUTPUT_BEGIN,
    TOKEN_OUTPUT_END,
    TOKEN_NAME,
    TOKEN_STRING,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_OPERATOR,
};

struct template_token {
    enum template_token_kind kind;
    uint32_t line;
    const char *data; /* as in the source, quotes included */
    size_t bytes;
};

struct template_lexer {
    struct template_context *context;
    const char *source; /* newlines normalised */
    size_t bytes, at;
    uint32_t line;
    enum template_token_kind inside; /* TOKEN_TEXT, TOKEN_BLOCK_BEGIN or TOKEN_OUTPUT_BEGIN */
    bool raw;                        /* inside {% raw %} */
    enum template_token_kind begin;  /* waits behind a piece of text; TOKEN_END: none */
    char brackets[TEMPLATE_MAX_NESTING];
    size_t n_brackets;
};

void template_lexer_init(struct template_lexer *lexer, struct template_context *context,
                         const char *text, size_t bytes);
struct template_token template_lexer_next(struct template_lexer *lexer);

struct template_parser {
    struct template_context *context;
    struct template_lexer lexer;
    struct template_token current, ahead;
    uint32_t conditional; /* inside an if: unknown filters and tests fail only when they run */
    uint32_t loops;
    bool saw_varargs, saw_kwargs, saw_caller;
};

struct template_node *template_parser_run(struct template_context *context, const char *text,
                                          size_t bytes);

void template_parser_advance(struct template_parser *parser);
bool template_parser_at(const struct template_parser *parser, enum template_token_kind kind,
                        const char *text);
bool template_parser_skip(struct template_parser *parser, enum template_token_kind kind,
                          const char *text);
void template_parser_expect(struct template_parser *parser, enum template_token_kind kind,
                            const char *text);
const struct template_string *template_parser_name(struct template_parser *parser);
/* Hashed at once: strings of the tree are read by many threads and never written again. */
const struct template_string *template_parser_string(struct template_parser *parser,
                                                     const char *data, size_t bytes);
_Noreturn void template_parser_unexpected(struct template_parser *parser, const char *wanted);
struct template_node *template_parser_node(struct template_parser *parser,
                                           enum template_node_kind kind);

/* The current token, and for strings all that follow it side by side (chat_template_literal.c). */
struct template_value template_parse_integer(struct template_parser *parser);
struct template_value template_parse_float(struct template_parser *parser);
struct template_value template_parse_strings(struct template_parser *parser);

struct template_node *template_parse_expression(struct template_parser *parser);
/* Without a trailing "if": the iterable of a for, the condition of an if. */
struct template_node *template_parse_tuple(struct template_parser *parser, bool with_condition);
/* Names, tuples of names and, if allowed, name.attribute. */
struct template_node *template_parse_target(struct template_parser *parser, bool with_namespace);
/* Filters after `subject`; first: the name comes at once, without "|". */
struct template_node *template_parse_filters(struct template_parser *parser,
                                             struct template_node *subject, bool first);

/* ---- running the tree (chat_template_eval.c, chat_template_run.c) ------------------------- */

struct template_value template_evaluate(struct template_context *context,
                                        const struct template_node *node);
struct template_value template_binary(struct template_context *context,
                                      enum template_operator operation, struct template_value a,
                                      struct template_value b);

void template_run(struct template_context *context, const struct template_node *body);
struct template_value template_run_macro(struct template_context *context,
                                         const struct template_macro *macro,
                                         const struct template_call *call);
/* loop(items) of a recursive loop. */
struct template_value template_run_loop_again(struct template_context *context,
                                              const struct template_loop *loop,
                                              struct template_value items);
