/* Long texts: what is remembered of them, and where they are cut, changes no id. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "engine/text/tokenizer_cache.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

#define WORDS 20000u /* several times as many different ones as are remembered */
#define MAX_WORD 26u

/* A word of letters, short ones more often, so that they come again. */
static size_t make_word(struct check_random *random, char *word)
{
    uint32_t letters = check_random_below(random, 2) ? 4 : 26;
    size_t n = 1 + check_random_below(random, check_random_below(random, 3) ? 5 : MAX_WORD);
    for (size_t i = 0; i < n; i++) {
        word[i] = (char)('a' + check_random_below(random, letters));
    }
    return n;
}

/* The ids of a text of words are those of the words alone, which are too short for any memory.
 * `end` stands behind each word, and belongs to what is encoded alone if `in_word`. */
static void compare_words(const char *name, const char *end, bool in_word)
{
    struct tokenizer_fixture fixture;
    struct check_random random = {11};
    struct token_list whole = {0}, parts = {0};
    char *text = malloc(WORDS * (MAX_WORD + 1));
    size_t bytes = 0, n_end = strlen(end);
    cr_assert(tokenizer_fixture_named(&fixture, name));
    for (uint32_t i = 0; i < WORDS; i++) {
        size_t n = make_word(&random, text + bytes);
        memcpy(text + bytes + n, end, n_end);
        cr_assert(tokenizer_encode(fixture.tokenizer, text + bytes, n + (in_word ? n_end : 0), 0,
                                   &parts, NULL));
        bytes += n + (in_word || i + 1 < WORDS ? n_end : 0);
    }
    cr_assert_gt(bytes, TOKENIZER_CACHE_MIN_TEXT);
    cr_assert(tokenizer_encode(fixture.tokenizer, text, bytes, 0, &whole, NULL));
    cr_assert_eq(whole.count, parts.count, "%s: %zu ids, not %zu", name, whole.count, parts.count);
    cr_expect_arr_eq(whole.ids, parts.ids, whole.count * sizeof(*whole.ids));
    token_list_free(&whole);
    token_list_free(&parts);
    free(text);
    tokenizer_fixture_free(&fixture);
}

Test(tokenizer_long, byte_level)
{
    compare_words("llama3", "\n", true);
    compare_words("deepseek", "\n", true);
}

Test(tokenizer_long, sentencepiece)
{
    compare_words("sentencepiece", " ", false);
}

Test(tokenizer_long, unigram)
{
    compare_words("unigram", " ", false);
}

/* A merge across the mark, and one with a byte before it: nothing is cut there. Ids by the package
 * tokenizers. */
Test(tokenizer_long, cuts)
{
    static const char *const merges[] = {
        "[\"a\",\"\\u2581\"],[\"\\u2581\",\"a\"]",
        "[\"<0x83>\",\"\\u2581\"],[\"\\u2581\",\"a\"]",
        "[\"\\u2581\",\"a\"]",
    };
    static const struct {
        const char *text;
        uint32_t ids[6], n;
    } rows[][3] = {
        {{"b a", {3, 5}, 2}, {"a a", {4, 2}, 2}, {"ba ab", {3, 4, 2, 3}, 4}},
        {{"b a", {3, 5}, 2}, {"\xC4\x83 a", {8, 10, 2}, 3}, {"a a", {2, 5}, 2}},
        {{"b a", {3, 5}, 2}, {"a a", {2, 5}, 2}, {"b  a", {3, 1, 5}, 3}},
    };
    for (size_t m = 0; m < 3; m++) {
        char json[2048];
        struct tokenizer_fixture fixture;
        snprintf(json, sizeof(json),
                 "{\"added_tokens\":[],\"normalizer\":{\"type\":\"Replace\",\"pattern\":{"
                 "\"String\":\" \"},\"content\":\"\\u2581\"},\"pre_tokenizer\":null,"
                 "\"post_processor\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{"
                 "\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"},{"
                 "\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":\"BPE\","
                 "\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{"
                 "\"<unk>\":0,\"\\u2581\":1,\"a\":2,\"b\":3,\"a\\u2581\":4,\"\\u2581a\":5,"
                 "\"<0xC3>\":6,\"<0x83>\":7,\"<0xC4>\":8,\"\\ufffd\":9,\"<0x83>\\u2581\":10},"
                 "\"merges\":[%s]}}",
                 merges[m]);
        tokenizer_fixture_text(&fixture, json, NULL);
        for (size_t i = 0; i < 3; i++) {
            struct token_list list = {0};
            cr_assert(tokenizer_encode(fixture.tokenizer, rows[m][i].text, strlen(rows[m][i].text),
                                       0, &list, NULL));
            cr_assert_eq(list.count, rows[m][i].n, "%s: %zu ids", rows[m][i].text, list.count);
            cr_expect_arr_eq(list.ids, rows[m][i].ids, list.count * sizeof(*list.ids), "%s",
                             rows[m][i].text);
            token_list_free(&list);
        }
        tokenizer_fixture_free(&fixture);
    }
}
