/* moxie render: a conversation as the prompt that a chat template makes of it. No weight is read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/source_template.h"
#include "engine/source_words.h"
#include "engine/text/chat_messages.h"
#include "engine/text/chat_prompt.h"
#include "engine/text/chat_template_family.h"
#include "tools/text_buffer.h"
#include "tools/tool.h"

struct render {
    const char *model, *template_file, *messages_file, *tools_file;
    struct text_list variables; /* name=json */
    bool no_generation_prompt, ids;

    struct source_template found; /* of the model */
    struct source_words words;
    struct tokenizer *tokenizer; /* NULL: only a template */
    struct chat_template *template;
};

/* ---- input -------------------------------------------------------------------------------- */

static const char *file_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* A whole text file, or standard input for "-": NUL-terminated, free it. More than `limit` bytes
 * are refused. */
static char *read_text(const char *path, size_t limit, struct error *err)
{
    struct text_buffer text = {0};
    bool ok = text_buffer_read_path(&text, path, limit, err->text, sizeof(err->text));
    if (ok && memchr(text_buffer_text(&text), 0, text.n)) {
        ok = error_set(err, "%s holds a zero byte, so it is no text", file_name(path));
    }
    if (ok && !text_buffer_append(&text, "", 0)) { /* an empty file is a text, too */
        ok = error_set(err, "not enough memory for %s", file_name(path));
    }
    if (!ok) {
        text_buffer_free(&text);
    }
    return text.at;
}

/* {"name": value, ...} of the --var options as JSON text; free it. */
static char *variables_text(const struct text_list *list, struct error *err)
{
    json_t *variables = json_object();
    for (uint32_t i = 0; i < list->n; i++) {
        const char *equals = strchr(list->texts[i], '=');
        int n = equals ? (int)(equals - list->texts[i]) : 0;
        json_error_t error;
        json_t *value = n > 0 ? json_loads(equals + 1, JSON_DECODE_ANY, &error) : NULL;
        if (n == 0) {
            error_set(err, "--var %s is not of the form name=json", list->texts[i]);
        } else if (!value) {
            error_set(err, "--var %s is not JSON: %s (a text needs quotes: --var '%.*s=\"text\"')",
                      list->texts[i], error.text, n, list->texts[i]);
        }
        char *name = value ? strndup(list->texts[i], (size_t)n) : NULL;
        bool ok = value && name && json_object_set(variables, name, value) == 0;
        if (value && !ok) {
            error_set(err, "--var %s cannot be a variable", list->texts[i]);
        }
        free(name);
        json_decref(value);
        if (!ok) {
            json_decref(variables);
            return NULL;
        }
    }
    char *text = json_dumps(variables, 0);
    json_decref(variables);
    if (!text) {
        error_set(err, "not enough memory for the variables");
    }
    return text;
}

static json_t *read_variables(const struct render *r, struct error *err)
{
    json_t *variables = NULL;
    const size_t limit = CHAT_MESSAGES_MAX_BYTES;
    char *messages = read_text(r->messages_file, limit, err), *tools = NULL, *extras = NULL;
    bool ok = messages != NULL;
    if (ok && r->tools_file) {
        tools = read_text(r->tools_file, limit, err);
        ok = tools != NULL;
    }
    if (ok) {
        extras = variables_text(&r->variables, err);
        ok = extras != NULL;
    }
    if (ok) {
        const struct chat_messages chat = {
            .messages = messages,
            .tools = tools,
            .variables = extras,
            .add_generation_prompt = !r->no_generation_prompt,
            .messages_file = file_name(r->messages_file),
            .tools_file = r->tools_file ? file_name(r->tools_file) : NULL,
        };
        variables = chat_messages_variables(&chat, err);
    }
    free(messages);
    free(tools);
    free(extras);
    return variables;
}

/* ---- template and tokenizer --------------------------------------------------------------- */

static bool open_family(struct render *r, struct error *err)
{
    const struct chat_template_family *family =
        chat_template_family_find(r->found.architecture, r->tokenizer);
    if (!family) {
        return error_set(err,
                         "%s has no chat template, and none is known for it: give one with "
                         "--template",
                         r->model);
    }
    fprintf(stderr, "moxie render: %s has no chat template; this is the %s form of its family\n",
            r->model, family->name);
    r->template = chat_template_create(family->text, strlen(family->text), err);
    return r->template != NULL;
}

static bool open_template(struct render *r, struct error *err)
{
    if (r->template_file) {
        char *text = read_text(r->template_file, CHAT_TEMPLATE_MAX_BYTES, err);
        r->template = text ? chat_template_create(text, strlen(text), err) : NULL;
        free(text);
    } else if (!source_template_open(&r->found, r->model, err)) {
        return false;
    } else if (!r->found.text) {
        return open_family(r, err);
    } else {
        r->template = chat_template_create(r->found.text, r->found.bytes, err);
    }
    return r->template != NULL;
}

static bool open_all(struct render *r, struct error *err)
{
    if (r->model) {
        if (!source_words_open(&r->words, r->model, err)) {
            return false;
        }
        r->tokenizer = tokenizer_create(r->words.section, r->words.bytes, err);
        if (!r->tokenizer) {
            return false;
        }
    } else if (r->ids) {
        return error_set(err, "token ids need a model with a tokenizer");
    }
    return open_template(r, err);
}

static void close_all(struct render *r)
{
    chat_template_destroy(&r->template);
    tokenizer_destroy(&r->tokenizer);
    source_words_close(&r->words);
    source_template_close(&r->found);
}

/* ---- output ------------------------------------------------------------------------------- */

static bool print(const struct render *r, const json_t *variables, struct error *err)
{
    struct token_list list = {0};
    char *text = NULL;
    size_t bytes;
    bool ok;
    if (r->ids) {
        ok = chat_prompt_tokens(r->template, r->tokenizer, variables, &list, err);
        for (size_t i = 0; ok && i < list.count; i++) {
            printf("%s%" PRIu32, i ? "," : "", list.ids[i]);
        }
        printf("%s", ok ? "\n" : "");
    } else {
        ok = chat_prompt_text(r->template, r->tokenizer, variables, &text, &bytes, err);
        if (ok) {
            fwrite(text, 1, bytes, stdout); /* exactly the prompt: no newline is added */
        }
    }
    token_list_free(&list);
    free(text);
    return ok;
}

static int render(struct render *r)
{
    struct error err = {0};
    json_t *variables = read_variables(r, &err);
    bool ok = variables && open_all(r, &err) && print(r, variables, &err);
    json_decref(variables);
    close_all(r);
    return ok ? 0 : tool_fail("render", err.text);
}

int tool_render(int argc, char **argv)
{
    struct render r = {0};
    const struct option options[] = {
        {"--messages", "-m", OPTION_TEXT, &r.messages_file, "FILE",
         "the conversation: [{\"role\": \"user\", \"content\": \"Hello\"}, ...]"},
        {"--tools", NULL, OPTION_TEXT, &r.tools_file, "FILE",
         "functions the model may call: [{\"type\": \"function\", \"function\": {...}}, ...]"},
        {"--template", NULL, OPTION_TEXT, &r.template_file, "FILE",
         "a Jinja template, instead of the model's own"},
        {"--var", NULL, OPTION_LIST, &r.variables, "NAME=JSON",
         "a variable of the template, such as enable_thinking=false; may be repeated"},
        {"--no-generation-prompt", NULL, OPTION_FLAG, &r.no_generation_prompt, NULL,
         "do not open the assistant's turn"},
        {"--ids", NULL, OPTION_FLAG, &r.ids, NULL,
         "print token ids; text of special tokens in messages stays text"},
        {0}};
    const struct usage usage = {
        .synopsis = "moxie render [MODEL | --template FILE] --messages FILE [options]",
        .text = "Prints the prompt that the chat template of a model makes of a conversation, in "
                "the JSON that\nHugging Face's apply_chat_template takes. \"-\" as a FILE is "
                "standard input. Without MODEL and\n--template the demo model is used.",
        .options = options,
        .min_arguments = 0,
        .max_arguments = 1};
    char **arguments;
    uint32_t n;
    int status = options_parse(&usage, argc, argv, &arguments, &n);
    if (status >= 0) {
        return status;
    }
    uint32_t n_standard = (r.messages_file && strcmp(r.messages_file, "-") == 0) +
                          (r.tools_file && strcmp(r.tools_file, "-") == 0) +
                          (r.template_file && strcmp(r.template_file, "-") == 0);
    if (!r.messages_file || n_standard > 1) {
        fprintf(stderr, "moxie render: %s\nusage: %s (--help for more)\n",
                r.messages_file ? "only one file can be standard input"
                                : "--messages FILE is missing",
                usage.synopsis);
        return EXIT_USAGE;
    }
    r.model = n ? arguments[0] : r.template_file ? NULL : demo_model_path();
    if (!r.model && !r.template_file) {
        return tool_fail("render", "the demo model is not where it should be; name a model");
    }
    return render(&r);
}
