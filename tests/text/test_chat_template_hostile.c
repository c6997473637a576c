/* Templates and variables made to hurt: megabytes of source, work that multiplies, values that grow
 * at each step, JSON as deep as it may be. Each ends, and each refusal is one sentence.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_template_internal.h"

/* Renders with `variables` (taken over; NULL: none); the error must hold `part`, or with part NULL
 * rendering must succeed. Returns the length of the text. */
static size_t expect(const char *source, json_t *variables, const char *part)
{
    struct error err = {{0}};
    char *text = NULL;
    size_t bytes = 0;
    variables = variables ? variables : json_object();
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    bool ok = template && chat_template_render(template, variables, &text, &bytes, &err);
    cr_expect_eq(ok, part == NULL, "%.80s: %s", source, err.text);
    cr_expect(!part || strstr(err.text, part), "%.80s: %s", source, err.text);
    cr_expect(ok || (err.text[0] && !strchr(err.text, '\n')));
    free(text);
    chat_template_destroy(&template);
    json_decref(variables);
    return ok ? bytes : 0;
}

#define MEGABYTE ((size_t)CHAT_TEMPLATE_MAX_BYTES)

/* before, as often as it fits into a megabyte `middle`, after; free it. */
static char *megabyte(const char *before, const char *middle, const char *after, size_t *n)
{
    char *source = malloc(MEGABYTE + 1), *at = stpcpy(source, before);
    size_t each = strlen(middle);
    *n = (MEGABYTE - strlen(before) - strlen(after)) / each;
    for (size_t i = 0; i < *n; i++) {
        at = mempcpy(at, middle, each);
    }
    strcpy(at, after);
    return source;
}

static void expect_megabyte(const char *before, const char *middle, const char *after,
                            const char *part, size_t bytes_each)
{
    size_t n;
    char *source = megabyte(before, middle, after, &n);
    size_t bytes = expect(source, NULL, part);
    cr_expect(part || bytes == n * bytes_each, "%.40s: %zu of %zu", source, bytes, n * bytes_each);
    free(source);
}

Test(chat_template_hostile, a_megabyte_of_source)
{
    expect_megabyte("", "x", "", NULL, 1);
    expect_megabyte("", "\n", "{{ '' }}", NULL, 1);
    expect_megabyte("", "{", "", "nested too deeply", 0);
    expect_megabyte("", "}", "", NULL, 1);
    expect_megabyte("", "{{1}}", "", NULL, 1);
    expect_megabyte("", "{{x}}", "", NULL, 0);
    expect_megabyte("", "{#x#}", "", NULL, 0);
    expect_megabyte("{#", "x", "#}", NULL, 0);
    expect_megabyte("{#", "x", "", "no end", 0);
    expect_megabyte("{% raw %}", "{{", "{% endraw %}", NULL, 2);
    expect_megabyte("{% raw %}", "{", "", "raw", 0);
    expect_megabyte("{{ '", "x", "' }}", NULL, 1);
    expect_megabyte("{{ '", "x", "", "no closing quote", 0);
    expect_megabyte("{{ '", "\\\\", "' }}", NULL, 1);
    expect_megabyte("{% set x = [", "1,", "] %}", NULL, 0);
    expect_megabyte("{{ f(", "1,", ") }}", "undefined", 0);
    expect_megabyte("{% set x = {", "1:2,", "} %}", NULL, 0);
    expect_megabyte("{{ ", "'' ~ ", "'' }}", "deep", 0);
    expect_megabyte("{{ ", "9", " }}", "64 bits", 0);
    expect_megabyte("{% set x = 1.", "9", " %}", NULL, 0);
    expect_megabyte("{{ ", "x", " }}", NULL, 0);
    expect_megabyte("{{ '' ", " ", "}}", NULL, 0);
    expect_megabyte("{{ '' ", "'' ", "}}", NULL, 0);
    expect_megabyte("", "{% if 1 %}{% endif %}", "", NULL, 0);
    expect_megabyte("", "{% set x = 1 %}", "", NULL, 0);
    expect_megabyte("", "{%- set x = 1 -%} \n", "", NULL, 0);
    expect_megabyte("", "{% macro f() %}{% endmacro %}", "", NULL, 0);
    expect_megabyte("", "{% macro f() %}", "", "nested too deeply", 0);
    expect_megabyte("", "{% filter upper %}", "", "nested too deeply", 0);
    expect_megabyte("", "{% call f() %}", "", "nested too deeply", 0);
    expect_megabyte("", "{% generation %}", "", "nested too deeply", 0);
    expect_megabyte("", "{{ {", "", "nested too deeply", 0);
}

/* level 0 calls level 1 twice, that one level 2 twice, ... */
Test(chat_template_hostile, work_that_doubles)
{
    char source[8192] = "{% macro m30() %}x{% endmacro %}";
    for (int level = 29; level >= 0; level--) {
        char macro[128];
        snprintf(macro, sizeof(macro), "{%% macro m%d() %%}{{ m%d() }}{{ m%d() }}{%% endmacro %%}",
                 level, level + 1, level + 1);
        strcat(source, macro);
    }
    strcat(source, "{{ m0() }}");
    expect(source, NULL, "more than");
}

Test(chat_template_hostile, loops_in_loops)
{
#define LOOP(name) "{% for " name " in range(100000) %}"
    expect(LOOP("a") LOOP("b") "{% endfor %}{% endfor %}", NULL, "more than");
    expect(LOOP("a") LOOP("b") "x{% endfor %}{% endfor %}", NULL, "more than");
    expect("{% for a in range(9223372036854775807) %}{% endfor %}", NULL, "100000");
    expect("{% for a in range(-9223372036854775807, 9223372036854775807) %}{% endfor %}", NULL,
           "100000");
    expect("{% for a in range(0, -9223372036854775807, -1) %}{% endfor %}", NULL, "100000");
    expect(LOOP("a") "{% set x = range(100000)|list %}{% endfor %}", NULL, "more than");
    expect(LOOP("a") "{% set x = range(100000)|map('string')|join %}{% endfor %}", NULL,
           "more than");
    /* Work on a list that leaves nothing behind, and so is bounded by steps alone. */
    static const char *const works[] = {"none in l",       "l == l",
                                        "l|sum",           "l.count(none)",
                                        "l|min",           "l|max",
                                        "l|sort|first",    "l|select('none')|list",
                                        "l|reject|list",   "l|map('abs')|list",
                                        "(l, l) < (l, l)", "l[::-1]",
                                        "l|unique|list",   "l|groupby('x')",
                                        "l|join",          "l|tojson",
                                        "l|batch(9)|list", "'x' in l|string"};
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
        char source[256];
        snprintf(source, sizeof(source),
                 "{%% set l = range(100000)|list %%}"
                 "{%% for a in range(100000) %%}"
                 "{%% set x = %s %%}{%% endfor %%}",
                 works[i]);
        expect(source, NULL, "more than");
    }
    expect("{% set l = range(100000)|list %}{{ l|slice(9223372036854775807)|list }}", NULL,
           "from 1 to 100000");
    expect("{% set l = range(100000)|list %}{{ l|batch(9223372036854775807, 'x')|list }}", NULL,
           "from 1 to 100000");
}

Test(chat_template_hostile, text_that_multiplies)
{
    expect("{{ 'x' * 9223372036854775807 }}", NULL, "more than");
    expect("{{ ('x' * 4000) * 4000 * 4000 }}", NULL, "16 MiB");
    expect("{{ 9223372036854775807 * 'xy' }}", NULL, "16 MiB");
    expect("{{ ('x' * 10000).replace('', 'y' * 10000) }}", NULL, "16 MiB");
    expect("{{ ('x' * 10000)|replace('x', 'y' * 10000) }}", NULL, "16 MiB");
    expect("{{ (['y' * 10000] * 10000)|join('z' * 10000) }}", NULL, "16 MiB");
    expect("{{ ('a\n' * 10000)|indent('y' * 10000) }}", NULL, "16 MiB");
    expect("{{ ('x' * 100000)|list|map('center', 100000)|join }}", NULL, "MiB");
    expect("{{ ([[[[]] * 100] * 100] * 100) * 100 }}", NULL, "16 MiB");
    expect("{% set ns = namespace(x=['a']) %}{% for i in range(64) %}"
           "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
           NULL, "16 MiB");
    expect("{% set ns = namespace(x=['a']) %}{% for i in range(64) %}"
           "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
           NULL, "16 MiB");
    expect("{% set ns = namespace(x=['a'], y=['a']) %}{% for i in range(64) %}"
           "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
           "{{ ns.x == ns.y }}",
           NULL, "steps");
    expect("{{ ('%s' * 1000) % ((('x' * 100000),) * 1000) }}", NULL, "16 MiB");
    expect("{{ ('{0}' * 1000).format('x' * 100000) }}", NULL, "16 MiB");
    expect("{{ '{:9999999999}'.format('x') }}", NULL, "chat template");
    expect("{% for i in range(1000) %}{% set x %}{{ 'x' * 1000000 }}{% endset %}{% endfor %}", NULL,
           "more than");
}

/* Searches that would never end if they went back: each needle almost fits at every place. */
Test(chat_template_hostile, searches)
{
#define NEARLY "{% set s = 'a' * 2000000 %}{% set n = 'a' * 1000000 ~ 'b' %}"
    expect(NEARLY "{{ s.find(n) }}", NULL, NULL);
    expect(NEARLY "{{ s.count(n) }}", NULL, NULL);
    expect(NEARLY "{{ s.split(n)|length }}", NULL, NULL);
    expect(NEARLY "{{ s.replace(n, '')|length }}", NULL, NULL);
    expect(NEARLY "{{ n in s }}", NULL, NULL);
    expect(NEARLY "{{ s.partition(n)|length }}", NULL, NULL);
    expect("{% set s = 'a ' * 1000000 %}{{ s.split()|length }}", NULL, NULL);
    expect("{% set s = 'a ' * 1000000 %}{{ s|wordcount }}{{ s|title|length }}", NULL, NULL);
    expect("{% set s = 'a ' * 1000000 %}{{ s|truncate(1000)|length }}", NULL, NULL);
    expect("{% set s = 'a ' * 1000000 %}{{ s|urlencode|length }}{{ s|escape|length }}", NULL, NULL);
    expect("{% set s = '\\n' * 1000000 %}{{ s.splitlines()|length }}{{ s|trim|length }}", NULL,
           NULL);
}

/* ---- variables ---------------------------------------------------------------------------- */

static json_t *nested(size_t depth, bool objects)
{
    json_t *value = json_string("x");
    for (size_t i = 0; i < depth; i++) {
        value = objects ? json_pack("{s:o}", "k", value) : json_pack("[o]", value);
    }
    return json_pack("{s:o}", "messages", value);
}

Test(chat_template_hostile, deep_json)
{
    for (int objects = 0; objects < 2; objects++) {
        expect("{{ messages }}", nested(400, objects), NULL);
        expect("{{ messages|tojson }}", nested(400, objects), NULL);
        expect("{{ messages|tojson(indent=2) }}", nested(400, objects), NULL);
        expect("{{ messages == messages }}", nested(400, objects), NULL);
        expect("x", nested(2000, objects), "deep");
    }
}

static json_t *wide(size_t n, const char *text)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, json_string(text));
    }
    return json_pack("{s:o}", "messages", list);
}

Test(chat_template_hostile, wide_json)
{
    expect("{% for m in messages %}{{ loop.index0 }}{% endfor %}", wide(100000, "x"), NULL);
    expect("{{ messages }}", wide(1000000, "0123456789"), NULL);
    expect("{{ messages }}", wide(1000000, "0123456789abcdef"), "16 MiB");
    expect("{% for m in messages %}{{ messages|length }}{{ messages[-1] }}{% endfor %}",
           wide(100000, "x"), NULL);
    expect("{% for m in messages %}{{ messages[1:] }}{% endfor %}", wide(100000, "x"), "MiB");
    expect("{% for m in messages %}{{ m in messages }}{% endfor %}", wide(1000, "x"), NULL);
    expect("{% for m in messages %}{{ 'y' in messages }}{% endfor %}", wide(100000, "x"), "steps");
}

/* Keys whose hashes collide in many tables, and keys that are special to the interpreter. */
Test(chat_template_hostile, many_keys)
{
    json_t *object = json_object();
    for (int i = 0; i < 200000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%d", i * 4096);
        json_object_set_new(object, key, json_integer(i));
    }
    json_object_set_new(object, "__class__", json_string("c"));
    json_object_set_new(object, "", json_string("e"));
    expect("{{ messages['__class__'] }}{{ messages.__class__ }}{{ messages[''] }}"
           "{% for k, v in messages|items %}{% if messages[k] != v %}x{% endif %}{% endfor %}",
           json_pack("{s:o}", "messages", object), NULL);
    expect("{{ ''.__class__.__mro__ }}", NULL, "attribute");
    expect("{{ messages.__init__.__globals__ }}", NULL, "undefined");
    expect("{{ raise_exception.__globals__ }}{{ range.__self__.x }}", NULL, "attribute");
}
