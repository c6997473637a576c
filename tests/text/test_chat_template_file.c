/* Templates with names: with tools given, "tool_use" speaks, else "default", and each as if it were
 * alone. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "engine/text/chat_template.h"
#include "engine/text/chat_template_file.h"
#include "tests/check.h"

static char *render(const char *text, size_t bytes, const json_t *variables)
{
    struct error err = {0};
    char *out = NULL;
    size_t n;
    struct chat_template *template = chat_template_create(text, bytes, &err);
    cr_assert(template, "%s", err.text);
    cr_assert(chat_template_render(template, variables, &out, &n, &err), "%s", err.text);
    chat_template_destroy(&template);
    return out;
}

static void expect_same(const char *joined, const char *alone, const char *variables)
{
    json_t *values = json_loads(variables, 0, NULL);
    cr_assert(values);
    char *a = render(joined, strlen(joined), values), *b = render(alone, strlen(alone), values);
    cr_expect_str_eq(a, b, "%s with %s: \"%s\", not \"%s\"", joined, variables, a, b);
    free(a);
    free(b);
    json_decref(values);
}

Test(chat_template_file, each_as_if_alone)
{
    /* Blanks and line breaks at both ends, where tags take them away; macros and variables. */
    static const char *const texts[] = {
        "plain",
        "\n  {% if m %}x{% endif %}\n\n",
        "  {%- for x in [1, 2] %}{{ x }}\n{% endfor %}  ",
        "\n\nline\r\n",
        "{% macro f(x) %}<{{ x }}>{% endmacro %}{% set m = 3 %}{{ f(m) }}\n  {# end #}  \n",
        "    ",
        "\t{{ m }}\n    ",
        "{% set s = namespace(n=1) %}{% for x in m or [] %}{% set s.n = 2 %}{% endfor %}{{ s.n }}",
    };
    size_t n = sizeof(texts) / sizeof(texts[0]);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            const struct chat_template_pair pair = {texts[i], texts[k], strlen(texts[i]),
                                                    strlen(texts[k])};
            char *joined;
            uint64_t bytes;
            cr_assert(chat_template_join(&pair, &joined, &bytes, NULL));
            cr_assert_eq(bytes, strlen(joined));
            expect_same(joined, texts[i], "{}");
            expect_same(joined, texts[i], "{\"tools\": null, \"m\": [1]}");
            expect_same(joined, texts[k], "{\"tools\": [], \"m\": [1]}");
            expect_same(joined, texts[k], "{\"tools\": [{\"name\": \"f\"}]}");
            free(joined);
        }
    }
}

/* Of a folder with these files (name, content, ..., NULL). */
static void expect_folder(const char *plain, const char *with_tools, const char *const files[])
{
    struct error err = {0};
    char *text;
    uint64_t bytes;
    for (; files[0]; files += 2) {
        cr_assert(
            check_write_file(check_path(check_temp_dir(), files[0]), files[1], strlen(files[1])));
    }
    cr_assert(chat_template_read(check_temp_dir(), &text, &bytes, &err), "%s", err.text);
    cr_assert(text);
    expect_same(text, plain, "{\"tools\": null}");
    expect_same(text, with_tools, "{\"tools\": [1]}");
    free(text);
}

Test(chat_template_file, folder)
{
    static const char config[] = "tokenizer_config.json";
    expect_folder(
        "one", "two",
        (const char *const[]){config,
                              "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"three\"},"
                              "{\"name\":\"tool_use\",\"template\":\"two\"},"
                              "{\"name\":\"default\",\"template\":\"one\"}]}",
                              NULL});
    expect_folder(
        "one", "one",
        (const char *const[]){
            config, "{\"chat_template\":[{\"name\":\"default\",\"template\":\"one\"}]}", NULL});
    expect_folder("four\n", "four\n", (const char *const[]){"chat_template.jinja", "four\n", NULL});
    cr_assert_eq(mkdir(check_path(check_temp_dir(), "additional_chat_templates"), 0700), 0);
    expect_folder(
        "four\n", "five\n",
        (const char *const[]){"additional_chat_templates/tool_use.jinja", "five\n", NULL});
}

/* No template without a default; and what is no text is refused by name. */
Test(chat_template_file, not_there)
{
    static const char *const rows[] = {
        "{\"chat_template\":[]}",
        "{\"chat_template\":[{\"name\":\"tool_use\"}, 3]}",
        "{\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"}]}",
        "{\"chat_template\":null}",
    };
    struct error err = {0};
    char *text;
    uint64_t bytes;
    const char *config = check_path(check_temp_dir(), "tokenizer_config.json");
    unlink(check_path(check_temp_dir(), "chat_template.jinja"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_assert(check_write_file(config, rows[i], strlen(rows[i])));
        cr_assert(chat_template_read(check_temp_dir(), &text, &bytes, &err), "%s", err.text);
        cr_expect_null(text);
    }
    static const char wrong[] = "{\"chat_template\":[{\"name\":\"default\",\"template\":\"x\"},"
                                "{\"name\":\"tool_use\",\"template\":{}}]}";
    cr_assert(check_write_file(config, wrong, strlen(wrong)));
    cr_assert(!chat_template_read(check_temp_dir(), &text, &bytes, &err));
    cr_expect(strstr(err.text, "\"chat_template\""), "%s", err.text);
}

/* A file of no end is not copied, and a link to nothing is not an absent template. */
Test(chat_template_file, strange_files)
{
    static const char *const names[] = {"chat_template.jinja", "tokenizer_config.json"};
    struct error err = {0};
    char *text;
    uint64_t bytes;
    const char *path = check_path(check_temp_dir(), names[0]);
    cr_assert(check_write_file(path, "x", 1));
    cr_assert_eq(truncate(path, (off_t)1 << 40), 0);
    cr_assert(!chat_template_read(check_temp_dir(), &text, &bytes, &err));
    cr_expect(strstr(err.text, "1099511627776 bytes"), "%s", err.text);
    cr_expect(strstr(err.text, check_temp_dir()), "%s", err.text);
    for (size_t i = 0; i < 2; i++) {
        path = check_path(check_temp_dir(), names[i]);
        unlink(path);
        cr_assert_eq(symlink("../blobs/nothing", path), 0);
        cr_assert(!chat_template_read(check_temp_dir(), &text, &bytes, &err), "%s", names[i]);
        cr_expect(strstr(err.text, "a link to a file that is not there"), "%s", err.text);
        unlink(path);
    }
}
