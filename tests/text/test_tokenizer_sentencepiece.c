/* SentencePiece BPE: ids equal to those of sentencepiece, Hugging Face's tokenizers and llama.cpp
 * over one small vocabulary; decoding; lines without end. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_tokens.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

static void open_gguf(struct tokenizer_fixture *fixture, const char *name)
{
    struct error err = {0};
    cr_assert(tokenizer_fixture_gguf(fixture, check_source_path(name), &err), "%s", err.text);
}

static json_t *load_vectors(void)
{
    json_t *root =
        json_load_file(check_source_path("tests/text/sentencepiece.json"), JSON_ALLOW_NUL, NULL);
    cr_assert(root);
    cr_assert_geq(json_array_size(json_object_get(root, "strings")), 250);
    return root;
}

Test(vectors, llama_cpp)
{
    struct tokenizer_fixture fixture = {0};
    open_gguf(&fixture, "tests/text/sentencepiece.gguf");
    tokenizer_fixture_compare(&fixture, "sentencepiece.json", "llama_cpp", TOKENIZER_PARSE_SPECIAL);
    tokenizer_fixture_free(&fixture);
}

Test(vectors, huggingface)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_named(&fixture, "sentencepiece");
    tokenizer_fixture_compare(&fixture, "sentencepiece.json", "huggingface",
                              TOKENIZER_PARSE_SPECIAL | TOKENIZER_ADD_SPECIAL);
    tokenizer_fixture_compare(&fixture, "sentencepiece.json", "sentencepiece", 0);
    tokenizer_fixture_free(&fixture);
}

Test(vectors, unused_pieces)
{
    struct tokenizer_fixture fixture = {0};
    open_gguf(&fixture, "tests/text/sentencepiece_unused.gguf");
    tokenizer_fixture_compare(&fixture, "sentencepiece.json", "unused", 0);
    tokenizer_fixture_free(&fixture);
}

static void expect_text(const struct tokenizer_fixture *fixture, const uint32_t *ids, size_t n,
                        const char *wanted, size_t wanted_bytes)
{
    char *text;
    size_t bytes;
    struct error err = {0};
    cr_assert(tokenizer_decode(fixture->tokenizer, ids, n, &text, &bytes, &err), "%s", err.text);
    cr_expect(bytes == wanted_bytes && memcmp(text, wanted, bytes) == 0, "\"%.*s\", not \"%s\"",
              (int)bytes, text, wanted);
    free(text);
}

Test(decode, whole_texts)
{
    struct tokenizer_fixture fixture = {0};
    json_t *root = load_vectors(), *ids;
    size_t i, k;
    tokenizer_fixture_named(&fixture, "sentencepiece");
    json_array_foreach(json_object_get(root, "huggingface"), i, ids)
    {
        uint32_t *list = calloc(json_array_size(ids) + 1, sizeof(*list));
        json_t *id;
        json_array_foreach(ids, k, id)
        {
            list[k] = (uint32_t)json_integer_value(id);
        }
        const json_t *text = json_array_get(json_object_get(root, "decoded"), i);
        expect_text(&fixture, list, json_array_size(ids), json_string_value(text),
                    json_string_length(text));
        free(list);
    }
    json_decref(root);
    tokenizer_fixture_free(&fixture);
}

/* The tokenizer of ten pieces: ids as the Rust library gives them. */
Test(tiny, reference_ids)
{
    struct tokenizer_fixture fixture = {0};
    static const struct {
        const char *text, *ids;
    } rows[] = {{"ab", "8"},
                {"abb", "8,5"},
                {" ab", "3,8"},
                {"\u00e9", "3,1,2"},
                {"a\u00e9<unk>b", "6,1,2,0,3,5"},
                {"zz", "3,0"},
                {"aab", "6,7"},
                {"a b", "6,3,5"},
                {"z\u00e9", "3,1,2,0"},
                {"z\u00e9zb", "3,1,2,0,5"},
                {"", ""}};
    tokenizer_fixture_text(&fixture, tokenizer_fixture_pieces, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct token_list list = {0};
        char got[64] = "", *at = got;
        cr_assert(tokenizer_encode(fixture.tokenizer, rows[i].text, strlen(rows[i].text),
                                   TOKENIZER_PARSE_SPECIAL, &list, NULL));
        for (size_t k = 0; k < list.count; k++) {
            at += sprintf(at, "%s%u", k ? "," : "", list.ids[k]);
        }
        cr_expect_str_eq(got, rows[i].ids, "\"%s\": %s", rows[i].text, got);
        token_list_free(&list);
    }
    expect_text(&fixture, (const uint32_t[]){3, 8}, 2, " ab", 3);
    expect_text(&fixture, (const uint32_t[]){3, 1, 2}, 3, "\u00e9", 2);
    expect_text(&fixture, (const uint32_t[]){0, 8}, 2, "<unk> ab", 8);
    expect_text(&fixture, (const uint32_t[]){6, 1}, 2, "a\xEF\xBF\xBD", 4);
    /* A run of bytes that is not UTF-8 as a whole: one U+FFFD for each, as Hugging Face has it. */
    expect_text(&fixture, (const uint32_t[]){6, 1, 2, 1, 4}, 5, "a\uFFFD\uFFFD\uFFFDa", 11);
    expect_text(&fixture, (const uint32_t[]){4, 1, 2, 1}, 4, "a\uFFFD\uFFFD\uFFFD", 10);
    expect_text(&fixture, (const uint32_t[]){1, 2, 4, 1, 5, 2}, 6, "\u00e9a\uFFFDb\uFFFD", 10);
    expect_text(&fixture, NULL, 0, "", 0);
    uint32_t bytes; /* what continues a text keeps its space */
    const char *raw = tokenizer_token_bytes(fixture.tokenizer, 8, false, &bytes);
    cr_expect(bytes == 3 && memcmp(raw, " ab", 3) == 0);
    raw = tokenizer_token_bytes(fixture.tokenizer, 1, false, &bytes);
    cr_expect(bytes == 1 && *raw == '\xC3');
    tokenizer_fixture_free(&fixture);
}

static char *change(const char *old, const char *new)
{
    const char *at = strstr(tokenizer_fixture_pieces, old);
    cr_assert(at, "%s is not in the tokenizer", old);
    char *json = malloc(strlen(tokenizer_fixture_pieces) + strlen(new) + 1);
    size_t before = (size_t)(at - tokenizer_fixture_pieces);
    memcpy(json, tokenizer_fixture_pieces, before);
    strcpy(stpcpy(json + before, new), at + strlen(old));
    return json;
}

#define PRE "\"pre_tokenizer\":null"
#define NORMALIZER \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}," \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}]}"

/* Metaspace: where the mark is put, and whether merges cross it. */
Test(tiny, metaspace)
{
    static const struct {
        const char *scheme;
        uint32_t ids[4];
        size_t count;
    } rows[] = {
        {"\"always\"", {8, 0, 8}, 3}, {"\"first\"", {8, 0, 7}, 3}, {"\"never\"", {7, 0, 7}, 3}};
    char *without = change(NORMALIZER, "null");
    for (size_t i = 0; i < 3; i++) {
        char json[4096], *at = strstr(without, PRE);
        cr_assert(at);
        snprintf(json, sizeof(json),
                 "%.*s\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\","
                 "\"prepend_scheme\":%s,\"split\":false}%s",
                 (int)(at - without), without, rows[i].scheme, at + strlen(PRE));
        struct tokenizer_fixture fixture = {0};
        struct token_list list = {0};
        tokenizer_fixture_text(&fixture, json, NULL);
        cr_assert(tokenizer_encode(fixture.tokenizer, "ab<unk>ab", 9, TOKENIZER_PARSE_SPECIAL,
                                   &list, NULL));
        cr_expect(list.count == rows[i].count &&
                      memcmp(list.ids, rows[i].ids, list.count * sizeof(*list.ids)) == 0,
                  "%s: %zu ids, first %u", rows[i].scheme, list.count, list.ids[0]);
        list.count = 0; /* behind an added token, "first" puts nothing */
        cr_assert(tokenizer_encode(fixture.tokenizer, "ab", 2, TOKENIZER_CONTINUE, &list, NULL));
        cr_expect(list.count == 1 && list.ids[0] == rows[i].ids[2]);
        token_list_free(&list);
        tokenizer_fixture_free(&fixture);
    }
    free(without);
}

/* A message that holds the text of a special token with a space mark in it stays text, and the rest
 * of the chat has the ids it would have without. */
Test(chat, nobody_speaks_for_others)
{
    char *json = change("\"content\":\"<unk>\"", "\"content\":\"<\\u2581>\"");
    char *vocabulary = strstr(json, "\"<unk>\":0"), *unk = strstr(json, "\"unk_token\":\"<unk>\"");
    cr_assert(vocabulary && unk);
    memcpy(vocabulary, "\"<\xE2\x96\x81>\":0", 9);
    memcpy(unk, "\"unk_token\":null   ", 19);
    struct tokenizer_fixture fixture = {0};
    struct error err = {0};
    struct token_list list = {0};
    tokenizer_fixture_text(&fixture, json, NULL);
    struct chat_guard *guard = chat_guard_create(fixture.tokenizer, &err);
    cr_assert(guard, "%s", err.text);
    json_t *content = json_string("b<\u2581>"), *safe = chat_guard_protect(guard, content, &err);
    char text[64];
    cr_assert(safe, "%s", err.text);
    strcpy(stpcpy(stpcpy(text, "<\u2581>ab<\u2581>"), json_string_value(safe)), "<\u2581>ab");
    cr_assert(chat_guard_encode(guard, text, strlen(text), &list, &err), "%s", err.text);
    static const uint32_t wanted[] = {0, 8, 0, 3, 5, 3, 0, 8};
    cr_expect(list.count == 8 && memcmp(list.ids, wanted, sizeof(wanted)) == 0, "%zu ids",
              list.count);
    json_decref(content);
    json_decref(safe);
    free(json);
    token_list_free(&list);
    chat_guard_destroy(&guard);
    tokenizer_fixture_free(&fixture);
}

static void refuse(const char *old, const char *new, const char *named)
{
    char *json = change(old, new);
    const char *text =
        tokenizer_fixture_refused((const char *const[]){"tokenizer.json", json, NULL});
    cr_expect(strstr(text, named), "\"%s\" is not in: %s", named, text);
    free(json);
}

Test(refused, by_name)
{
    refuse("{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}", "{\"type\":\"Prepend\"}", "Prepend");
    refuse("{\"String\":\" \"}", "{\"Regex\":\" \"}", "String");
    refuse("{\"String\":\" \"}", "{\"String\":\"\"}", "String");
    refuse("{\"type\":\"ByteFallback\"},", "", "byte_fallback");
    refuse("\"byte_fallback\":true", "\"byte_fallback\":false", "byte_fallback");
    refuse("{\"type\":\"Fuse\"}", "{\"type\":\"Fuze\"}", "Fuze");
    refuse("\"start\":1", "\"start\":2", "Strip");
    refuse("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"},", "",
           "U+2581");
    refuse(PRE, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "Metaspace");
    refuse(PRE,
           "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\","
           "\"prepend_scheme\":\"twice\"}",
           "twice");
    refuse(PRE, "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", "decoder");
}

/* A mebibyte without a place to cut it is a matter of seconds, and comes back unchanged. */
Test(lines, without_end)
{
    static const char *const parts[] = {"a", " ", "the ", "\xF0\x9F\xA6\x80", "ab\n"};
    struct tokenizer_fixture fixture = {0};
    open_gguf(&fixture, "tests/text/sentencepiece.gguf");
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        size_t part = strlen(parts[i]), n = ((size_t)1 << 20) / part * part;
        char *text = malloc(n);
        for (size_t at = 0; at < n; at += part) {
            memcpy(text + at, parts[i], part);
        }
        struct token_list list = {0};
        struct error err = {0};
        cr_assert(tokenizer_encode(fixture.tokenizer, text, n, 0, &list, &err), "%s", err.text);
        expect_text(&fixture, list.ids, list.count, text, n);
        token_list_free(&list);
        free(text);
    }
    tokenizer_fixture_free(&fixture);
}
