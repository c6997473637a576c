/* A chat as a person has it, at a pseudo-terminal: typing and editing, several lines, Ctrl-C, and
 * the commands. The demo model, on the CPU. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/tools/pseudo_terminal.h"
#include "tests/tools/scripted_model.h"

#define PROMPT "\033[?2004h> " /* bracketed paste on, and the prompt */
#define MORE "\033[?2004h... "
#define PASTE(text) "\033[200~" text "\033[201~"
#define CTRL_A "\001"
#define CTRL_C "\003"
#define CTRL_D "\004"
#define BACKSPACE "\177"
#define UP "\033[A"

static const char *const greedy[] = {"chat", "--device", "cpu", "--temp", "0", NULL};

/* Endless babble. */
static const char *const hot[] = {"chat",    "--device", "cpu",     "--temp", "100",
                                  "--top-k", "0",        "--top-p", "1",      "--min-p",
                                  "0",       "--slide",  "--seed",  "3",      NULL};

static void open_chat(struct pseudo_terminal *terminal, const char *const *arguments)
{
    pseudo_terminal_open(terminal, arguments);
    pseudo_terminal_expect(terminal, "/help lists commands");
    pseudo_terminal_expect(terminal, PROMPT);
}

/* Types a line, and expects these texts in this order and the next prompt. */
static void ask(struct pseudo_terminal *terminal, const char *keys, const char *first,
                const char *second)
{
    pseudo_terminal_send(terminal, keys);
    pseudo_terminal_send(terminal, "\r");
    pseudo_terminal_expect(terminal, "\033[?2004l");
    pseudo_terminal_expect(terminal, first);
    if (second) {
        pseudo_terminal_expect(terminal, second);
    }
    pseudo_terminal_expect(terminal, PROMPT);
}

static void leave(struct pseudo_terminal *terminal)
{
    pseudo_terminal_send(terminal, CTRL_D);
    cr_expect_eq(pseudo_terminal_close(terminal), 0);
}

/* The messages that /save writes. */
static json_t *saved(struct pseudo_terminal *terminal, const char *name)
{
    char line[512];
    const char *path = check_path(check_temp_dir(), name);
    snprintf(line, sizeof(line), "/save %s", path);
    ask(terminal, line, "messages saved to", NULL);
    json_t *list = json_load_file(path, 0, NULL);
    cr_assert_not_null(list);
    return list;
}

static const char *content(const json_t *list, size_t at)
{
    return json_string_value(json_object_get(json_array_get(list, at), "content"));
}

Test(chat_terminal, typing_and_editing)
{
    struct pseudo_terminal terminal;
    open_chat(&terminal, greedy);
    ask(&terminal, "What is the capital of Fox" BACKSPACE BACKSPACE "rance?",
        "The capital of France is Paris.\r\n", NULL);
    ask(&terminal, "hat is the opposite of hot?" CTRL_A "W", "The opposite of hot is cold.\r\n",
        NULL);
    ask(&terminal, UP UP, "The capital of France is Paris.\r\n", NULL);
    ask(&terminal, "na\xC3\xAFve \xF0\x9F\x98\x80", "", NULL);
    json_t *list = saved(&terminal, "typed.json");
    cr_expect_eq(json_array_size(list), 8);
    cr_expect_str_eq(content(list, 0), "What is the capital of France?");
    cr_expect_str_eq(content(list, 2), "What is the opposite of hot?");
    cr_expect_str_eq(content(list, 4), "What is the capital of France?");
    cr_expect_str_eq(content(list, 6), "na\xC3\xAFve \xF0\x9F\x98\x80");
    json_decref(list);
    leave(&terminal);
}

Test(chat_terminal, several_lines)
{
    struct pseudo_terminal terminal;
    open_chat(&terminal, greedy);
    size_t before = terminal.n;
    ask(&terminal, PASTE("What is the\rcapital of France?"), "Paris.\r\n", NULL);
    const char *all = pseudo_terminal_since(&terminal, before);
    char *first = strstr(all, "Paris");
    cr_expect_null(strstr(first + 1, "Paris"), "one question: %s", all);
    ask(&terminal, "and " PASTE("/help\033[31m\x07") " me", "", NULL);
    ask(&terminal, PASTE("/help\r/reset\r"), "", NULL);
    /* typed: a line goes on, and a block */
    pseudo_terminal_send(&terminal, "one \\\r");
    pseudo_terminal_expect(&terminal, MORE);
    ask(&terminal, "two", "", NULL);
    pseudo_terminal_send(&terminal, "\"\"\"\r");
    pseudo_terminal_expect(&terminal, MORE);
    pseudo_terminal_send(&terminal, "/reset\r");
    pseudo_terminal_expect(&terminal, MORE);
    ask(&terminal, "four\"\"\"", "", NULL);
    /* thrown away */
    pseudo_terminal_send(&terminal, "\"\"\"never\r");
    pseudo_terminal_expect(&terminal, MORE);
    pseudo_terminal_send(&terminal, "asked" CTRL_C);
    pseudo_terminal_expect(&terminal, PROMPT);
    json_t *list = saved(&terminal, "lines.json");
    cr_expect_eq(json_array_size(list), 10);
    cr_expect_str_eq(content(list, 0), "What is the\ncapital of France?");
    cr_expect_str_eq(content(list, 2), "and /help[31m me");
    cr_expect_str_eq(content(list, 4), "/help\n/reset");
    cr_expect_str_eq(content(list, 6), "one \ntwo");
    cr_expect_str_eq(content(list, 8), "/reset\nfour");
    json_decref(list);
    leave(&terminal);
}

Test(chat_terminal, interrupt_stops_the_answer)
{
    struct pseudo_terminal terminal;
    open_chat(&terminal, hot);
    pseudo_terminal_send(&terminal, "Tell a story.\r");
    pseudo_terminal_expect(&terminal, "\033[?2004l");
    pseudo_terminal_wait(&terminal, 200);
    pseudo_terminal_send(&terminal, CTRL_C);
    pseudo_terminal_expect(&terminal, "(stopped)");
    pseudo_terminal_expect(&terminal, PROMPT);
    json_t *list = saved(&terminal, "stopped.json");
    cr_expect_eq(json_array_size(list), 2);
    cr_expect_gt(strlen(content(list, 1)), 20, "the beginning of the answer stays");
    json_decref(list);
    /* at the prompt it throws the line away */
    pseudo_terminal_send(&terminal, "/quit and more" CTRL_C);
    pseudo_terminal_expect(&terminal, PROMPT);
    ask(&terminal, "/undo", "taken back", NULL);
    leave(&terminal);
}

Test(chat_terminal, undo_regen_and_stats)
{
    struct pseudo_terminal terminal;
    open_chat(&terminal, greedy);
    ask(&terminal, "/regen", "no answer", NULL);
    ask(&terminal, "/undo", "no question", NULL);
    ask(&terminal, "What is the capital of France?", "is Paris.\r\n", NULL);
    ask(&terminal, "What is the opposite of hot?", "is cold.\r\n", NULL);
    ask(&terminal, "/regen", "is cold.\r\n", NULL);
    json_t *list = saved(&terminal, "regen.json");
    cr_expect_eq(json_array_size(list), 4);
    json_decref(list);
    ask(&terminal, "/undo", "taken back", NULL);
    list = saved(&terminal, "undo.json");
    cr_expect_eq(json_array_size(list), 2);
    cr_expect_str_eq(content(list, 0), "What is the capital of France?");
    json_decref(list);
    ask(&terminal, "/stats", "last prompt", "kept");
    ask(&terminal, "/quit now", "takes nothing", NULL);
    pseudo_terminal_send(&terminal, "/quit\r");
    cr_expect_eq(pseudo_terminal_close(&terminal), 0);
}

Test(chat_terminal, save_load_and_system)
{
    struct pseudo_terminal terminal;
    char line[512];
    open_chat(&terminal, greedy);
    ask(&terminal, "/system", "no system message", NULL);
    ask(&terminal, "/system You are kind.", "is set", NULL);
    ask(&terminal, "What is the capital of France?", "is Paris.\r\n", NULL);
    json_decref(saved(&terminal, "kind.json"));
    ask(&terminal, "/reset", "", NULL);
    ask(&terminal, "/system", "You are kind.", NULL);
    ask(&terminal, "/system -", "is removed", NULL);
    ask(&terminal, "/load /nowhere/at/all.json", "/nowhere/at/all.json: No such file", NULL);
    snprintf(line, sizeof(line), "/load %s", check_path(check_temp_dir(), "kind.json"));
    ask(&terminal, line, "3 messages loaded", NULL);
    ask(&terminal, "/system", "You are kind.", NULL);
    ask(&terminal, "/regen", "is Paris.\r\n", NULL);
    ask(&terminal, "/load", "needs a FILE", NULL);
    leave(&terminal);
}

static const char plain_template[] =
    "{%- for m in messages %}{{- m.content + '<|im_end|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>' }}{%- endif %}";

static void open_scripted(struct pseudo_terminal *terminal, const struct scripted_model *model,
                          const char *name, const char *think)
{
    const char *const arguments[] = {"chat",     scripted_model_write(model, name),
                                     "--temp",   "0",
                                     "--device", "cpu",
                                     "--think",  think,
                                     NULL};
    open_chat(terminal, arguments);
}

Test(chat_terminal, thoughts)
{
    static const int script[] = {
        261, SCRIPTED_MODEL_EXTRA, 'h', 'm', SCRIPTED_MODEL_EXTRA + 1, 'Y', 'e', 's', '.', 262, -1};
    const struct scripted_model model = {
        .chat_template = plain_template, .extra = {"<think>", "</think>"}, .script = script};
    struct pseudo_terminal terminal;
    open_scripted(&terminal, &model, "hidden", "hide");
    ask(&terminal, "hi", "thinking ...\r\033[KYes.\r\n", NULL);
    leave(&terminal);
    open_scripted(&terminal, &model, "shown", "show");
    ask(&terminal, "hi", "\033[2mhm\r\n\033[0m\r\nYes.\r\n", NULL);
    leave(&terminal);
}

/* A model cannot clear the screen. */
/* A model that is cut off while it is talked with, as by a download that begins anew. */
Test(chat_terminal, a_file_that_is_cut_off)
{
    size_t bytes;
    struct pseudo_terminal terminal;
    const char *path = check_path(check_temp_dir(), "cut\n.moxie");
    char *model = check_read_file(check_source_path("models/moxie-tiny.moxie"), &bytes);
    cr_assert(check_write_file(path, model, bytes));
    free(model);
    open_chat(&terminal, (const char *const[]){"chat", path, "--device", "cpu", NULL});
    cr_assert_eq(truncate(path, 4096), 0);
    pseudo_terminal_send(&terminal, "Hello\r");
    pseudo_terminal_expect(&terminal, "moxie: /");
    pseudo_terminal_expect(&terminal, ".moxie became shorter while it was read");
    cr_expect_eq(pseudo_terminal_close(&terminal), 1);
}

Test(chat_terminal, control_characters_of_a_model)
{
    static const int script[] = {261, 'O', 0x1B, '[', '2', 'J', 0xC2, 0x9B, 'K', 262, -1};
    const struct scripted_model model = {.chat_template = plain_template, .script = script};
    struct pseudo_terminal terminal;
    open_scripted(&terminal, &model, "hostile", "show");
    ask(&terminal, "hi", "O\uFFFD[2J\uFFFDK\r\n", NULL);
    leave(&terminal);
}
