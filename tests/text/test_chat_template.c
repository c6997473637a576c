/* The template interpreter against Jinja: one case per construct, written by
 * tests/reference/chat_template_vectors.py; then errors, and what must not change.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_template_internal.h"
#include "tests/check.h"
#include "tests/text/template_file.h"

static bool render(const char *source, size_t source_bytes, const json_t *variables, char **text,
                   size_t *bytes, struct error *err)
{
    *text = NULL;
    struct chat_template *template = chat_template_create(source, source_bytes, err);
    if (!template) {
        return false;
    }
    bool ok = chat_template_render_at(template, variables, &template_file_time, text, bytes, err);
    chat_template_destroy(&template);
    cr_assert_null(template);
    return ok;
}

static void check_case(const json_t *one, const json_t *variables)
{
    const json_t *source = json_object_get(one, "template");
    const json_t *expected = json_object_get(one, "expected");
    struct error err = {{0}};
    char *text;
    size_t bytes = 0;
    bool ok = render(json_string_value(source), json_string_length(source), variables, &text,
                     &bytes, &err);
    if (!expected) {
        cr_expect(!ok, "%s should fail, not give %s", json_string_value(source), text);
        cr_expect(strncmp(err.text, "chat template", 13) == 0 || strcmp(err.text, "no way") == 0,
                  "%s", err.text);
        cr_expect(!strchr(err.text, '\n') || strchr(json_string_value(source), '\n'));
    } else {
        bool same = ok && bytes == json_string_length(expected) &&
                    memcmp(text, json_string_value(expected), bytes) == 0;
        cr_expect(same, "%s\n  gives  %s\n  Jinja: %s", json_string_value(source),
                  ok ? text : err.text, json_string_value(expected));
        cr_expect(!ok || text[bytes] == 0);
    }
    free(text);
}

Test(chat_template, renders_as_jinja)
{
    json_t *file =
        json_load_file(check_source_path("tests/text/chat_template_vectors.json"), 0, NULL);
    cr_assert(file);
    const json_t *cases = json_object_get(file, "cases");
    const json_t *variables = json_object_get(file, "variables");
    cr_assert_geq(json_array_size(cases), 370);
    json_t *before = json_deep_copy(variables);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_case(json_array_get(cases, i), variables);
    }
    cr_expect(json_equal(before, variables), "rendering changed the caller's variables");
    json_decref(before);
    json_decref(file);
}

static void expect_error(const char *source, const char *variables, const char *sentence)
{
    struct error err = {{0}};
    char *text;
    size_t bytes;
    json_t *json = json_loads(variables, 0, NULL);
    cr_assert(json, "%s", variables);
    bool ok = render(source, strlen(source), json, &text, &bytes, &err);
    cr_expect(!ok, "%s", source);
    cr_expect_str_eq(err.text, sentence);
    free(text);
    json_decref(json);
}

Test(chat_template, errors_name_the_line_and_the_thing)
{
    expect_error("a\nb\n{{ 1 + }}", "{}", "chat template, line 3: expected a value, not '}}'");
    expect_error("{% if x %}\n\nb", "{}",
                 "chat template, line 3: expected {% endif %}, but the template ends here");
    expect_error("\n{% nope %}", "{}",
                 "chat template, line 2: expected a known statement, not 'nope'");
    expect_error("{{ 1|nope }}", "{}", "chat template, line 1: there is no filter named 'nope'");
    expect_error("\n\n{{ 1 is nope }}", "{}",
                 "chat template, line 3: there is no test named 'nope'");
    expect_error("\n{{ 'abc }}", "{}", "chat template, line 2: a string has no closing quote");
    expect_error("\n{# abc", "{}", "chat template, line 2: a comment {# has no end #}");
    expect_error("{{ (1] }}", "{}", "chat template, line 1: unexpected ']'");
    expect_error("{{ caf\xC3\xA9 }}", "{}",
                 "chat template, line 1: unexpected character '\xC3\xA9'");
    expect_error("\n{{ messages.x }}", "{}", "chat template, line 2: 'messages' is undefined");
    expect_error("{{ m.x\n.y\n.z }}", "{\"m\": {}}",
                 "chat template, line 2: a value has no attribute 'x'");
    expect_error("{{ m['x'] + 1 }}", "{\"m\": {}}",
                 "chat template, line 1: a value has no element 'x'");
    expect_error("\n{{ 'a' +\n1 }}", "{}",
                 "chat template, line 2: cannot add a value of type str and one of type int");
    expect_error("{% macro f(x) %}\n{{ x.y }}{% endmacro %}\n{{ f() }}", "{}",
                 "chat template, line 2: the argument 'x' was not given");
    expect_error("{{ raise_exception('Roles must alternate: \"' ~ r ~ '\"') }}", "{\"r\": \"u\"}",
                 "Roles must alternate: \"u\"");
    expect_error("x", "[]", "chat template: the variables are not an object");
}

/* What Jinja has and this interpreter has not. */
Test(chat_template, unsupported_constructs_are_named)
{
    static const char *const statements[] = {"include 'x'", "import 'x' as y", "from 'x' import y",
                                             "extends 'x'", "block x",         "autoescape true",
                                             "do x.y()",    "trans",           "debug"};
    static const char *const filters[] = {"pprint",   "random",  "striptags",     "urlize",
                                          "wordwrap", "xmlattr", "filesizeformat"};
    static const char *const methods[] = {"encode",       "expandtabs",  "translate", "format_map",
                                          "isidentifier", "isprintable", "istitle"};
    char source[128], sentence[256];
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        snprintf(source, sizeof(source), "a\n{%% %s %%}", statements[i]);
        snprintf(sentence, sizeof(sentence),
                 "chat template, line 2: expected a known statement, not '%.*s'",
                 (int)strcspn(statements[i], " "), statements[i]);
        expect_error(source, "{}", sentence);
    }
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        snprintf(source, sizeof(source), "a\n\n{{ 'x'|%s }}", filters[i]);
        snprintf(sentence, sizeof(sentence), "chat template, line 3: there is no filter named '%s'",
                 filters[i]);
        expect_error(source, "{}", sentence);
    }
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        snprintf(source, sizeof(source), "\n{{ 'x'.%s() }}", methods[i]);
        snprintf(sentence, sizeof(sentence), "chat template, line 2: a value has no attribute '%s'",
                 methods[i]);
        expect_error(source, "{}", sentence);
    }
    expect_error("\n{{ cycler(1, 2) }}", "{}", "chat template, line 2: 'cycler' is undefined");
    expect_error("\n{{ joiner() }}", "{}", "chat template, line 2: 'joiner' is undefined");
    expect_error("\n{{ lipsum() }}", "{}", "chat template, line 2: 'lipsum' is undefined");
}

Test(chat_template, refuses_what_is_not_text)
{
    struct error err = {{0}};
    cr_expect_null(chat_template_create("a\xFF", 2, &err));
    cr_expect_str_eq(err.text, "chat template: the text is not UTF-8");
    cr_expect_null(chat_template_create("a\xE6\x97", 3, NULL));
    char *large = malloc(CHAT_TEMPLATE_MAX_BYTES + 1);
    memset(large, 'x', CHAT_TEMPLATE_MAX_BYTES + 1);
    struct chat_template *template = chat_template_create(large, CHAT_TEMPLATE_MAX_BYTES, &err);
    cr_expect_not_null(template);
    chat_template_destroy(&template);
    cr_expect_null(chat_template_create(large, CHAT_TEMPLATE_MAX_BYTES + 1, &err));
    cr_expect_not_null(strstr(err.text, "1048577 bytes"));
    chat_template_destroy(&template);
    free(large);
}

Test(chat_template, copies_its_text_and_can_run_again)
{
    char source[] = "{% for i in range(3) %}{{ i }}{{ x }}{% endfor %} end of the text";
    struct error err = {{0}};
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    cr_assert(template, "%s", err.text);
    memset(source, '#', sizeof(source));
    for (int i = 0; i < 3; i++) {
        json_t *variables = json_pack("{s:i}", "x", i);
        char *text, wanted[40];
        size_t bytes;
        cr_assert(chat_template_render(template, variables, &text, &bytes, &err), "%s", err.text);
        snprintf(wanted, sizeof(wanted), "0%d1%d2%d end of the text", i, i, i);
        cr_expect_str_eq(text, wanted);
        cr_expect_eq(bytes, strlen(wanted));
        free(text);
        json_decref(variables);
    }
    chat_template_destroy(&template);
}

Test(chat_template, carries_zero_bytes)
{
    struct error err = {{0}};
    char *text;
    size_t bytes;
    json_t *variables = json_object();
    json_object_set_new(variables, "x", json_stringn("a\0b", 3));
    const char source[] = "1\0{{ x }}{{ x|length }}{{ x|tojson }}";
    cr_assert(render(source, sizeof(source) - 1, variables, &text, &bytes, &err), "%s", err.text);
    const char wanted[] = "1\0a\0b3\"a\\u0000b\"";
    cr_expect_eq(bytes, sizeof(wanted) - 1);
    cr_expect_arr_eq(text, wanted, sizeof(wanted) - 1);
    free(text);
    json_decref(variables);
}

Test(chat_template, survives_strings_that_are_not_utf8)
{
    json_t *variables = json_object();
    json_object_set_new(variables, "x", json_stringn_nocheck("\x80\xBF\xE6\x97 a\xF0\x9F", 8));
    const char *source =
        "{{ x|length }}{{ x[0] }}{{ x[::-1] }}{{ x[1:] }}{{ x|upper }}{{ x|tojson }}"
        "{{ x|list }}{{ x.strip() }}{{ x.strip(x) }}{{ x.split() }}{{ [x] }}"
        "{{ x[-1] }}{{ x|title }}{{ x.find('a') }}{{ x.replace('', '-') }}";
    struct error err = {{0}};
    char *text;
    size_t bytes;
    cr_expect(render(source, strlen(source), variables, &text, &bytes, &err), "%s", err.text);
    free(text);
    json_decref(variables);
}

Test(chat_template, knows_the_time)
{
    const char *source = "{{ strftime_now('%Y-%m-%d %H:%M') }}";
    struct error err = {{0}};
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    json_t *variables = json_object();
    bool same = false;
    for (int attempt = 0; attempt < 3 && !same; attempt++) { /* the minute may change between */
        char *text, wanted[40];
        size_t bytes;
        time_t now = time(NULL);
        strftime(wanted, sizeof(wanted), "%Y-%m-%d %H:%M", localtime(&now));
        cr_assert(chat_template_render(template, variables, &text, &bytes, &err), "%s", err.text);
        same = strcmp(text, wanted) == 0;
        free(text);
    }
    cr_expect(same);
    json_decref(variables);
    chat_template_destroy(&template);
}
