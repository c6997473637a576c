/* Completions: where the prompt comes from, JSON lines, stop strings. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/tools/run_program.h"
#include "tests/tools/scripted_model.h"

#define STORY "'Once upon a time' --temp 0 --device cpu"

/* The n-th line as JSON, or NULL. */
static json_t *line_of(const char *text, size_t n)
{
    for (; n > 0 && text; n--) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text && *text ? json_loads(text, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++) {
        n += *text == '\n';
    }
    return n;
}

/* All "text"s one after the other; every line is checked. Free it. */
static char *text_of_lines(const char *lines, size_t alternatives)
{
    char *text = calloc(1, 1);
    size_t n = lines_of(lines);
    for (size_t i = 0; i < n; i++) {
        json_t *line = line_of(lines, i);
        cr_assert_not_null(line, "line %zu of %s", i, lines);
        json_t *id = json_object_get(line, "id"), *top = json_object_get(line, "top");
        const char *piece = json_string_value(json_object_get(line, "text"));
        double p = json_number_value(json_object_get(line, "probability"));
        cr_assert(json_is_integer(id) && piece && p > 0 && p <= 1 && json_is_array(top));
        cr_assert_eq(json_array_size(top), alternatives);
        double before = 1;
        for (size_t a = 0; a < alternatives; a++) {
            json_t *other = json_array_get(top, a);
            double q = json_number_value(json_object_get(other, "probability"));
            cr_assert(q <= before && q > 0, "the likeliest first");
            cr_assert(json_is_string(json_object_get(other, "text")));
            before = q;
        }
        text = realloc(text, strlen(text) + strlen(piece) + 1);
        strcat(text, piece);
        json_decref(line);
    }
    return text;
}

Test(complete, json_is_the_text_token_by_token)
{
    char *plain = strdup(run_moxie(NULL, "complete " STORY " -n 40 --no-echo")->out);
    plain[strlen(plain) - 1] = 0; /* the line feed at the end */
    const struct program_run *run = run_moxie(NULL, "complete " STORY " -n 40 --json");
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_eq(lines_of(run->out), 40);
    char *text = text_of_lines(run->out, 5);
    cr_expect_str_eq(text, plain);
    free(text);
    for (size_t i = 0; i < 40; i++) {
        json_t *line = line_of(run->out, i), *top = json_object_get(line, "top");
        json_t *best = json_array_get(top, 0);
        cr_expect_eq(json_integer_value(json_object_get(line, "id")),
                     json_integer_value(json_object_get(best, "id")), "greedy takes the likeliest");
        json_decref(line);
    }
    run = run_moxie(NULL, "complete " STORY " -n 3 --json --alternatives 0");
    free(text_of_lines(run->out, 0));
    run = run_moxie(NULL, "complete " STORY " -n 2 --json --top-logprobs 1000");
    free(text_of_lines(run->out, 1000));
    cr_expect_eq(run_moxie(NULL, "complete " STORY " --json --top-logprobs 1001")->status, 2);
    free(plain);
}

/* The same numbers as `moxie logits`. */
Test(complete, probabilities_are_the_softmax_of_the_logits)
{
    json_t *all = json_loads(run_moxie(NULL, "logits --ids 1,2,3 --device cpu")->out, 0, NULL);
    json_t *logits = json_object_get(all, "logits");
    double sum = 0, largest = -INFINITY;
    size_t n = json_array_size(logits), best = 0;
    for (size_t i = 0; i < n; i++) {
        double logit = json_number_value(json_array_get(logits, i));
        best = logit > largest ? i : best;
        largest = logit > largest ? logit : largest;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(json_number_value(json_array_get(logits, i)) - largest);
    }
    json_decref(all);
    char *text = strdup(run_moxie(NULL, "tokenize '%s' --decode 1,2,3",
                                  check_source_path("models/moxie-tiny.moxie"))
                            ->out);
    text[strlen(text) - 1] = 0;
    const struct program_run *run =
        run_moxie(NULL, "complete -p '%s' -n 1 --json --temp 0 --device cpu --kv-type f32", text);
    json_t *line = line_of(run->out, 0);
    cr_assert_not_null(line, "%s %s", text, run->err);
    cr_expect_eq(json_integer_value(json_object_get(line, "id")), (json_int_t)best);
    cr_expect_float_eq(json_number_value(json_object_get(line, "probability")), 1 / sum, 1e-3);
    json_decref(line);
    free(text);
}

/* Every piece of the story as a stop string: inside a token, whole tokens, and across them. */
Test(complete, stop_strings_that_span_tokens)
{
    char *story = strdup(run_moxie(NULL, "complete " STORY " -n 24 --no-echo")->out);
    story[strlen(story) - 1] = 0;
    static const size_t lengths[] = {1, 3, 12};
    for (size_t l = 0; l < 3; l++) {
        for (size_t at = 1; at + lengths[l] < strlen(story); at += 9) {
            char stop[32], expected[512];
            snprintf(stop, sizeof(stop), "%.*s", (int)lengths[l], story + at);
            if (strpbrk(stop, "'\"\n")) {
                continue;
            }
            size_t cut = (size_t)(strstr(story, stop) - story);
            snprintf(expected, sizeof(expected), "%.*s\n", (int)cut, story);
            const struct program_run *run = run_moxie(
                NULL, "complete " STORY " -n 24 --no-echo --stop never --stop '%s'", stop);
            cr_expect_str_eq(run->out, expected, "stop \"%s\"", stop);
            expected[cut] = 0;
            run = run_moxie(NULL, "complete " STORY " -n 24 --json --stop '%s'", stop);
            char *text = text_of_lines(run->out, 5);
            cr_expect_str_eq(text, expected, "stop \"%s\" of JSON", stop);
            free(text);
        }
    }
    /* a beginning that stays one is printed in the end */
    char last[32];
    snprintf(last, sizeof(last), "%s", story + strlen(story) - 4);
    char *with =
        strdup(run_moxie(NULL, "complete " STORY " -n 24 --no-echo --stop '%sxyz'", last)->out);
    story[strlen(story)] = '\n';
    cr_expect_eq(strncmp(with, story, strlen(with)), 0);
    cr_expect_eq(strlen(with), strlen(story));
    free(with);
    cr_expect_eq(run_moxie(NULL, "complete " STORY " --stop ''")->status, 2);
    free(story);
}

Test(complete, where_the_prompt_comes_from)
{
    const char *file = check_path(check_temp_dir(), "prompt.txt");
    const char *demo = check_source_path("models/moxie-tiny.moxie");
    check_write_file(file, "Once upon a time", 16);
    char *expected = strdup(run_moxie(NULL, "complete " STORY " -n 5")->out);
    const char *flags = "-n 5 --temp 0 --device cpu";
    cr_expect_str_eq(run_moxie(NULL, "complete -p 'Once upon a time' %s", flags)->out, expected);
    cr_expect_str_eq(run_moxie(NULL, "complete -f %s %s", file, flags)->out, expected);
    cr_expect_str_eq(run_moxie("Once upon a time", "complete %s", flags)->out, expected);
    cr_expect_str_eq(run_moxie("Once upon a time", "complete - %s", flags)->out, expected);
    cr_expect_str_eq(run_moxie("Once upon a time", "complete -f - %s", flags)->out, expected);
    cr_expect_str_eq(run_moxie("Once upon a time", "complete '%s' %s", demo, flags)->out, expected);
    cr_expect_str_eq(run_moxie(NULL, "complete '%s' -f %s %s", demo, file, flags)->out, expected);
    cr_expect_eq(run_moxie(NULL, "complete -f %s -p x %s", file, flags)->status, 2);
    cr_expect_eq(run_moxie("", "complete %s", flags)->status, 2);
    const struct program_run *run = run_moxie(NULL, "complete -f %s/missing %s", file, flags);
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "prompt.txt/missing could not be read"), "%s", run->err);
    free(expected);
    /* a prompt with a NUL and invalid UTF-8 is echoed as it is */
    check_write_file(file, "a\0\377b", 4);
    run = run_moxie(NULL, "complete -f %s -n 1 --temp 0 --device cpu", file);
    cr_expect_eq(run->status, 0, "%s", run->err);
    cr_expect_eq(memcmp(run->out, "a\0\377b", 4), 0);
}

Test(complete, how_many_tokens)
{
    cr_expect_str_eq(run_moxie(NULL, "complete hello -n 0 --device cpu")->out, "hello\n");
    cr_expect_str_empty(run_moxie(NULL, "complete hello -n 0 --json --device cpu")->out);
    char *all = strdup(run_moxie(NULL, "complete " STORY " -c 40 -n -1")->out);
    cr_expect_str_eq(run_moxie(NULL, "complete " STORY " -c 40")->out, all);
    cr_expect_gt(strlen(all), 60);
    free(all);
    cr_expect_eq(run_moxie(NULL, "complete hello -n -2")->status, 2);
    cr_expect_eq(run_moxie(NULL, "complete hello -n=-1")->status, 2);
    cr_expect_eq(run_moxie(NULL, "complete hello --predict=-1 -c 16 --temp 0 --device cpu")->status,
                 0);
}

/* A character of three tokens, then half of one: JSON is valid UTF-8, and no token's text is lost.
 */
Test(complete, characters_of_several_tokens)
{
    static const int script[] = {'a', 'x', 0xE6, 0x97, 0xA5, 'y', 0xF0, 0x9F, 262, -1};
    const struct scripted_model model = {.chat_template = "x", .script = script};
    const char *folder = scripted_model_write(&model, "characters");
    const struct program_run *run =
        run_moxie(NULL, "complete '%s' a --json --temp 0 --device cpu --alternatives 1", folder);
    static const char *const texts[] = {"x", "", "", "\xE6\x97\xA5", "y", "", "\xEF\xBF\xBD"};
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_assert_eq(lines_of(run->out), 7, "%s", run->out);
    for (size_t i = 0; i < 7; i++) {
        json_t *line = line_of(run->out, i);
        cr_assert_not_null(line);
        cr_expect_str_eq(json_string_value(json_object_get(line, "text")), texts[i], "line %zu", i);
        cr_expect_eq(json_integer_value(json_object_get(line, "id")), script[i + 1]);
        json_decref(line);
    }
    cr_expect_str_eq(
        run_moxie(NULL, "complete '%s' a --temp 0 --device cpu --no-echo", folder)->out,
        "x\xE6\x97\xA5y\xEF\xBF\xBD\n");
    cr_expect_str_eq(run_moxie(NULL,
                               "complete '%s' a --temp 0 --device cpu --no-echo --stop "
                               "'\xE6\x97\xA5y'",
                               folder)
                         ->out,
                     "x\n");
}
