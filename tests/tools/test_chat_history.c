/* Conversations in memory and as files; files from strangers. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/check.h"
#include "tools/chat_history.h"

static struct chat_history talk(bool system, size_t turns)
{
    struct chat_history history = {0};
    char text[32];
    if (system) {
        cr_assert(chat_history_add(&history, CHAT_SYSTEM, "Be kind.", NULL));
    }
    for (size_t i = 0; i < turns; i++) {
        snprintf(text, sizeof(text), "question %zu", i);
        cr_assert(chat_history_add(&history, CHAT_USER, text, NULL));
        snprintf(text, sizeof(text), "answer %zu", i);
        cr_assert(chat_history_add(&history, CHAT_ASSISTANT, text, i % 2 ? "hm" : NULL));
    }
    return history;
}

Test(chat_history, oldest_goes_first_and_the_system_message_stays)
{
    struct chat_history history = talk(true, 3);
    cr_expect(chat_history_drop_oldest(&history));
    cr_expect_eq(history.n, 5);
    cr_expect_str_eq(history.messages[0].content, "Be kind.");
    cr_expect_str_eq(history.messages[1].content, "question 1");
    cr_expect_str_eq(history.messages[4].content, "answer 2");
    cr_expect(chat_history_add(&history, CHAT_USER, "question 3", NULL));
    cr_expect(chat_history_drop_oldest(&history));
    cr_expect(chat_history_drop_oldest(&history));
    cr_expect_not(chat_history_drop_oldest(&history), "the last question stays");
    cr_expect_eq(history.n, 2);
    cr_expect_str_eq(history.messages[1].content, "question 3");
    chat_history_free(&history);
}

Test(chat_history, undo_and_system)
{
    struct chat_history history = talk(false, 2);
    cr_expect(chat_history_set_system(&history, "one"));
    cr_expect_str_eq(chat_history_system(&history), "one");
    cr_expect(chat_history_set_system(&history, "two"));
    cr_expect_str_eq(chat_history_system(&history), "two");
    cr_expect_eq(history.n, 5);
    cr_expect_str_eq(history.messages[1].content, "question 0");
    cr_expect(chat_history_undo(&history));
    cr_expect_eq(history.n, 3);
    cr_expect(chat_history_set_system(&history, NULL));
    cr_expect_null(chat_history_system(&history));
    cr_expect(chat_history_undo(&history));
    cr_expect_not(chat_history_undo(&history));
    cr_expect_eq(history.n, 0);
    chat_history_free(&history);
}

Test(chat_history, saved_and_loaded_is_the_same)
{
    struct moxie_error err;
    const char *path = check_path(check_temp_dir(), "talk.json");
    struct chat_history history = talk(true, 3), loaded = talk(false, 1);
    cr_assert(chat_history_add(&history, CHAT_USER, "\"\\\n\t\xC3\xA9 \xF0\x9F\x98\x80 <|im_end|>",
                               NULL));
    cr_assert(chat_history_add(&history, CHAT_ASSISTANT, "", "thought"));
    cr_assert(chat_history_save(&history, path, &err), "%s", err.text);
    cr_assert(chat_history_save(&history, path, &err), "over itself: %s", err.text);
    cr_assert(chat_history_load(&loaded, path, &err), "%s", err.text);
    cr_assert_eq(loaded.n, history.n);
    for (size_t i = 0; i < history.n; i++) {
        cr_expect_eq(loaded.messages[i].role, history.messages[i].role);
        cr_expect_str_eq(loaded.messages[i].content, history.messages[i].content);
        cr_expect_eq(!loaded.messages[i].reasoning, !history.messages[i].reasoning);
        if (history.messages[i].reasoning) {
            cr_expect_str_eq(loaded.messages[i].reasoning, history.messages[i].reasoning);
        }
    }
    chat_history_free(&loaded);
    chat_history_free(&history);
}

/* Refused with one sentence that names the file and what is wrong, and the history stays. */
static void expect_refused(const char *path, const char *words)
{
    struct moxie_error err = {0};
    struct chat_history history = talk(true, 1);
    cr_expect_not(chat_history_load(&history, path, &err), "%s", words);
    cr_expect_not_null(strstr(err.text, words), "\"%s\" in: %s", words, err.text);
    cr_expect_not_null(strstr(err.text, path), "the file in: %s", err.text);
    cr_expect_null(strchr(err.text, '\n'));
    cr_expect_eq(history.n, 3);
    chat_history_free(&history);
}

static void expect_text_refused(const char *text, size_t n, const char *words)
{
    const char *path = check_path(check_temp_dir(), "bad.json");
    cr_assert(check_write_file(path, text, n));
    expect_refused(path, words);
}

#define U "{\"role\":\"user\",\"content\":\"a\"}"
#define A "{\"role\":\"assistant\",\"content\":\"b\"}"
#define S "{\"role\":\"system\",\"content\":\"c\"}"
#define C \
    "{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"," \
    "\"arguments\":{\"x\":[1,2.5]}}}]}"
#define T "{\"role\":\"tool\",\"name\":\"f\",\"content\":[{\"type\":\"text\",\"text\":\"3\"}]}"

/* Turns with tools go to the template as they came, and belong to their question. */
Test(chat_history, turns_with_tools)
{
    static const char text[] = "[" S "," U "," C "," T "," T "," C "," T "," A "," U "," A "]";
    struct moxie_error err;
    struct chat_history history = {0}, again = {0};
    const char *path = check_path(check_temp_dir(), "tools.json");
    json_t *wanted = json_loads(text, 0, NULL);
    cr_assert(check_write_file(path, text, strlen(text)));
    cr_assert(chat_history_load(&history, path, &err), "%s", err.text);
    cr_assert_eq(history.n, 10);
    json_t *list = chat_history_json(&history);
    cr_expect(json_equal(list, wanted));
    json_decref(list);
    cr_expect_eq(chat_history_last_question(&history), 8);
    cr_assert(chat_history_save(&history, path, &err), "%s", err.text);
    cr_assert(chat_history_load(&again, path, &err), "%s", err.text);
    list = chat_history_json(&again);
    cr_expect(json_equal(list, wanted));
    cr_assert(chat_history_drop_oldest(&history));
    cr_expect_eq(history.n, 3);
    cr_expect_str_eq(chat_history_system(&history), "c");
    cr_expect_eq(history.messages[1].role, CHAT_USER);
    cr_expect_not(chat_history_drop_oldest(&history));
    cr_assert(chat_history_undo(&again));
    cr_assert_eq(again.n, 8);
    cr_assert(chat_history_undo(&again));
    cr_expect_eq(again.n, 1);
    cr_expect_not(chat_history_undo(&again));
    json_decref(list);
    json_decref(wanted);
    chat_history_free(&history);
    chat_history_free(&again);
}

Test(chat_history, files_from_strangers)
{
    static const char *const bad[][2] = {
        {"", "not JSON"},
        {"hello", "not JSON"},
        {"[" U "," A, "not JSON"},
        {"[" U "," A "] x", "not JSON"},
        {"{}", "JSON list"},
        {"3", "not JSON"},
        {"[3]", "message 1"},
        {"[[]]", "message 1"},
        {"[{}]", "message 1"},
        {"[{\"role\":\"user\"}]", "message 1"},
        {"[{\"role\":3,\"content\":\"a\"}]", "message 1"},
        {"[{\"role\":\"user\",\"content\":[]}]", "message 1"},
        {"[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]", "not JSON"},
        {"[{\"role\":\"user\",\"content\":\"\\ud800\"}]", "not JSON"},
        {"[{\"role\":\"user\",\"role\":\"user\",\"content\":\"a\"}]", "not JSON"},
        {"[" A "]", "message 1 must be of the user"},
        {"[" U "," U "]", "message 2 must be of the assistant"},
        {"[" U "," A "," A "]", "message 3 must be of the user"},
        {"[" U "," A "," S "]", "message 3 must be of the user"},
        {"[{\"role\":\"tool\",\"content\":\"a\"}]", "message 1 must be of the user"},
        {"[" U "," A "," U "]", "no answer"},
        {"[" U "," T "," A "]", "message 2 must be of the assistant"},
        {"[" U "," C "," A "]", "message 3 must be of the tool"},
        {"[" U "," C "," T "," U "]", "message 4 must be of the assistant or a tool"},
        {"[" U "," C "]", "no answer"},
        {"[" U "," C "," T "]", "no answer"},
        {"[" U "," A "," T "]", "message 3 must be of the user"},
        {"[" C "]", "message 1 must be of the user"},
        {"[" U ",{\"role\":\"assistant\",\"content\":\"b\",\"reasoning_content\":[]}]",
         "message 2 has a \"reasoning_content\""},
        {"[\"\377\376\"]", "not JSON"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_text_refused(bad[i][0], strlen(bad[i][0]), bad[i][1]);
    }
    size_t n = 1 << 20;
    char *deep = malloc(n);
    memset(deep, '[', n);
    expect_text_refused(deep, n / 2, "not JSON");
    expect_text_refused(deep, n, "has more than a million values"); /* of a hundred bytes each */
    free(deep);
}

Test(chat_history, every_truncation_is_refused)
{
    struct moxie_error err;
    size_t n;
    const char *path = check_path(check_temp_dir(), "whole.json");
    struct chat_history history = talk(true, 2);
    cr_assert(chat_history_save(&history, path, &err));
    char *text = check_read_file(path, &n);
    for (size_t cut = 0; cut + 2 < n; cut++) {
        expect_text_refused(text, cut, "not JSON");
    }
    free(text);
    chat_history_free(&history);
}

Test(chat_history, places_that_are_no_files)
{
    struct moxie_error err;
    const char *folder = check_temp_dir();
    struct chat_history history = talk(false, 1);
    expect_refused(folder, "not a file");
    expect_refused("/dev/zero", "not a file");
    expect_refused(check_path(folder, "missing"), "No such file");
    cr_assert_eq(mkfifo(check_path(folder, "pipe"), 0600), 0);
    expect_refused(check_path(folder, "pipe"), "not a file");
    const char *bad[] = {folder, "/dev/null", check_path(folder, "missing/talk.json")};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_not(chat_history_save(&history, bad[i], &err));
        cr_expect_not_null(strstr(err.text, bad[i]), "%s", err.text);
    }
    chat_history_free(&history);
}
