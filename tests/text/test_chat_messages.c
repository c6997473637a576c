/* Conversations as JSON: the renderings of transformers for every published template
 * (tests/reference/chat_messages_vectors.py) and wrong shapes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_messages.h"
#include "engine/text/chat_template_internal.h"
#include "tests/check.h"
#include "tests/text/template_file.h"

/* ---- against transformers ----------------------------------------------------------------- */

static char *dump(const json_t *value)
{
    return !value || json_is_null(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
}

/* The variables of a conversation of the file, through its JSON texts, with the special tokens. */
static json_t *variables_of(const json_t *conversation, bool prompt, struct error *err)
{
    char *messages = dump(json_object_get(conversation, "messages"));
    char *tools = dump(json_object_get(conversation, "tools"));
    char *extras = dump(json_object_get(conversation, "variables"));
    const struct chat_messages chat = {
        .messages = messages, .tools = tools, .variables = extras, .add_generation_prompt = prompt};
    json_t *variables = chat_messages_variables(&chat, err);
    free(messages);
    free(tools);
    free(extras);
    if (variables && !json_object_get(variables, "bos_token")) {
        json_object_set_new(variables, "bos_token", json_string("<s>"));
        json_object_set_new(variables, "eos_token", json_string("</s>"));
    }
    return variables;
}

/* `wanted` is a hash, or "!" and what raise_exception said, or "!" alone for other failures. */
static void check_one(const struct chat_template *template, const json_t *conversation, bool prompt,
                      const char *wanted, const char *where)
{
    struct error err = {{0}};
    char *text = NULL, own[20];
    size_t bytes = 0;
    json_t *variables = variables_of(conversation, prompt, &err);
    cr_assert(variables, "%s: %s", where, err.text);
    bool ok =
        chat_template_render_at(template, variables, &template_file_time, &text, &bytes, &err);
    json_decref(variables);
    if (wanted[0] == '!') {
        cr_expect(!ok, "%s should fail, not give %s", where, text);
        cr_expect(strncmp(err.text, wanted + 1, strlen(wanted + 1)) == 0, "%s: %s, not %s", where,
                  err.text, wanted + 1);
    } else if (!ok) {
        cr_expect(false, "%s: %s", where, err.text);
    } else {
        snprintf(own, sizeof(own), "%016" PRIx64, template_file_hash(text, bytes));
        cr_expect_str_eq(own, wanted, "%s differs: %s", where, text);
    }
    free(text);
}

static size_t check_template(const char *name, const char *source, const json_t *expected,
                             const json_t *conversations)
{
    struct error err = {{0}};
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    cr_assert(template, "%s: %s", name, err.text);
    const char *key;
    json_t *conversation;
    size_t n = 0;
    json_object_foreach((json_t *)conversations, key, conversation)
    {
        for (int prompt = 0; prompt < 2; prompt++, n++) {
            char where[256];
            snprintf(where, sizeof(where), "%s, %s%s", name, key, prompt ? ", prompt" : "");
            const char *wanted = json_string_value(json_array_get(expected, n));
            cr_assert(wanted, "%s", where);
            check_one(template, conversation, prompt, wanted, where);
        }
    }
    cr_assert_eq(n, json_array_size(expected));
    chat_template_destroy(&template);
    return n;
}

Test(chat_messages, renders_every_conversation_as_transformers)
{
    const char *path = check_source_path("tests/text/chat_messages_vectors.json"), *name;
    json_t *file = json_load_file(path, 0, NULL), *expected;
    cr_assert(file);
    const json_t *conversations = json_object_get(file, "conversations");
    size_t n = 0, templates = 0;
    cr_assert_geq(json_object_size(conversations), 50);
    json_object_foreach(json_object_get(file, "expected"), name, expected)
    {
        char *source = template_file_read(name);
        if (source) {
            n += check_template(name, source, expected, conversations);
            templates++;
        }
        free(source);
    }
    size_t all = json_object_size(json_object_get(file, "expected"));
    size_t renderings = all * 2 * json_object_size(conversations);
    json_decref(file);
    if (n == 0) {
        cr_skip("the reference templates are not here");
    }
    cr_assert_geq(all, 20);
    cr_assert_eq(templates, all);
    cr_assert_eq(n, renderings);
}

/* ---- shapes ------------------------------------------------------------------------------- */

static void expect_sentence(const struct chat_messages *chat, const char *sentence)
{
    struct error err = {{0}};
    json_t *variables = chat_messages_variables(chat, &err);
    cr_expect_null(variables, "%s", sentence);
    cr_expect_str_eq(err.text, sentence);
    cr_expect_null(chat_messages_variables(chat, NULL));
    json_decref(variables);
}

static void expect_messages(const char *messages, const char *sentence)
{
    expect_sentence(&(struct chat_messages){.messages = messages}, sentence);
}

static void expect_tools(const char *tools, const char *sentence)
{
    const char *messages = "[{\"role\": \"user\", \"content\": \"x\"}]";
    expect_sentence(&(struct chat_messages){.messages = messages, .tools = tools}, sentence);
}

static void expect_variables(const char *variables, const char *sentence)
{
    const char *messages = "[{\"role\": \"user\", \"content\": \"x\"}]";
    expect_sentence(&(struct chat_messages){.messages = messages, .variables = variables},
                    sentence);
}

Test(chat_messages, wrong_shapes)
{
#define MESSAGE(rest) "[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"user\"" rest "}]"
    expect_messages("null", "the messages are not a list");
    expect_messages("{}", "the messages are not a list");
    expect_messages("\"hello\"", "the messages are not a list");
    expect_messages("[]", "there are no messages; a conversation has at least one");
    expect_messages("[[]]", "message 1 is not an object such as {\"role\": \"user\", \"content\": "
                            "...}");
    expect_messages("[{\"content\": \"x\"}]", "message 1 has no \"role\" that is a text");
    expect_messages("[{\"role\": null}]", "message 1 has no \"role\" that is a text");
    expect_messages("[{\"role\": 7}]", "message 1 has no \"role\" that is a text");
    expect_messages(MESSAGE(", \"content\": 5"),
                    "the \"content\" of message 2 is neither a text nor a list of parts");
    expect_messages(MESSAGE(", \"content\": true"),
                    "the \"content\" of message 2 is neither a text nor a list of parts");
    expect_messages(MESSAGE(", \"content\": [\"x\", null]"),
                    "part 2 of the content of message 2 is neither a text nor an object such as "
                    "{\"type\": \"text\", \"text\": ...}");
    expect_messages(MESSAGE(", \"tool_calls\": {}"),
                    "the \"tool_calls\" of message 2 are not a list");
    expect_messages(MESSAGE(", \"tool_calls\": [{\"name\": \"f\"}, 3]"),
                    "tool call 2 of message 2 names no function: it should be {\"function\": "
                    "{\"name\": ..., \"arguments\": ...}}");
    expect_messages(MESSAGE(", \"tool_calls\": [{\"function\": {\"name\": 1}}]"),
                    "tool call 1 of message 2 names no function: it should be {\"function\": "
                    "{\"name\": ..., \"arguments\": ...}}");
    expect_messages(MESSAGE(", \"reasoning_content\": []"),
                    "\"reasoning_content\" of message 2 is not a text");
    expect_messages(MESSAGE(", \"tool_call_id\": 1"),
                    "\"tool_call_id\" of message 2 is not a text");
    expect_messages(MESSAGE(", \"name\": {}"), "\"name\" of message 2 is not a text");
    expect_tools("{}", "the tools are not a list");
    expect_tools("7", "the tools are not a list");
    expect_tools("[{}, \"f\"]", "tool 2 is not an object");
    expect_variables("[]", "the variables are not an object");
    expect_variables("{\"messages\": []}",
                     "\"messages\" cannot be a variable: it is given on its own");
    expect_variables("{\"tools\": null}", "\"tools\" cannot be a variable: it is given on its own");
    expect_variables("{\"add_generation_prompt\": true}",
                     "\"add_generation_prompt\" cannot be a variable: it is given on its own");
    expect_variables("{\"documents\": {}}", "the documents are not a list");
    expect_variables("{\"documents\": [1]}", "document 1 is not an object");
}

/* The sentence has this part; jansson words the rest. */
static void expect_broken(const char *messages, const char *part)
{
    struct error err = {{0}};
    const struct chat_messages chat = {.messages = messages, .messages_file = "chat.json"};
    cr_expect_null(chat_messages_variables(&chat, &err), "%s", messages);
    cr_expect_eq(strncmp(err.text, "chat.json: the messages are ", 28), 0, "%s", err.text);
    cr_expect_not_null(strstr(err.text, part), "%s", err.text);
}

static char *repeated(const char *before, const char *middle, size_t n, const char *after)
{
    char *text = malloc(strlen(before) + n * strlen(middle) + strlen(after) + 1), *at = text;
    at = stpcpy(at, before);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, middle);
    }
    strcpy(at, after);
    return text;
}

Test(chat_messages, texts_that_are_not_json)
{
    expect_broken("", "in line 1");
    expect_broken("[{\"role\": \"user\",\n\"content\": \"x\"\n]", "in line 3");
    expect_broken("[{\"role\": \"user\", \"content\": \"x\"}] more", "in line 1");
    expect_broken("[{\"role\": \"user\", \"content\": \"\xFF\"}]", "decode byte 0xff");
    expect_broken("[{\"role\": \"user\", \"content\": \"\\ud800\"}]", "Unicode");
    expect_broken("[{\"role\": \"user\", \"content\": 123456789012345678901234567890}]", "integer");
    expect_broken("[{\"role\": \"user\", \"content\": 1e999}]", "overflow");
    expect_broken("[{\"role\": \"user\", \"content\": NaN}]", "NaN");
    char *deep = repeated("[{\"role\": \"user\", \"content\": [{\"x\": ", "[", 500000, "");
    expect_broken(deep, "depth");
    free(deep);
    deep = repeated("[{\"role\": \"user\", \"content\": [{\"x\": ", "[", 197, "");
    char *closed = repeated(deep, "]", 197, "}]}]");
    expect_broken(closed, "nested more than 200 deep");
    free(closed);
    closed = repeated(deep, "]", 196, "}]}]"); /* one bracket is missing */
    expect_broken(closed, "in line 1");
    free(closed);
    free(deep);
    char *large =
        repeated("[{\"role\": \"user\", \"content\": \"", "0123456789abcdef", 1 << 20, "\"}]");
    expect_broken(large, "more than the 16777216 that are read");
    free(large);
    large = repeated("[", "{},", 1000000, "{}]"); /* more than 200 MB when parsed */
    expect_broken(large, "more than 1000000 values");
    free(large);
}

Test(chat_messages, deepest_that_is_read)
{
    struct error err = {{0}};
    char *text = NULL,
         *open = repeated("[{\"role\": \"user\", \"content\": [{\"x\": ", "[", 196, "");
    char *closed = repeated(open, "]", 196, "}]}]");
    const char *source = "{{ messages }}";
    size_t bytes;
    json_t *variables = chat_messages_variables(&(struct chat_messages){.messages = closed}, &err);
    cr_assert(variables, "%s", err.text);
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    cr_expect(chat_template_render(template, variables, &text, &bytes, &err), "%s", err.text);
    cr_expect_not_null(strstr(text ? text : "", "[[[[[[[[[]]]]]]]]]"));
    chat_template_destroy(&template);
    json_decref(variables);
    free(text);
    free(open);
    free(closed);
}

Test(chat_messages, what_is_null_is_left_out_and_reasoning_has_its_names)
{
    struct error err = {{0}};
    const struct chat_messages chat = {
        .messages = "[{\"role\": \"a\", \"content\": null, \"tool_calls\": null},"
                    " {\"role\": \"b\", \"reasoning\": \"r\"},"
                    " {\"role\": \"c\", \"thinking\": \"t\", \"reasoning_content\": null}]",
        .variables = "{\"x\": null, \"y\": 1}",
    };
    json_t *variables = chat_messages_variables(&chat, &err);
    cr_assert(variables, "%s", err.text);
    char *text = json_dumps(variables, JSON_COMPACT);
    cr_expect_str_eq(text, "{\"messages\":[{\"role\":\"a\"},"
                           "{\"thinking\":\"r\",\"role\":\"b\",\"reasoning\":\"r\","
                           "\"reasoning_content\":\"r\"},"
                           "{\"thinking\":\"t\",\"role\":\"c\",\"reasoning_content\":\"t\"}],"
                           "\"tools\":null,\"documents\":null,\"add_generation_prompt\":false,"
                           "\"x\":null,\"y\":1}");
    free(text);
    json_decref(variables);
}
