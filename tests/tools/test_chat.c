/* Chat from a pipe: what is reused, forgotten and hidden, and where an answer ends. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check.h"
#include "tests/tools/run_program.h"
#include "tests/tools/scripted_model.h"

#define EXTRA SCRIPTED_MODEL_EXTRA

/* ---- the demo model ----------------------------------------------------------------------- */

struct stats {
    unsigned position, context, messages, prompt, kept, evaluated, answer, all_evaluated, generated;
};

/* The next report of /stats in the text; returns where it ends. */
static const char *read_stats(const char *text, struct stats *s)
{
    const char *at = strstr(text, "context  ");
    cr_assert_not_null(at, "%s", text);
    cr_assert_eq(sscanf(at,
                        "context %u of %u tokens, %u messages last prompt %u tokens: %u kept, %u "
                        "evaluated, %*f tokens/s last answer %u tokens, %*f tokens/s in all %u "
                        "tokens evaluated, %u generated",
                        &s->position, &s->context, &s->messages, &s->prompt, &s->kept,
                        &s->evaluated, &s->answer, &s->all_evaluated, &s->generated),
                 9, "%s", at);
    return at + 9;
}

Test(chat, only_what_is_new_is_evaluated)
{
    struct stats first, second, again, undone;
    const struct program_run *run =
        run_moxie("What is the capital of France?\n/stats\nWhat is the opposite of hot?\n/stats\n"
                  "/regen\n/stats\n/undo\nWhat is the opposite of big?\n/stats\n",
                  "chat --temp 0 --device cpu");
    cr_assert_eq(run->status, 0, "%s", run->err);
    const char *at = read_stats(run->out, &first);
    at = read_stats(at, &second);
    at = read_stats(at, &again);
    read_stats(at, &undone);
    cr_expect_eq(first.kept, 0);
    cr_expect_eq(first.evaluated, first.prompt);
    cr_expect_eq(first.position, first.prompt + first.answer, "the last token was evaluated");
    cr_expect_eq(second.kept, first.position, "the first question and its answer were kept");
    cr_expect_eq(second.kept + second.evaluated, second.prompt);
    cr_expect_eq(second.all_evaluated, first.all_evaluated + second.evaluated + second.answer);
    cr_expect_eq(again.prompt, second.prompt);
    cr_expect_eq(again.evaluated, 1, "for its logits");
    cr_expect_eq(again.answer, second.answer, "the same answer at temperature 0");
    cr_expect_eq(undone.messages, 4);
    cr_expect_gt(undone.kept, second.kept, "up to the word that is new");
    cr_expect_lt(undone.evaluated, second.evaluated);
    cr_expect_eq(undone.generated, first.answer + second.answer + again.answer + undone.answer);
}

Test(chat, reuse_changes_no_answer)
{
    char *first = strdup(run_moxie("What is the capital of France?\nWhat is the opposite of hot?\n"
                                   "/undo\nWhat is the capital of Italy?\n/undo\n"
                                   "What is the opposite of big?\n",
                                   "chat --temp 0 --device cpu --kv-type f32")
                             ->out);
    const struct program_run *fresh =
        run_moxie("What is the capital of France?\nWhat is the opposite of big?\n",
                  "chat --temp 0 --device cpu --kv-type f32");
    const char *last = strchr(fresh->out, '\n') + 1;
    size_t n = strlen(first), m = strlen(last);
    cr_expect_gt(m, 10);
    cr_expect(n > m && strcmp(first + n - m, last) == 0, "%s after %s", first, last);
    free(first);
}

Test(chat, the_oldest_turns_are_forgotten_when_the_context_is_full)
{
    const char *questions =
        "Hello!\nHello!\nHello!\nHello!\nHello!\nHello!\nWhat is the capital of "
        "France?\n/system\n/stats\n";
    struct stats stats;
    const struct program_run *run =
        run_moxie(questions, "chat --temp 0 -c 80 --device cpu --system 'You are kind.'");
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_not_null(strstr(run->err, "the oldest question"), "%s", run->err);
    cr_expect_not_null(strstr(run->out, "The capital of France is Paris."), "%s", run->out);
    cr_expect_not_null(strstr(run->out, "You are kind.\n"));
    read_stats(run->out, &stats);
    cr_expect_lt(stats.messages, 15);
    cr_expect_gt(stats.messages, 2, "not everything is forgotten");
    cr_expect_leq(stats.position, 80);
}

/* Stories fill the context in the middle of an answer. */
Test(chat, room_is_made_in_the_middle_of_an_answer)
{
    const struct program_run *run =
        run_moxie("Hello!\nHello!\nTell me a story.\n/stats\n",
                  "chat --device cpu -c 64 --temp 100 --top-k 0 --top-p 1 --min-p 0 --seed 1");
    struct stats stats;
    cr_assert_eq(run->status, 0, "%s", run->err);
    cr_expect_not_null(strstr(run->err, "forgotten"), "%s", run->err);
    cr_expect_not_null(strstr(run->err, "is full: /reset"), "one answer alone filled it: %s",
                       run->err);
    read_stats(run->out, &stats);
    cr_expect_eq(stats.messages, 2);
    cr_expect_eq(stats.position, 64);
    cr_expect_gt(stats.answer, 40);
    run = run_moxie("Hello!\nTell me a story.\n/stats\n",
                    "chat --device cpu -c 64 --temp 100 --top-k 0 --top-p 1 --min-p 0 --seed 1 "
                    "--slide -n 300 --system 'You are kind.'");
    cr_assert_eq(run->status, 0, "%s", run->err);
    read_stats(run->out, &stats);
    cr_expect_eq(stats.answer, 300, "--slide goes on");
}

Test(chat, lines_that_go_on)
{
    const char *path = check_path(check_temp_dir(), "lines.json");
    char input[700];
    snprintf(
        input, sizeof(input),
        "one \\\ntwo\n\"\"\"\n/help\n\nx\"\"\"\n\"\"\"/reset\"\"\"\n/system a \\\nb\n/save %s\n"
        "\"\"\"not closed\n",
        path);
    const struct program_run *run = run_moxie(input, "chat --temp 0 -n 3 --device cpu");
    cr_expect_eq(run->status, 0, "%s", run->err);
    char *text = check_read_file(path, NULL);
    cr_assert_not_null(text);
    cr_expect_not_null(strstr(text, "\"content\": \"one \\ntwo\""), "%s", text);
    cr_expect_not_null(strstr(text, "\"content\": \"/help\\n\\nx\""), "%s", text);
    cr_expect_not_null(strstr(text, "\"content\": \"/reset\""), "%s", text);
    cr_expect_not_null(strstr(text, "\"content\": \"a \\nb\""), "%s", text);
    free(text);
}

Test(chat, limits_and_bad_flags)
{
    cr_expect_eq(run_moxie("Hello!\n", "chat -n 0 --temp 0 --device cpu")->status, 0);
    const struct program_run *run = run_moxie("Hello!\n", "chat -n -1 --temp 0 --device cpu");
    cr_expect_eq(run->status, 0);
    cr_expect_not_null(strstr(run->out, "help you today?"));
    run = run_moxie(NULL, "chat --think maybe");
    cr_expect_eq(run->status, 2);
    cr_expect_not_null(strstr(run->err, "show, hide or off"));
    run = run_moxie("/load /dev/zero\n/banana\n/save\n", "chat --device cpu");
    cr_expect_eq(run->status, 1);
    cr_expect_not_null(strstr(run->err, "/dev/zero: is not a file\n"), "%s", run->err);
    run = run_moxie("Hello!\n", "chat --temp 0 --device cpu --think off");
    cr_expect_not_null(strstr(run->err, "no switch for reasoning"), "%s", run->err);
}

/* ---- models that say what the test wants -------------------------------------------------- */

/* Qwen3's form: enable_thinking = false closes the thought in the prompt. */
static const char thinking_template[] =
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>+' "
    "}}"
    "{%- endif %}{%- endif %}";

/* After "\n" it thinks "hm" and answers "Yes."; after "+" it answers "No.". */
static const char *thinking_model(void)
{
    static const int script[] = {'\n', EXTRA, 'h', 'm', EXTRA + 1, 'Y', 'e', 's', '.', 262, -1};
    const struct scripted_model model = {
        .chat_template = thinking_template, .extra = {"<think>", "</think>"}, .script = script};
    return scripted_model_write(&model, "thinker");
}

Test(chat, thoughts_are_shown_or_hidden)
{
    const char *model = thinking_model(), *path = check_path(check_temp_dir(), "thought.json");
    char input[600];
    snprintf(input, sizeof(input), "hi\n/save %s\n", path);
    const struct program_run *run = run_moxie(input, "chat '%s' --temp 0 --device cpu", model);
    cr_expect_eq(run->status, 0, "%s", run->err);
    cr_expect_eq(strncmp(run->out, "<think>\nhm\n</think>\n\nYes.\n(2 ", 29), 0, "%s", run->out);
    char *text = check_read_file(path, NULL);
    cr_expect_not_null(strstr(text, "\"content\": \"Yes.\""), "%s", text);
    cr_expect_not_null(strstr(text, "\"reasoning_content\": \"hm\""), "%s", text);
    free(text);
    run = run_moxie("hi\nho\n", "chat '%s' --temp 0 --device cpu --think hide", model);
    cr_expect_str_eq(run->out, "Yes.\nYes.\n");
    cr_expect_str_empty(run->err);
}

Test(chat, think_off_uses_the_templates_switch)
{
    static const int script[] = {'+', 'N', 'o', '.', 262, -1};
    const struct scripted_model model = {
        .chat_template = thinking_template, .extra = {"<think>", "</think>"}, .script = script};
    const struct program_run *run = run_moxie("hi\n", "chat '%s' --temp 0 --device cpu --think off",
                                              scripted_model_write(&model, "switched"));
    cr_expect_eq(run->status, 0, "%s", run->err);
    cr_expect_str_eq(run->out, "No.\n");
    cr_expect_str_empty(run->err);
}

/* Effort: of gpt-oss little is asked for, with a notice; Hy3, which checks the word, knows none. */
Test(chat, think_off_turns_the_effort_down)
{
#define TURNS "{%- for m in messages %}{{- m.content + '<|im_end|>' }}{%- endfor %}"
    static const struct {
        const char *form, *notice;
    } rows[] = {
        {TURNS "{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'medium' %}"
               "{%- endif %}{{- '+' if reasoning_effort == 'low' else '-' }}",
         "less reasoning, not for none"},
        {TURNS "{%- if not reasoning_effort is defined %}{%- set reasoning_effort = 'high' %}"
               "{%- elif reasoning_effort not in ['high', 'low', 'no_think'] %}"
               "{{- raise_exception('no such effort') }}{%- endif %}"
               "{{- '+' if reasoning_effort == 'no_think' else '-' }}",
         NULL},
    };
    static const int script[] = {'+', 'N', 'o', '.', 262, -1};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct scripted_model model = {
            .chat_template = rows[i].form, .extra = {"<think>", "</think>"}, .script = script};
        const char *folder = scripted_model_write(&model, i ? "checks" : "effort");
        const struct program_run *run =
            run_moxie("hi\n", "chat '%s' --temp 0 -n 4 --device cpu --think off", folder);
        cr_expect_eq(run->status, 0, "%s", run->err);
        cr_expect_str_eq(run->out, "No.\n");
        cr_expect(rows[i].notice ? strstr(run->err, rows[i].notice) != NULL : !run->err[0], "%s",
                  run->err);
        run = run_moxie("hi\n", "chat '%s' --temp 0 -n 4 --device cpu", folder);
        cr_expect_str_neq(run->out, "No.\n");
    }
}

Test(chat, thoughts_that_the_prompt_opens)
{
    static const char form[] =
        "{%- for m in messages %}{{- m.content + '<|im_end|>' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<think>\\n' }}{%- endif %}";
    static const int script[] = {'\n', 'h', 'm', EXTRA + 1, 'Y', 'e', 's', '.', 262, -1};
    const struct scripted_model model = {
        .chat_template = form, .extra = {"<think>", "</think>"}, .script = script};
    const char *folder = scripted_model_write(&model, "opened");
    cr_expect_str_eq(run_moxie("hi\n", "chat '%s' --temp 0 --device cpu --think hide", folder)->out,
                     "Yes.\n");
    cr_expect_str_eq(run_moxie("hi\n", "chat '%s' --temp 0 --device cpu", folder)->out,
                     "<think>\nhm\n</think>\n\nYes.\n");
    /* cut off while it thinks */
    cr_expect_str_eq(
        run_moxie("hi\n", "chat '%s' --temp 0 -n 2 --device cpu --think hide", folder)->out, "\n");
}

/* gpt-oss's form. <|return|> is in no list of stop tokens: the template tells. */
static const char channels_template[] =
    "{%- for m in messages %}{{- '<|start|>' + m.role + '<|message|>' + m.content }}"
    "{{- '<|return|>' if m.role == 'assistant' else '<|end|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}";

static const char *channel_model(const int *script, const char *name)
{
    enum { SPECIAL = 0x1F };
    const struct scripted_model model = {
        .chat_template = channels_template,
        .extra = {"<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "analysis"},
        .special = SPECIAL,
        .script = script};
    return scripted_model_write(&model, name);
}

Test(chat, channels_and_the_end_of_a_turn)
{
    static const int final[] = {'t',       EXTRA + 1, 'f', 'i', 'n',       'a', 'l',
                                EXTRA + 2, 'Y',       'e', 's', EXTRA + 4, -1};
    const char *folder = channel_model(final, "final");
    const struct program_run *run =
        run_moxie("hi\n/stats\n", "chat '%s' --temp 0 --device cpu --think hide", folder);
    struct stats stats;
    cr_expect_eq(run->status, 0, "%s", run->err);
    cr_expect_eq(strncmp(run->out, "Yes\ncontext", 11), 0, "%s", run->out);
    read_stats(run->out, &stats);
    cr_expect_eq(stats.answer, 10, "up to <|return|>");
    static const int analysis[] = {'t',       EXTRA + 1, EXTRA + 5, EXTRA + 2, 'h', 'm',
                                   EXTRA + 3, EXTRA,     'x',       EXTRA + 4, -1};
    folder = channel_model(analysis, "analysis");
    run = run_moxie("hi\n/stats\n", "chat '%s' --temp 0 --device cpu", folder);
    cr_expect_eq(strncmp(run->out, "<think>\nhm\n</think>\ncontext", 27), 0, "%s", run->out);
    read_stats(run->out, &stats);
    cr_expect_eq(stats.answer, 8, "<|end|> ends a channel, not the answer");
    run = run_moxie("hi\n", "chat '%s' --temp 0 --device cpu --think hide", folder);
    cr_expect_str_eq(run->out, "\n");
}

/* The stop tokens of generation_config.json, and the end of the turn that only the template has. */
Test(chat, every_stop_token)
{
    static const char form[] = "{%- for m in messages %}{{- m.content }}"
                               "{{- '<stop>\\n' if m.role == 'assistant' else '<|im_start|>' }}"
                               "{%- endfor %}{%- if add_generation_prompt %}A{%- endif %}";
    static const int stops[] = {262, 263, EXTRA};
    for (int i = 0; i < 3; i++) {
        char name[16];
        const int script[] = {'A', 'O', 'K', stops[i], '?', -1};
        const struct scripted_model model = {
            .chat_template = form, .extra = {"<stop>"}, .special = 1, .script = script};
        snprintf(name, sizeof(name), "stop-%d", i);
        const char *folder = scripted_model_write(&model, name);
        cr_expect_str_eq(run_moxie("hi\n", "chat '%s' --temp 0 -n 9 --device cpu", folder)->out,
                         "OK\n", "token %d", stops[i]);
        cr_assert_eq(run_moxie(NULL, "convert '%s' '%s.moxie' --type keep", folder, folder)->status,
                     0);
        cr_expect_str_eq(
            run_moxie("hi\n", "chat '%s.moxie' --temp 0 -n 9 --device cpu", folder)->out, "OK\n",
            "token %d of the converted file", stops[i]);
    }
}
