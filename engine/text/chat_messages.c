#include "engine/text/chat_messages.h"

#include <stdint.h>
#include <string.h>

#include "engine/text/json_values.h"

static bool no_memory(struct error *err)
{
    return error_set(err, "not enough memory for a chat");
}

/* ---- texts -------------------------------------------------------------------------------- */

static bool check_nesting(const json_t *value, uint32_t depth)
{
    if (depth > CHAT_MESSAGES_MAX_NESTING) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!check_nesting(json_array_get(value, i), depth + 1)) {
            return false;
        }
    }
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item)
    {
        if (!check_nesting(item, depth + 1)) {
            return false;
        }
    }
    return true;
}

/* `what` is "messages", "tools" or "variables". */
static json_t *parse(const char *text, const char *what, struct error *err)
{
    size_t bytes = strlen(text);
    if (bytes > CHAT_MESSAGES_MAX_BYTES) {
        error_set(err, "the %s are %zu bytes of JSON, more than the %u that are read", what, bytes,
                  CHAT_MESSAGES_MAX_BYTES);
        return NULL;
    }
    if (json_values_most(text, bytes) > JSON_VALUES_MAX) {
        error_set(err, "the %s are more than %d values of JSON", what, JSON_VALUES_MAX);
        return NULL;
    }
    json_error_t error;
    json_t *value = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (!value) {
        error_set(err, "the %s are not valid JSON: %s in line %d", what, error.text, error.line);
    } else if (!check_nesting(value, 1)) {
        error_set(err, "the %s are nested more than %d deep", what, CHAT_MESSAGES_MAX_NESTING);
        json_decref(value);
        value = NULL;
    }
    return value;
}

/* ---- shapes ------------------------------------------------------------------------------- */

/* The value of a key, NULL where it is null as well. */
static const json_t *given(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static bool check_content(const json_t *content, size_t number, struct error *err)
{
    if (content && !json_is_string(content) && !json_is_array(content) &&
        !json_is_object(content)) {
        return error_set(
            err, "the \"content\" of message %zu is neither a text nor a list of parts", number);
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        if (!json_is_object(part) && !json_is_string(part)) {
            return error_set(err,
                             "part %zu of the content of message %zu is neither a text nor an "
                             "object such as {\"type\": \"text\", \"text\": ...}",
                             i + 1, number);
        }
    }
    return true;
}

static bool check_tool_calls(const json_t *calls, size_t number, struct error *err)
{
    if (calls && !json_is_array(calls)) {
        return error_set(err, "the \"tool_calls\" of message %zu are not a list", number);
    }
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        const json_t *function = json_object_get(call, "function");
        if (!json_is_string(json_object_get(function ? function : call, "name"))) {
            return error_set(err,
                             "tool call %zu of message %zu names no function: it should be "
                             "{\"function\": {\"name\": ..., \"arguments\": ...}}",
                             i + 1, number);
        }
    }
    return true;
}

static bool check_message(const json_t *message, size_t number, struct error *err)
{
    static const char *const texts[] = {"reasoning_content", "tool_call_id", "name"};
    if (!json_is_object(message)) {
        return error_set(err,
                         "message %zu is not an object such as {\"role\": \"user\", "
                         "\"content\": ...}",
                         number);
    }
    if (!json_is_string(json_object_get(message, "role"))) {
        return error_set(err, "message %zu has no \"role\" that is a text", number);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const json_t *value = given(message, texts[i]);
        if (value && !json_is_string(value)) {
            return error_set(err, "\"%s\" of message %zu is not a text", texts[i], number);
        }
    }
    return check_content(given(message, "content"), number, err) &&
           check_tool_calls(given(message, "tool_calls"), number, err);
}

static bool check_messages(const json_t *messages, struct error *err)
{
    if (!json_is_array(messages)) {
        return error_set(err, "the messages are not a list");
    }
    if (json_array_size(messages) == 0) {
        return error_set(err, "there are no messages; a conversation has at least one");
    }
    for (size_t i = 0; i < json_array_size(messages); i++) {
        if (!check_message(json_array_get(messages, i), i + 1, err)) {
            return false;
        }
    }
    return true;
}

/* A list of objects, or null. */
static bool check_objects(const json_t *list, const char *what, struct error *err)
{
    if (!json_is_array(list) && !json_is_null(list)) {
        return error_set(err, "the %ss are not a list", what);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!json_is_object(json_array_get(list, i))) {
            return error_set(err, "%s %zu is not an object", what, i + 1);
        }
    }
    return true;
}

/* Variables that have a place of their own must not come twice. */
static bool check_variables(const json_t *variables, struct error *err)
{
    static const char *const taken[] = {"messages", "tools", "add_generation_prompt"};
    if (!json_is_object(variables)) {
        return error_set(err, "the variables are not an object");
    }
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (json_object_get(variables, taken[i])) {
            return error_set(err, "\"%s\" cannot be a variable: it is given on its own", taken[i]);
        }
    }
    const json_t *documents = json_object_get(variables, "documents");
    return !documents || check_objects(documents, "document", err);
}

/* ---- as transformers hands them on -------------------------------------------------------- */

/* A copy without what is null, and with the reasoning under the names that templates read. */
static json_t *normal_message(const json_t *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const json_t *reasoning = NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !reasoning; i++) {
        reasoning = given(message, names[i]);
    }
    json_t *copy = json_object();
    bool ok = copy && (!reasoning || json_object_set(copy, "thinking", (json_t *)reasoning) == 0);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)message, key, value)
    {
        ok = ok && (json_is_null(value) || json_object_set(copy, key, value) == 0);
    }
    ok = ok && (!reasoning || json_object_set(copy, "reasoning_content", (json_t *)reasoning) == 0);
    if (!ok) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static json_t *normal_messages(const json_t *messages)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < json_array_size(messages); i++) {
        if (json_array_append_new(list, normal_message(json_array_get(messages, i))) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *chat_messages_wrap(json_t *messages, bool add_generation_prompt, struct error *err)
{
    json_t *variables = json_pack("{s:o, s:n, s:n, s:b}", "messages", messages, "tools",
                                  "documents", "add_generation_prompt", (int)add_generation_prompt);
    if (!variables) {
        no_memory(err);
    }
    return variables;
}

/* Puts the name of a file before the sentence. Returns false. */
static bool name_file(const char *file, struct error *err)
{
    if (file && err) {
        struct error sentence = *err;
        error_set(err, "%s: %s", file, sentence.text);
    }
    return false;
}

static json_t *assemble(const json_t *messages, json_t *tools, json_t *extras, bool prompt,
                        struct error *err)
{
    json_t *variables = chat_messages_wrap(normal_messages(messages), prompt, err);
    if (variables && ((tools && json_object_set(variables, "tools", tools) != 0) ||
                      (extras && json_object_update(variables, extras) != 0))) {
        no_memory(err);
        json_decref(variables);
        return NULL;
    }
    return variables;
}

json_t *chat_messages_variables(const struct chat_messages *chat, struct error *err)
{
    json_t *variables = NULL, *tools = NULL, *extras = NULL;
    json_t *messages = parse(chat->messages, "messages", err);
    bool ok = (messages && check_messages(messages, err)) || name_file(chat->messages_file, err);
    if (ok && chat->tools) {
        tools = parse(chat->tools, "tools", err);
        ok = (tools && check_objects(tools, "tool", err)) || name_file(chat->tools_file, err);
    }
    if (ok && chat->variables) {
        extras = parse(chat->variables, "variables", err);
        ok = extras && check_variables(extras, err);
    }
    if (ok) {
        variables = assemble(messages, tools, extras, chat->add_generation_prompt, err);
    }
    json_decref(messages);
    json_decref(tools);
    json_decref(extras);
    return variables;
}
