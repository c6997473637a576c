/* Templates that would take for ever, or all memory, or the whole stack: each ends with a sentence.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_template_internal.h"

/* Renders; the error must hold `part`, or with part NULL rendering must succeed. */
static void expect_bound(const char *source, const char *part)
{
    struct error err = {{0}};
    char *text = NULL;
    size_t bytes = 0;
    json_t *variables = json_object();
    struct chat_template *template = chat_template_create(source, strlen(source), &err);
    bool ok = template && chat_template_render(template, variables, &text, &bytes, &err);
    if (part) {
        cr_expect(!ok, "%.80s should be refused", source);
        cr_expect(strstr(err.text, part), "%.80s: %s", source, err.text);
        cr_expect_null(strchr(err.text, '\n'));
    } else {
        cr_expect(ok, "%.80s: %s", source, err.text);
    }
    free(text);
    chat_template_destroy(&template);
    json_decref(variables);
}

/* before + n times middle + between + n times after, as one template; free it. */
static char *repeated(const char *before, size_t n, const char *middle, const char *between,
                      const char *after, const char *end)
{
    size_t size =
        strlen(before) + n * (strlen(middle) + strlen(after)) + strlen(between) + strlen(end) + 1;
    char *source = malloc(size), *at = stpcpy(source, before);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, middle);
    }
    at = stpcpy(at, between);
    for (size_t i = 0; i < n; i++) {
        at = stpcpy(at, after);
    }
    strcpy(at, end);
    return source;
}

static void expect_repeated(const char *before, size_t n, const char *middle, const char *between,
                            const char *after, const char *end, const char *part)
{
    char *source = repeated(before, n, middle, between, after, end);
    expect_bound(source, part);
    free(source);
}

Test(chat_template_bounds, nesting_in_the_source)
{
    expect_repeated("{{ ", 150, "(", "1", ")", " }}", NULL);
    expect_repeated("{{ ", 100000, "(", "1", ")", " }}", "nested too deeply");
    expect_repeated("{{ ", 100000, "[", "1", "]", " }}", "nested too deeply");
    expect_repeated("", 150, "{% if 1 %}", "x", "{% endif %}", "", NULL);
    expect_repeated("", 40000, "{% if 1 %}", "x", "{% endif %}", "", "nested too deeply");
    expect_repeated("", 30000, "{% for i in l %}", "", "{% endfor %}", "", "nested too deeply");
    expect_repeated("{{ ", 100000, "not ", "1", "", " }}", "deep");
    expect_repeated("{{ ", 100000, "-", "1", "", " }}", "deep");
    expect_repeated("{{ ", 50000, "1 if 0 else ", "2", "", " }}", "deep");
    expect_repeated("{{ 1", 50000, " if 1", "", "", " }}", "deep");
    expect_repeated("{{ 1", 400, "+1", "", "", " }}", NULL);
    expect_repeated("{{ 1", 100000, "+1", "", "", " }}", "deep");
    expect_repeated("{{ 1", 100000, "|string", "", "", " }}", "deep");
    expect_repeated("{{ x", 100000, ".x", "", "", " }}", "deep");
    expect_repeated("{{ x", 100000, "()", "", "", " }}", "deep");
    expect_repeated("{{ 1", 100000, " is odd", "", "", " }}", "deep");
    expect_repeated("{% if 0 %}", 50000, "{% elif 0 %}", "", "", "{% endif %}", NULL);
    expect_repeated("{% set ", 100000, "(", "x", ")", " = 1 %}", "nested too deeply");
}

Test(chat_template_bounds, recursion)
{
    expect_bound("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deep");
    expect_bound("{% macro f(x) %}{{ g(x) }}{% endmacro %}"
                 "{% macro g(x) %}{% for i in [1] %}{% if x %}{{ f(x) }}{% endif %}{% endfor %}"
                 "{% endmacro %}{{ f(1) }}",
                 "deep");
    expect_bound("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
                 NULL);
    expect_bound("{% for i in [[[]]] recursive %}{{ loop([i]) }}{% endfor %}", "deep");
}

Test(chat_template_bounds, values_inside_themselves)
{
#define CYCLE "{% set l = [1] %}{% set _ = l.append(l) %}"
#define CYCLES CYCLE "{% set m = [1] %}{% set _ = m.append(m) %}"
    expect_bound(CYCLE "{{ l }}", "deep");
    expect_bound(CYCLE "{{ l|tojson }}", "deep");
    expect_bound(CYCLE "{{ l|join }}", "deep");
    expect_bound(CYCLES "{{ l == m }}", "deep");
    expect_bound(CYCLES "{{ l < m }}", "deep");
    expect_bound("{% set d = {} %}{% set _ = d.update(d=d) %}{{ d }}", "deep");
    expect_bound("{{ ('[' * 100000 ~ ']' * 100000)|from_json }}", "from_json");
    expect_bound("{{ ('[' * 1500 ~ ']' * 1500)|from_json }}", "deep");
    expect_bound("{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}"
                 "{% endfor %}{{ ns.x }}",
                 "deep");
}

Test(chat_template_bounds, endless_work)
{
    expect_bound(
        "{% set l = range(9999)|list %}{% for a in l %}{% for b in l %}{% if b %}{% endif %}"
        "{% endfor %}{% endfor %}",
        "more than");
    expect_bound("{% set s = 'a' * 1000000 %}{% for a in range(99999) %}{{ 'b' in s }}{% endfor %}",
                 "steps");
    expect_bound("{% set s = 'a' * 1000000 %}{% set t = 'b' ~ 'a' * 1000 %}"
                 "{% for i in range(9999) %}{{ s.rfind(t) }}{% endfor %}",
                 "steps");
    expect_bound("{% set s = '\xC3\xA9' * 1000000 %}{% for i in range(99999) %}{{ s[999999] }}"
                 "{% endfor %}",
                 "steps");
    expect_bound(
        "{% set l = range(99999)|list %}{% for i in l %}{% set _ = l.pop(0) %}{% endfor %}",
        "steps");
    expect_bound("{% set s = 'a' * 1000000 %}{{ s.strip(s[1:] ~ 'bcd') }}", NULL);
    expect_bound("{% set s = 'b' * 1000000 %}{{ s.strip('a' * 100000 ~ 'b') }}", "steps");
}

Test(chat_template_bounds, output_and_memory)
{
    expect_bound("{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "more");
    expect_bound("{% set ns = namespace(x='ab') %}{% for a in range(99) %}"
                 "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
                 "16 MiB");
    expect_bound("{% set ns = namespace(x=[1]) %}{% for a in range(99) %}"
                 "{% set ns.x = ns.x + ns.x %}{% endfor %}",
                 "more than");
    expect_bound("{{ ([0] * 99999) * 99999 }}", "more than");
    expect_bound("{{ 'a'.center(99999999999) }}", "16 MiB");
    expect_bound("{{ 'a'.ljust(9223372036854775807, '\xC3\xA9') }}", "16 MiB");
    expect_bound("{{ 'a'.zfill(9223372036854775807) }}", "16 MiB");
    expect_bound("{{ ('a\\n' * 9999)|indent(99999) }}", "16 MiB");
    expect_bound("{{ [1]|tojson(indent=9223372036854775807) }}", "16 MiB");
    expect_bound("{{ '%999999s' % 1 }}", NULL);
    expect_bound("{{ '%99999999999999999999s' % 1 }}", "too large");
    expect_bound("{{ '%.1000f' % 1e308 }}{{ '{:.1000%}'.format(1e308) }}", NULL);
    expect_bound("{{ '%.1001f' % 1.5 }}", "larger than");
    expect_bound("{{ range(100001) }}", "100000");
}

Test(chat_template_bounds, numbers)
{
    expect_bound("{{ 9223372036854775807 + 1 }}", "64 bits");
    expect_bound("{{ 9223372036854775808 }}", "64 bits");
    expect_bound("{{ 9223372036854775807 * 2 }}", "64 bits");
    expect_bound("{{ 9999999999 ** 999999999 }}", "64 bits");
    expect_bound("{{ (-9223372036854775807 - 1) // -1 }}", "64 bits");
    expect_bound("{{ (-9223372036854775807 - 1) % -1 }}", "64 bits");
    expect_bound("{{ -(-9223372036854775807 - 1) }}", "64 bits");
    expect_bound("{{ (-9223372036854775807 - 1)|abs }}", "64 bits");
    expect_bound(
        "{{ 'abc'[::9223372036854775807] }}{{ [1, 2][::-9223372036854775807] }}"
        "{{ 'abc'[-9223372036854775807:9223372036854775807] }}{{ 1e308 * 10 }}"
        "{{ (1e308 * 10)|int }}{{ 1e300|int }}{{ 'inf'|float|round }}{{ 1.5|round(99999) }}"
        "{{ 1.5|round(-99999) }}{{ range(9223372036854775806, 9223372036854775807, 5)|list }}"
        "{{ 5|round(-99999) }}{{ '%d' % 1e300 if 0 }}",
        NULL);
}
