/* Statements: text, output, branches, loops, assignments, macros. What they print goes to the
 * output buffer; what a macro or a block captures is taken off its end again.
 */
#include <assert.h>

#include "engine/text/chat_template_internal.h"

static struct template_scope *new_scope(struct template_context *context,
                                        struct template_scope *parent)
{
    struct template_scope *scope = template_allocate(context, sizeof(*scope));
    *scope = (struct template_scope){.parent = parent};
    return scope;
}

static void set_name(struct template_context *context, struct template_scope *scope,
                     const struct template_string *name, struct template_value value)
{
    template_dict_set(context, &scope->names, template_from_string(name), value);
}

static void set_special(struct template_context *context, struct template_scope *scope,
                        const char *name, struct template_value value)
{
    set_name(context, scope, template_string_literal(context, name), value);
}

/* ---- assignment --------------------------------------------------------------------------- */

static void assign_attribute(struct template_context *context, const struct template_node *target,
                             struct template_value value)
{
    struct template_value owner = template_evaluate(context, target->a);
    if (owner.kind != VALUE_NAMESPACE) {
        template_require(context, owner);
        template_fail(context, "only an attribute of a namespace can be set, not of a %s",
                      template_type(owner));
    }
    template_dict_set(context, owner.dict, template_from_string(target->name), value);
}

static void assign(struct template_context *context, struct template_scope *scope,
                   const struct template_node *target, struct template_value value)
{
    if (target->kind == NODE_NAME) {
        set_name(context, scope, target->name, value);
        return;
    }
    if (target->kind == NODE_ATTRIBUTE) {
        assign_attribute(context, target, value);
        return;
    }
    assert(target->kind == NODE_TUPLE);
    const struct template_list *parts = template_iterate(context, value);
    size_t i = 0;
    for (const struct template_node *part = target->items; part; part = part->next, i++) {
        if (i < parts->count) {
            assign(context, scope, part, parts->items[i]);
        }
    }
    if (i != parts->count) {
        template_fail(context, "%zu values cannot be unpacked into %zu names", parts->count, i);
    }
}

/* Runs the body in a scope of its own. */
static void run_scoped(struct template_context *context, const struct template_node *body)
{
    struct template_scope *outside = context->scope;
    context->scope = new_scope(context, outside);
    template_run(context, body);
    context->scope = outside;
}

/* What the body prints, through the filters. */
static struct template_value capture(struct template_context *context,
                                     const struct template_node *body,
                                     const struct template_node *filters)
{
    size_t mark = context->out_bytes;
    run_scoped(context, body);
    struct template_value text = template_from_string(template_take(context, mark));
    context->captured = text;
    return filters ? template_evaluate(context, filters) : text;
}

static void run_with(struct template_context *context, const struct template_node *node)
{
    struct template_scope *outside = context->scope, *inside = new_scope(context, outside);
    for (const struct template_node *set = node->items; set; set = set->next) {
        assign(context, inside, set->a, template_evaluate(context, set->b));
    }
    context->scope = inside;
    template_run(context, node->body);
    context->scope = outside;
}

/* ---- loops -------------------------------------------------------------------------------- */

/* The items for which `if` holds. */
static struct template_list *filter_items(struct template_context *context,
                                          const struct template_node *node,
                                          struct template_scope *outside,
                                          const struct template_list *items)
{
    struct template_list *kept = template_list_new(context, 0);
    for (size_t i = 0; i < items->count; i++) {
        context->scope = new_scope(context, outside);
        assign(context, context->scope, node->a, items->items[i]);
        if (template_truth(template_evaluate(context, node->c))) {
            template_list_add(context, kept, items->items[i]);
        }
    }
    context->scope = outside;
    return kept;
}

static void run_loop(struct template_context *context, const struct template_node *node,
                     struct template_scope *outside, struct template_value iterable, size_t depth)
{
    struct template_scope *before = context->scope;
    struct template_list *items = template_iterate(context, iterable);
    if (node->c) {
        items = filter_items(context, node, outside, items);
    }
    struct template_loop *loop = template_allocate(context, sizeof(*loop));
    *loop = (struct template_loop){.node = node,
                                   .scope = outside,
                                   .items = items->items,
                                   .count = items->count,
                                   .depth = depth};
    static const struct template_string name = {.data = "loop", .bytes = 4, .points = 4};
    struct template_value loop_value = {.kind = VALUE_LOOP, .loop = loop};
    for (; loop->index < loop->count; loop->index++) {
        context->scope = new_scope(context, outside);
        set_name(context, context->scope, &name, loop_value);
        assign(context, context->scope, node->a, items->items[loop->index]);
        template_run(context, node->body);
        bool stop = context->flow == FLOW_BREAK;
        context->flow = FLOW_ON;
        if (stop) {
            break;
        }
    }
    context->scope = outside;
    if (items->count == 0) {
        run_scoped(context, node->otherwise);
    }
    context->scope = before;
}

struct template_value template_run_loop_again(struct template_context *context,
                                              const struct template_loop *loop,
                                              struct template_value items)
{
    size_t mark = context->out_bytes;
    run_loop(context, loop->node, loop->scope, items, loop->depth + 1);
    return template_from_string(template_take(context, mark));
}

/* ---- macros ------------------------------------------------------------------------------- */

static struct template_value take_keyword(struct template_context *context,
                                          struct template_dict *keywords,
                                          const struct template_string *name)
{
    struct template_value key = template_from_string(name), value = {.kind = VALUE_MISSING};
    struct template_value *found = keywords ? template_dict_find(context, keywords, key) : NULL;
    if (found) {
        value = *found;
        template_dict_remove(context, keywords, key);
    }
    return value;
}

static struct template_dict *copy_keywords(struct template_context *context,
                                           const struct template_dict *keywords)
{
    struct template_dict *copy = template_dict_new(context);
    for (size_t i = 0; keywords && i < keywords->count; i++) {
        template_dict_set(context, copy, keywords->entries[i].key, keywords->entries[i].value);
    }
    return copy;
}

/* Arguments that no parameter takes: for varargs, kwargs and caller, or too many. */
static void bind_rest(struct template_context *context, const struct template_node *node,
                      const struct template_call *call, size_t n_parameters,
                      struct template_dict *keywords)
{
    if (node->uses_caller) {
        struct template_value caller =
            take_keyword(context, keywords, template_string_literal(context, "caller"));
        set_special(context, context->scope, "caller",
                    template_is_given(caller) ? caller : template_undefined(NULL));
    }
    const struct template_string *name = node->name;
    if (node->uses_kwargs) {
        set_special(context, context->scope, "kwargs", template_from_dict(keywords));
    } else if (keywords->count > 0) {
        const struct template_string *keyword = keywords->entries[0].key.string;
        template_fail(context, "macro '%.*s' takes no argument '%.*s'", name ? (int)name->bytes : 0,
                      name ? name->data : "", (int)keyword->bytes, keyword->data);
    }
    if (!node->uses_varargs && call->n_args > n_parameters) {
        template_fail(context, "macro '%.*s' takes not more than %zu arguments",
                      name ? (int)name->bytes : 0, name ? name->data : "", n_parameters);
    }
    if (node->uses_varargs) {
        struct template_list *rest = template_list_new(context, 0);
        for (size_t i = n_parameters; i < call->n_args; i++) {
            template_list_add(context, rest, call->args[i]);
        }
        set_special(context, context->scope, "varargs", template_from_list(VALUE_TUPLE, rest));
    }
}

/* Binds the arguments in context->scope, the macro's own. */
static void bind_arguments(struct template_context *context, const struct template_node *node,
                           const struct template_call *call)
{
    struct template_dict *keywords = copy_keywords(context, call->keywords);
    size_t i = 0;
    for (const struct template_node *parameter = node->items; parameter;
         parameter = parameter->next, i++) {
        struct template_value value =
            i < call->n_args ? call->args[i] : take_keyword(context, keywords, parameter->name);
        if (!template_is_given(value)) {
            value = parameter->a ? template_evaluate(context, parameter->a)
                                 : template_undefined(parameter);
        }
        set_name(context, context->scope, parameter->name, value);
    }
    bind_rest(context, node, call, i, keywords);
}

struct template_value template_run_macro(struct template_context *context,
                                         const struct template_macro *macro,
                                         const struct template_call *call)
{
    struct template_scope *outside = context->scope;
    size_t mark = context->out_bytes;
    context->scope = new_scope(context, macro->scope);
    bind_arguments(context, macro->node, call);
    template_run(context, macro->node->body);
    context->scope = outside;
    return template_from_string(template_take(context, mark));
}

static struct template_value new_macro(struct template_context *context,
                                       const struct template_node *node)
{
    struct template_macro *macro = template_allocate(context, sizeof(*macro));
    *macro = (struct template_macro){.node = node, .scope = context->scope};
    return (struct template_value){.kind = VALUE_MACRO, .macro = macro};
}

static void run_call_block(struct template_context *context, const struct template_node *node)
{
    struct template_node caller = {.name = template_string_literal(context, "caller"),
                                   .value = new_macro(context, node)};
    struct template_node call = *node->a;
    call.b = &caller;
    template_print(context, template_evaluate(context, &call));
}

/* ---- statements --------------------------------------------------------------------------- */

static void run_if(struct template_context *context, const struct template_node *node)
{
    for (const struct template_node *branch = node->items; branch; branch = branch->next) {
        if (!branch->a || template_truth(template_evaluate(context, branch->a))) {
            template_run(context, branch->body);
            return;
        }
    }
}

static void run_statement(struct template_context *context, const struct template_node *node)
{
    switch (node->kind) {
    case NODE_TEXT:
        template_append_string(context, node->value.string);
        break;
    case NODE_OUTPUT:
        template_print(context, template_evaluate(context, node->a));
        break;
    case NODE_IF:
        run_if(context, node);
        break;
    case NODE_FOR:
        run_loop(context, node, context->scope, template_evaluate(context, node->b), 1);
        break;
    case NODE_SET:
        assign(context, context->scope, node->a, template_evaluate(context, node->b));
        break;
    case NODE_SET_BLOCK:
        assign(context, context->scope, node->a, capture(context, node->body, node->b));
        break;
    case NODE_MACRO:
        set_name(context, context->scope, node->name, new_macro(context, node));
        break;
    case NODE_CALL_BLOCK:
        run_call_block(context, node);
        break;
    case NODE_FILTER_BLOCK:
        template_print(context, capture(context, node->body, node->a));
        break;
    case NODE_SCOPE:
        run_with(context, node);
        break;
    case NODE_BREAK:
        context->flow = FLOW_BREAK;
        break;
    case NODE_CONTINUE:
        context->flow = FLOW_CONTINUE;
        break;
    default:
        assert(!"a statement");
    }
}

void template_run(struct template_context *context, const struct template_node *body)
{
    template_enter(context);
    for (const struct template_node *node = body; node && context->flow == FLOW_ON;
         node = node->next) {
        template_charge(context, 0);
        context->line = node->line;
        run_statement(context, node);
    }
    template_leave(context);
}
