/* Stop strings against a definition: cut the whole text at the first of them. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/check.h"
#include "tools/stop_strings.h"

/* The part of the text before the earliest stop string; of two at one place it does not matter. */
static size_t cut_of(const char *text, const char *const *stops, uint32_t n, bool *found)
{
    const char *first = text + strlen(text);
    *found = false;
    for (uint32_t i = 0; i < n; i++) {
        const char *at = strstr(text, stops[i]);
        if (at && at < first) {
            first = at;
        }
        *found = *found || at;
    }
    return (size_t)(first - text);
}

static void expect_cut(struct check_random *random, const char *text, const char *const *stops,
                       uint32_t n)
{
    struct stop_strings strings = {.texts = stops, .n = n};
    struct text_buffer out = {0};
    bool expected, found = false;
    size_t length = strlen(text), cut = cut_of(text, stops, n, &expected);
    for (size_t at = 0; at < length && !found;) {
        size_t piece = 1 + check_random_below(random, 4);
        piece = piece < length - at ? piece : length - at;
        found = stop_strings_push(&strings, text + at, piece, &out);
        at += piece;
        bool any;
        cr_assert_leq(out.n, cut_of(text, stops, n, &any), "never more than is certain");
    }
    found = found || stop_strings_end(&strings, &out);
    cr_assert_eq(found, expected, "%s", text);
    cr_assert_eq(out.n, cut, "%s: %zu instead of %zu", text, out.n, cut);
    cr_assert_eq(memcmp(text_buffer_text(&out), text, cut), 0);
    text_buffer_free(&out);
    text_buffer_free(&strings.held);
}

Test(stop_strings, random_texts_in_random_pieces)
{
    struct check_random random = {.state = 11};
    uint32_t n_found = 0;
    for (int round = 0; round < 20000; round++) {
        char text[41] = "", stop_texts[3][6];
        const char *stops[3];
        uint32_t n = 1 + check_random_below(&random, 3);
        uint32_t length = check_random_below(&random, 40);
        for (uint32_t i = 0; i < length; i++) {
            text[i] = "abc"[check_random_below(&random, 3)];
            text[i + 1] = 0;
        }
        for (uint32_t s = 0; s < n; s++) {
            uint32_t m = 1 + check_random_below(&random, 5);
            for (uint32_t i = 0; i < m; i++) {
                stop_texts[s][i] = "abcd"[check_random_below(&random, round % 2 ? 4 : 3)];
            }
            stop_texts[s][m] = 0;
            stops[s] = stop_texts[s];
        }
        bool found;
        cut_of(text, stops, n, &found);
        n_found += found;
        expect_cut(&random, text, stops, n);
    }
    cr_expect_gt(n_found, 5000);
    cr_expect_lt(n_found, 19000);
}

Test(stop_strings, a_stop_string_that_begins_again_in_itself)
{
    struct check_random random = {.state = 5};
    const char *const stops[] = {"aab"};
    for (int i = 0; i < 50; i++) {
        expect_cut(&random, "xaaaaab tail", stops, 1);
        expect_cut(&random, "aaaaaaaaaa", stops, 1);
        expect_cut(&random, "", stops, 1);
    }
}

Test(stop_strings, none_at_all)
{
    struct stop_strings strings = {0};
    struct text_buffer out = {0};
    cr_expect_not(stop_strings_push(&strings, "hello", 5, &out));
    cr_expect_str_eq(text_buffer_text(&out), "hello", "nothing is held back");
    text_buffer_free(&out);
}
