/* Encoding and decoding against Hugging Face's ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/unicode.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

static struct token_list encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                                uint32_t flags)
{
    struct token_list list = {0};
    struct error err = {0};
    cr_assert(tokenizer_encode(tokenizer, text, bytes, flags, &list, &err), "%s", err.text);
    return list;
}

/* "1,2,3" */
static const char *spell(const struct token_list *list)
{
    static char text[4096];
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; i < list->count && n < sizeof(text) - 16; i++) {
        n += (size_t)snprintf(text + n, 16, "%s%u", i ? "," : "", list->ids[i]);
    }
    return text;
}

static void expect(const struct tokenizer *tokenizer, const char *text, uint32_t flags,
                   const char *wanted)
{
    struct token_list list = encode(tokenizer, text, strlen(text), flags);
    cr_expect_str_eq(spell(&list), wanted, "\"%s\": %s, not %s", text, spell(&list), wanted);
    token_list_free(&list);
}

static bool same_ids(const struct token_list *list, const json_t *ids)
{
    bool same = list->count == json_array_size(ids);
    for (size_t i = 0; same && i < list->count; i++) {
        same = list->ids[i] == json_integer_value(json_array_get(ids, i));
    }
    return same;
}

static json_t *load_vectors(void)
{
    json_t *root = json_load_file(check_source_path("tests/text/tokenizer_vectors.json"),
                                  JSON_ALLOW_NUL, NULL);
    cr_assert(root);
    cr_assert_geq(json_array_size(json_object_get(root, "strings")), 150);
    return root;
}

static void compare_flags(const struct tokenizer *tokenizer, const json_t *strings,
                          const json_t *wanted, const json_t *unless, uint32_t flags)
{
    size_t n = unless ? json_array_size(wanted) : json_array_size(strings);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(strings, i), *ids = json_array_get(wanted, i);
        if (json_is_null(ids)) {
            ids = json_array_get(unless, i);
        }
        cr_assert(json_is_array(ids));
        struct token_list list =
            encode(tokenizer, json_string_value(text), json_string_length(text), flags);
        cr_expect(same_ids(&list, ids), "string %zu \"%s\", flags %u: got %s", i,
                  json_string_value(text), flags, spell(&list));
        token_list_free(&list);
    }
}

static void compare_vectors(const char *name)
{
    json_t *root = load_vectors();
    const json_t *strings = json_object_get(root, "strings");
    const json_t *vectors = json_object_get(json_object_get(root, "tokenizers"), name);
    const json_t *special = json_object_get(vectors, "special");
    const json_t *with = json_object_get(vectors, "with_post_processor");
    struct tokenizer_fixture fixture = {0};
    cr_assert_eq(json_array_size(special), json_array_size(strings));
    if (!tokenizer_fixture_named(&fixture, name)) {
        json_decref(root);
        cr_skip("the shared models are not here");
    }
    compare_flags(fixture.tokenizer, strings, special, special, TOKENIZER_PARSE_SPECIAL);
    compare_flags(fixture.tokenizer, strings, json_object_get(vectors, "plain"), special, 0);
    compare_flags(fixture.tokenizer, strings, json_is_array(with) ? with : special, special,
                  TOKENIZER_PARSE_SPECIAL | (json_is_array(with) ? TOKENIZER_ADD_SPECIAL : 0));
    tokenizer_fixture_free(&fixture);
    json_decref(root);
}

Test(vectors, llama3)
{
    compare_vectors("llama3");
}

Test(vectors, gpt2)
{
    compare_vectors("gpt2");
}

Test(vectors, digits)
{
    compare_vectors("digits");
}

Test(vectors, added)
{
    compare_vectors("added");
}

Test(vectors, deepseek)
{
    compare_vectors("deepseek");
}

Test(vectors, unknown)
{
    compare_vectors("unknown");
}

Test(vectors, moxie_tiny)
{
    compare_vectors("moxie-tiny");
}

Test(demo, reference_ids)
{
    struct tokenizer_fixture fixture = {0};
    if (!tokenizer_fixture_named(&fixture, "moxie-tiny")) {
        cr_skip("the shared models are not here");
    }
    json_t *root = json_load_file(check_shared_path("models/moxie-tiny/reference.json"), 0, NULL);
    cr_assert(root);
    size_t i, n = 0;
    json_t *prompt;
    json_array_foreach(json_object_get(root, "prompts"), i, prompt)
    {
        const char *text = json_string_value(json_object_get(prompt, "prompt"));
        struct token_list list =
            encode(fixture.tokenizer, text, strlen(text), TOKENIZER_PARSE_SPECIAL);
        cr_expect(same_ids(&list, json_object_get(prompt, "ids")), "prompt %zu", i);
        token_list_free(&list);
        n++;
    }
    cr_assert_geq(n, 10);
    const json_t *text = json_object_get(root, "perplexity");
    struct token_list list =
        encode(fixture.tokenizer, json_string_value(json_object_get(text, "text")),
               json_string_length(json_object_get(text, "text")), 0);
    cr_expect(same_ids(&list, json_object_get(text, "ids")));
    token_list_free(&list);
    cr_expect_eq(tokenizer_vocabulary(fixture.tokenizer), 2048);
    cr_expect_eq(tokenizer_eos(fixture.tokenizer), 2047);
    cr_expect_eq(tokenizer_bos(fixture.tokenizer), TOKEN_NONE);
    cr_expect(tokenizer_is_stop(fixture.tokenizer, 2047));
    cr_expect(tokenizer_is_stop(fixture.tokenizer, 2045));
    cr_expect(!tokenizer_is_stop(fixture.tokenizer, 2046));
    json_decref(root);
    tokenizer_fixture_free(&fixture);
}

/* All bytes of the tokens, and the same through a stream. */
static void decode(const struct tokenizer *tokenizer, const struct token_list *list,
                   struct unicode_buffer *whole, struct unicode_buffer *streamed)
{
    struct text_stream stream = {0};
    for (size_t i = 0; i < list->count; i++) {
        uint32_t bytes;
        char out[1024];
        const char *text = tokenizer_token_bytes(tokenizer, list->ids[i], true, &bytes);
        cr_assert(3 * (bytes + 3) <= sizeof(out));
        unicode_buffer_append(whole, text, bytes, NULL);
        size_t n = text_stream_push(&stream, text, bytes, out);
        cr_expect(unicode_is_valid(out, n), "half a character came out");
        unicode_buffer_append(streamed, out, n, NULL);
    }
    char out[3];
    cr_expect_eq(text_stream_flush(&stream, out), 0);
}

static void round_trip(const char *name, bool is_composed)
{
    json_t *root = load_vectors();
    const json_t *strings = json_object_get(root, "strings");
    const json_t *composed = json_object_get(root, "nfc");
    struct tokenizer_fixture fixture = {0};
    if (!tokenizer_fixture_named(&fixture, name)) {
        cr_skip("the shared models are not here");
    }
    for (size_t i = 0; i < json_array_size(strings); i++) {
        const json_t *text = json_array_get(strings, i), *wanted = json_array_get(composed, i);
        wanted = json_is_null(wanted) || !is_composed ? text : wanted;
        struct token_list list = encode(fixture.tokenizer, json_string_value(text),
                                        json_string_length(text), TOKENIZER_PARSE_SPECIAL);
        struct unicode_buffer whole = {0}, streamed = {0};
        decode(fixture.tokenizer, &list, &whole, &streamed);
        cr_expect(
            whole.bytes == json_string_length(wanted) &&
                memcmp(whole.data ? whole.data : "", json_string_value(wanted), whole.bytes) == 0,
            "string %zu \"%s\"", i, json_string_value(text));
        cr_expect(streamed.bytes == whole.bytes &&
                  (whole.bytes == 0 || memcmp(streamed.data, whole.data, whole.bytes) == 0));
        unicode_buffer_free(&whole);
        unicode_buffer_free(&streamed);
        token_list_free(&list);
    }
    tokenizer_fixture_free(&fixture);
    json_decref(root);
}

Test(decode, llama3)
{
    round_trip("llama3", false);
}

Test(decode, deepseek)
{
    round_trip("deepseek", false);
}

Test(decode, moxie_tiny)
{
    round_trip("moxie-tiny", true);
}

Test(compose, like_python)
{
    json_t *root = load_vectors();
    const json_t *strings = json_object_get(root, "strings");
    size_t changed = 0;
    for (size_t i = 0; i < json_array_size(strings); i++) {
        const json_t *text = json_array_get(strings, i);
        const json_t *wanted = json_array_get(json_object_get(root, "nfc"), i);
        changed += !json_is_null(wanted);
        wanted = json_is_null(wanted) ? text : wanted;
        struct unicode_buffer out = {0};
        cr_assert(unicode_compose(json_string_value(text), json_string_length(text), &out, NULL));
        cr_expect(out.bytes == json_string_length(wanted) &&
                      memcmp(out.data ? out.data : "", json_string_value(wanted), out.bytes) == 0,
                  "string %zu", i);
        unicode_buffer_free(&out);
    }
    cr_expect_geq(changed, 20);
    json_decref(root);
}

Test(tiny, ids)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, tokenizer_fixture_tiny, NULL);
    const struct tokenizer *t = fixture.tokenizer;
    expect(t, "ab", TOKENIZER_PARSE_SPECIAL, "5");
    expect(t, " ab", TOKENIZER_PARSE_SPECIAL, "6,1");
    expect(t, " abb", TOKENIZER_PARSE_SPECIAL, "8");
    expect(t, " abba", TOKENIZER_PARSE_SPECIAL, "6,1,1,0");
    expect(t, "é", TOKENIZER_PARSE_SPECIAL, "7");
    expect(t, "e\u0301", TOKENIZER_PARSE_SPECIAL, "7");
    expect(t, "<|x|>  ab", TOKENIZER_PARSE_SPECIAL, "9,5");
    expect(t, "a<|x|> b", TOKENIZER_PARSE_SPECIAL, "0,9,1");
    /* Not parsed: only its bytes, and none of them has a token here. */
    expect(t, "a<|x|>b", 0, "0,1");
    expect(t, "", TOKENIZER_PARSE_SPECIAL | TOKENIZER_ADD_SPECIAL, "");
    tokenizer_fixture_free(&fixture);
}

Test(tiny, without_ignore_merges)
{
    struct tokenizer_fixture fixture = {0};
    char *json = strdup(tokenizer_fixture_tiny);
    memcpy(strstr(json, "\"ignore_merges\":true"), "\"ignore_merges\":null", 20);
    tokenizer_fixture_text(&fixture, json, NULL);
    expect(fixture.tokenizer, " abb", 0, "6,1,1");
    tokenizer_fixture_free(&fixture);
    free(json);
}

Test(tiny, lookups)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, tokenizer_fixture_tiny, NULL);
    const struct tokenizer *t = fixture.tokenizer;
    uint32_t bytes;
    cr_expect_eq(tokenizer_vocabulary(t), 10);
    const char *text = tokenizer_token_text(t, 6, &bytes);
    cr_expect(bytes == 3 && memcmp(text, "Ġa", 3) == 0);
    text = tokenizer_token_bytes(t, 6, false, &bytes);
    cr_expect(bytes == 2 && memcmp(text, " a", 2) == 0);
    text = tokenizer_token_bytes(t, 3, false, &bytes);
    cr_expect(bytes == 1 && memcmp(text, "\xC3", 1) == 0);
    cr_expect(tokenizer_is_special(t, 9) && !tokenizer_is_special(t, 8));
    tokenizer_token_bytes(t, 9, false, &bytes);
    cr_expect_eq(bytes, 0);
    text = tokenizer_token_bytes(t, 9, true, &bytes);
    cr_expect(bytes == 5 && memcmp(text, "<|x|>", 5) == 0);
    const uint32_t unknown[] = {10, 1u << 31, TOKEN_NONE};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_null(tokenizer_token_text(t, unknown[i], &bytes));
        cr_expect_eq(bytes, 0);
        cr_expect_not_null(tokenizer_token_bytes(t, unknown[i], true, &bytes));
        cr_expect_eq(bytes, 0);
        cr_expect(!tokenizer_is_stop(t, unknown[i]) && !tokenizer_is_special(t, unknown[i]));
    }
    tokenizer_fixture_free(&fixture);
}

Test(input, invalid_utf8)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_named(&fixture, "deepseek");
    /* The Unicode Standard, table 3-8, and friends: what Rust's from_utf8_lossy gives. */
    static const char *const pairs[][2] = {
        {"a\xF1\x80\x80\xE1\x80\xC2"
         "b\x80"
         "c\x80\xBF"
         "d",
         "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd"},
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41",
         "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41",
         "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42",
         "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\x41\uFFFD\uFFFD\x42"},
        {"x\xE2\x82", "x\uFFFD"},
        {"\xF0\x9F\x99", "\uFFFD"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        struct token_list a = encode(fixture.tokenizer, pairs[i][0], strlen(pairs[i][0]), 0);
        struct token_list b = encode(fixture.tokenizer, pairs[i][1], strlen(pairs[i][1]), 0);
        cr_expect(a.count == b.count && memcmp(a.ids, b.ids, a.count * sizeof(*a.ids)) == 0,
                  "pair %zu", i);
        token_list_free(&a);
        token_list_free(&b);
    }
    tokenizer_fixture_free(&fixture);
}

/* Appending keeps what is in the list. */
Test(input, appends)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, tokenizer_fixture_tiny, NULL);
    struct token_list list = {0};
    cr_assert(tokenizer_encode(fixture.tokenizer, "ab", 2, 0, &list, NULL));
    cr_assert(tokenizer_encode(fixture.tokenizer, "a", 1, 0, &list, NULL));
    cr_expect_str_eq(spell(&list), "5,0");
    token_list_free(&list);
    cr_expect(list.count == 0 && list.ids == NULL);
    tokenizer_fixture_free(&fixture);
}

/* A quadratic step anywhere takes hours here; the test's time limit is minutes. */
Test(input, a_megabyte_of_one_thing, .timeout = 240)
{
    static const char *const units[] = {
        "a",     " ",  "🙂", "\n", "9", "é",   "字",   ".",      "'s", "a ",    "\u0301\u0323",
        "<|x|>", "aB", "\xFF", "<",  "A", " \n", "<t> ", "\u3000", "ß",  "<|l|> "};
    static const char *const names[] = {"llama3", "added", "deepseek"};
    const size_t size = 1 << 20;
    char *text = malloc(size);
    for (size_t n = 0; n < 3; n++) {
        struct tokenizer_fixture fixture = {0};
        tokenizer_fixture_named(&fixture, names[n]);
        for (size_t u = 0; u < sizeof(units) / sizeof(*units); u++) {
            size_t unit = strlen(units[u]), bytes = 0;
            for (; bytes + unit <= size; bytes += unit) {
                memcpy(text + bytes, units[u], unit);
            }
            struct token_list list =
                encode(fixture.tokenizer, text, bytes, TOKENIZER_PARSE_SPECIAL);
            cr_expect(list.count > 0 && list.count <= 3 * bytes);
            token_list_free(&list);
        }
        tokenizer_fixture_free(&fixture);
    }
    free(text);
}
