/* tokenizer.json and its companions: what is read, what is refused and how. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/chat_template_file.h"
#include "engine/text/tokenizer_pack.h"
#include "format/tokenizer_section.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

/* The tiny tokenizer with one text in it exchanged. */
static char *with(const char *old, const char *replacement)
{
    const char *at = strstr(tokenizer_fixture_tiny, old);
    cr_assert(at, "%s is not in the tiny tokenizer", old);
    char *json = malloc(strlen(tokenizer_fixture_tiny) + strlen(replacement) + 1);
    size_t before = (size_t)(at - tokenizer_fixture_tiny);
    memcpy(json, tokenizer_fixture_tiny, before);
    strcpy(stpcpy(json + before, replacement), at + strlen(old));
    return json;
}

static void refuse_text(const char *json, const char *named)
{
    const char *text =
        tokenizer_fixture_refused((const char *const[]){"tokenizer.json", json, NULL});
    cr_expect(strstr(text, named), "\"%s\" is not in: %s", named, text);
    cr_expect(strstr(text, check_temp_dir()), "the folder is not in: %s", text);
}

static void refuse(const char *old, const char *replacement, const char *named)
{
    char *json = with(old, replacement);
    refuse_text(json, named);
    free(json);
}

static void accept(const char *old, const char *replacement)
{
    struct tokenizer_fixture fixture = {0};
    char *json = with(old, replacement);
    tokenizer_fixture_text(&fixture, json, NULL);
    tokenizer_fixture_free(&fixture);
    free(json);
}

#define NORMALIZER "{\"type\":\"NFC\"}"
#define LAST_STEP "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define POST "\"post_processor\":null"
#define DECODER "\"decoder\":{\"type\":\"ByteLevel\"}"

Test(pack, unsupported_parts_are_named)
{
    refuse(NORMALIZER, "{\"type\":\"Lowercase\"}", "Lowercase");
    refuse(NORMALIZER, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"}]}", "NFKC");
    refuse(NORMALIZER, "{\"type\":\"Sequence\"}", "normalizers");
    refuse(NORMALIZER, "7", "normalizer");
    refuse(LAST_STEP, "{\"type\":\"Metaspace\"}", "Metaspace");
    refuse(LAST_STEP, "{\"type\":\"Whitespace\"}", "Whitespace");
    refuse(LAST_STEP, "{\"type\":\"Digits\",\"individual_digits\":true}", "ByteLevel");
    refuse(LAST_STEP, LAST_STEP "," LAST_STEP, "after ByteLevel");
    refuse(LAST_STEP, "{\"type\":\"ByteLevel\",\"use_regex\":1}", "use_regex");
    refuse(LAST_STEP, "{\"type\":5}", "no type");
    refuse("\"Isolated\"", "\"MergedWithPrevious\"", "MergedWithPrevious");
    refuse("\"Isolated\"", "null", "behavior");
    refuse("\"invert\":false", "\"invert\":\"no\"", "invert");
    refuse("{\"Regex\":", "{\"String\":", "Regex");
    refuse("(?!\\\\S)", "\\\\b", "\\b");
    refuse(POST, "\"post_processor\":{\"type\":\"BertProcessing\"}", "BertProcessing");
    refuse(DECODER, "\"decoder\":{\"type\":\"Metaspace\"}", "Metaspace");
    refuse(DECODER, "\"decoder\":null", "decoder");
    refuse("\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "WordPiece");
    refuse("\"type\":\"BPE\"", "\"type\":\"WordPiece\"", "WordPiece");
    refuse("\"type\":\"BPE\"", "\"type\":[]", "not supported");
    refuse("\"ignore_merges\":true", "\"byte_fallback\":true", "byte_fallback");
    refuse("\"ignore_merges\":true", "\"dropout\":0.1", "dropout");
    refuse("\"ignore_merges\":true", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix");
    refuse("\"ignore_merges\":true", "\"continuing_subword_prefix\":\"##\"",
           "continuing_subword_prefix");
}

Test(pack, variants_that_are_the_same)
{
    accept(NORMALIZER, "null");
    accept(NORMALIZER, "{\"type\":\"Sequence\",\"normalizers\":[]}");
    accept(NORMALIZER, "{\"type\":\"Sequence\",\"normalizers\":[" NORMALIZER "," NORMALIZER "]}");
    accept(LAST_STEP, "{\"type\":\"ByteLevel\"}");
    accept(LAST_STEP,
           "{\"type\":\"Digits\"},{\"type\":\"Sequence\",\"pretokenizers\":[" LAST_STEP "]}");
    accept("\"Isolated\",\"invert\":false", "\"Removed\",\"invert\":true");
    accept("\"type\":\"BPE\",", "");
    accept("\"ignore_merges\":true", "\"end_of_word_suffix\":\"\",\"dropout\":null");
    accept("\"merges\":[", "\"merges\":[\"#version: 0.2\",");
    accept("\"a b\"", "[\"a\",\"b\"]");
    accept(POST,
           "\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}]"
           "}");
    accept("\"rstrip\":true,", "");
    accept("\"ab\":5", "\"ab\":5,\"\":77");
}

Test(pack, damaged_vocabularies)
{
    refuse("\"ab\":5", "\"ab\":1", "both have id 1");
    refuse("\"ab\":5", "\"ab\":9", "both have id 9");
    refuse("\"ab\":5", "\"ab\":-5", "\"ab\"");
    refuse("\"ab\":5", "\"ab\":4194304", "\"ab\"");
    refuse("\"ab\":5", "\"ab\":4194303", "the id 4194303 but names only");
    refuse("\"ab\":5", "\"ab\":99999999999999999", "\"ab\"");
    refuse("\"ab\":5", "\"ab\":5.0", "\"ab\"");
    refuse("\"ab\":5", "\"ab\":\"5\"", "\"ab\"");
    refuse("\"ab\":5", "\"ab\":null", "\"ab\"");
    refuse("\"ab\":5", "\"a\":5", "valid JSON");
    refuse("\"ab\":5", "\"abc\":5", "vocabulary");
    refuse("\"a b\"", "\"a  b\"", "merge number 1");
    refuse("\"a b\"", "\"ab\"", "merge number 1");
    refuse("\"a b\"", "[\"a\"]", "merge number 1");
    refuse("\"a b\"", "[\"a\",\"b\",\"b\"]", "merge number 1");
    refuse("\"a b\"", "[\"a\",7]", "merge number 1");
    refuse("\"a b\"", "17", "merge number 1");
    refuse("\"a b\"", "\"a q\"", "not in the vocabulary");
    refuse("\"a b\"", "\"b a\"", "not in the vocabulary");
    refuse("\"merges\":[", "\"other\":[", "merges");
    refuse("\"vocab\":{", "\"words\":{", "vocab");
    refuse("\"model\":{", "\"modul\":{", "model");
    refuse("\"id\":9", "\"id\":3", "both have id 3");
    refuse("\"id\":9", "\"id\":-1", "added token number 0");
    refuse("\"id\":9", "\"ident\":9", "added token number 0");
    refuse("\"content\":\"<|x|>\"", "\"content\":7", "no content");
    refuse("\"content\":\"<|x|>\"", "\"content\":\"ab\"", "\"ab\"");
    refuse("\"added_tokens\":[{", "\"added_tokens\":[7,{", "added token number 0");
    refuse_text("", "empty");
    refuse_text("{", "valid JSON");
    refuse_text("[]", "object");
    refuse_text("{}", "model");
    refuse_text("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"pre_tokenizer\":"
                "{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}}",
                "0 tokens");
    cr_expect(strstr(tokenizer_fixture_refused((const char *const[]){NULL}), "does not exist"));
}

/* Nesting, long texts and many entries: a sentence or success, in time and memory. */
Test(pack, hostile_json)
{
    size_t depth = 1000000;
    char *deep = malloc(2 * depth + 1);
    memset(deep, '[', depth);
    memset(deep + depth, ']', depth);
    deep[2 * depth] = 0;
    refuse_text(deep, "valid JSON");
    free(deep);
    /* Nested sequences below JSON's own limit. */
    char *json = calloc(1, 100000);
    strcpy(json, "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"normalizer\":");
    for (int i = 0; i < 500; i++) {
        strcat(json, "{\"type\":\"Sequence\",\"normalizers\":[");
    }
    for (int i = 0; i < 500; i++) {
        strcat(json, "]}");
    }
    strcat(json, "}");
    refuse_text(json, "nested too deeply");
    free(json);
    char *patterns = calloc(1, 10000);
    for (int i = 0; i < 20; i++) {
        strcat(patterns, "{\"type\":\"Digits\"},");
    }
    strcat(patterns, LAST_STEP);
    refuse(LAST_STEP, patterns, "16 steps");
    free(patterns);
    char *content = malloc(2100);
    memset(content, 'c', 2100);
    memcpy(content, "\"content\":\"", 11);
    strcpy(content + 2090, "\"");
    refuse("\"content\":\"<|x|>\"", content, "1024");
    free(content);
    char *text = malloc(80000);
    memset(text, 'd', 80000);
    memcpy(text, "\"ab\":5,\"", 8);
    strcpy(text + 79000, "\":10");
    refuse("\"ab\":5", text, "65535");
    free(text);
    char *big = malloc(32u << 20), *at = big;
    at = stpcpy(at, "\"ab\":5");
    for (int i = 10; i < 1000000; i++) {
        at += sprintf(at, ",\"t%d\":%d", i, i);
    }
    accept("\"ab\":5", big);
    free(big);
}

static void expect_ids(const struct tokenizer_fixture *fixture, uint32_t bos, uint32_t eos,
                       const uint32_t *ids, size_t n)
{
    struct token_list list = {0};
    cr_assert(tokenizer_encode(fixture->tokenizer, "a", 1, TOKENIZER_ADD_SPECIAL, &list, NULL));
    cr_expect(list.count == n && memcmp(list.ids, ids, n * sizeof(*ids)) == 0, "%zu ids, first %u",
              list.count, list.ids[0]);
    cr_expect_eq(tokenizer_bos(fixture->tokenizer), bos);
    cr_expect_eq(tokenizer_eos(fixture->tokenizer), eos);
    token_list_free(&list);
}

#define TEMPLATE \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":" \
    "\"<|x|>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[]," \
    "\"special_tokens\":{\"<|x|>\":{\"id\":\"<|x|>\",\"ids\":[9],\"tokens\":[\"<|x|>\"]}}}"

/* add_bos_token and add_eos_token, where present, overrule the post-processor. */
Test(config, bos_and_eos)
{
    struct tokenizer_fixture fixture = {0};
    char *template = with(POST, TEMPLATE);
    const char *tiny = tokenizer_fixture_tiny;
    const struct {
        const char *json, *config;
        uint32_t bos, eos, ids[3];
        size_t n;
    } rows[] = {
        {tiny, NULL, TOKEN_NONE, TOKEN_NONE, {0}, 1},
        {tiny, "{\"bos_token\":\"<|x|>\"}", 9, TOKEN_NONE, {0}, 1},
        {tiny, "{\"bos_token\":\"<|x|>\",\"add_bos_token\":true}", 9, TOKEN_NONE, {9, 0}, 2},
        {tiny, "{\"bos_token\":null,\"add_bos_token\":true}", TOKEN_NONE, TOKEN_NONE, {0}, 1},
        {tiny,
         "{\"eos_token\":{\"content\":\"<|x|>\"},\"add_eos_token\":true}",
         TOKEN_NONE,
         9,
         {0, 9},
         2},
        {template, NULL, TOKEN_NONE, TOKEN_NONE, {9, 0}, 2},
        {template, "{\"bos_token\":\"<|x|>\"}", 9, TOKEN_NONE, {9, 0}, 2},
        {template, "{\"bos_token\":\"<|x|>\",\"add_bos_token\":true}", 9, TOKEN_NONE, {9, 0}, 2},
        {template, "{\"bos_token\":\"<|x|>\",\"add_bos_token\":false}", 9, TOKEN_NONE, {0}, 1},
        {template,
         "{\"bos_token\":\"b\",\"eos_token\":\"<|x|>\",\"add_bos_token\":true}",
         1,
         9,
         {1, 9, 0},
         3},
        {tiny,
         "{\"model_max_length\":1000000000000000019884624838656,\"eos_token\":\"b\"}",
         TOKEN_NONE,
         1,
         {0},
         1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        tokenizer_fixture_text(&fixture, rows[i].json, rows[i].config);
        expect_ids(&fixture, rows[i].bos, rows[i].eos, rows[i].ids, rows[i].n);
        cr_expect_eq(tokenizer_is_stop(fixture.tokenizer, 9), rows[i].eos == 9);
        tokenizer_fixture_free(&fixture);
    }
    free(template);
}

static void open_with(struct tokenizer_fixture *fixture, const char *name, const char *text)
{
    cr_assert(check_write_file(check_path(check_temp_dir(), name), text, strlen(text)));
    struct error err = {0};
    tokenizer_fixture_free(fixture);
    cr_assert(tokenizer_pack(check_temp_dir(), &fixture->section, &fixture->bytes, &err), "%s",
              err.text);
    fixture->tokenizer = tokenizer_create(fixture->section, fixture->bytes, &err);
    cr_assert(fixture->tokenizer);
}

/* Stop tokens are the union; ids that no token has mean none; bos and eos come from the model's
 * files only if the tokenizer's do not say. */
Test(config, stop_tokens)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, tokenizer_fixture_tiny, NULL);
    open_with(&fixture, "config.json", "{\"eos_token_id\":4,\"bos_token_id\":3}");
    cr_expect_eq(tokenizer_bos(fixture.tokenizer), 3);
    cr_expect_eq(tokenizer_eos(fixture.tokenizer), 4);
    open_with(&fixture, "generation_config.json",
              "{\"eos_token_id\":[-1,700,9,5],\"bos_token_id\":"
              "null}");
    cr_expect_eq(tokenizer_eos(fixture.tokenizer), 9);
    open_with(&fixture, "special_tokens_map.json", "{\"eos_token\":\"b\"}");
    cr_expect_eq(tokenizer_eos(fixture.tokenizer), 1);
    open_with(&fixture, "tokenizer_config.json", "{\"eos_token\":\"ab\",\"bos_token\":null}");
    cr_expect_eq(tokenizer_eos(fixture.tokenizer), 5);
    cr_expect_eq(tokenizer_bos(fixture.tokenizer), TOKEN_NONE);
    for (uint32_t id = 0; id < 12; id++) {
        bool wanted = id == 4 || id == 9 || id == 5;
        cr_expect_eq(tokenizer_is_stop(fixture.tokenizer, id), wanted, "id %u", id);
    }
    tokenizer_fixture_free(&fixture);
}

Test(config, damaged_companions)
{
    static const char *const rows[][3] = {
        {"tokenizer_config.json", "{", "tokenizer_config.json"},
        {"tokenizer_config.json", "{\"eos_token\":7}", "eos_token"},
        {"tokenizer_config.json", "{\"eos_token\":\"nowhere\"}", "nowhere"},
        {"tokenizer_config.json", "{\"bos_token\":{\"content\":[]}}", "bos_token"},
        {"tokenizer_config.json", "{\"bos_token\":\"a\",\"add_bos_token\":1}", "add_bos_token"},
        {"special_tokens_map.json", "[]", "special_tokens_map.json"},
        {"special_tokens_map.json", "{\"eos_token\":\"nowhere\"}", "special_tokens_map.json"},
        {"generation_config.json", "{\"eos_token_id\":\"2\"}", "eos_token_id"},
        {"generation_config.json", "{\"eos_token_id\":[[2]]}", "eos_token_id"},
        {"config.json", "{\"bos_token_id\":1.5}", "bos_token_id"},
        {"config.json", "nothing", "config.json"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const char *text = tokenizer_fixture_refused((const char *const[]){
            "tokenizer.json", tokenizer_fixture_tiny, rows[i][0], rows[i][1], NULL});
        cr_expect(strstr(text, rows[i][2]), "\"%s\" is not in: %s", rows[i][2], text);
    }
}

static void expect_template(const char *wanted)
{
    char *text;
    uint64_t bytes;
    struct error err = {0};
    cr_assert(chat_template_read(check_temp_dir(), &text, &bytes, &err), "%s", err.text);
    cr_expect((text && wanted && strcmp(text, wanted) == 0 && bytes == strlen(wanted)) ||
                  (!text && !wanted),
              "%s, not %s", text ? text : "none", wanted ? wanted : "none");
    free(text);
}

static void write_config(const char *text)
{
    check_write_file(check_path(check_temp_dir(), "tokenizer_config.json"), text, strlen(text));
}

Test(config, chat_template)
{
    char *text;
    uint64_t bytes;
    struct error err = {0};
    expect_template(NULL);
    write_config("{\"chat_template\":\"one {{ x }}\"}");
    expect_template("one {{ x }}");
    write_config("{\"chat_template\":[{\"name\":\"rag\",\"template\":\"two\"},"
                 "{\"name\":\"default\",\"template\":\"three\"}]}");
    expect_template("three");
    write_config("{\"chat_template\":null}");
    expect_template(NULL);
    write_config("{\"chat_template\":{\"a\":1}}");
    cr_expect(!chat_template_read(check_temp_dir(), &text, &bytes, &err));
    cr_expect(strstr(err.text, "chat_template"), "%s", err.text);
    cr_expect_null(text);
    check_write_file(check_path(check_temp_dir(), "chat_template.jinja"), "four\n", 5);
    expect_template("four\n");
}

/* Every beginning of a tokenizer.json, and random exchanges of bytes, are refused or work. */
Test(pack, damaged_json)
{
    struct check_random random = {11};
    size_t n = strlen(tokenizer_fixture_tiny), good = 0, bad = 0;
    const char *path = check_path(check_temp_dir(), "tokenizer.json");
    for (size_t i = 0; i < n + 3000; i++) {
        char *json = strdup(tokenizer_fixture_tiny);
        size_t bytes = i < n ? i : n;
        for (size_t k = i < n ? 0 : 1 + i % 3; k > 0; k--) {
            json[check_random_below(&random, (uint32_t)n)] =
                "{}[]\",:019ae\\ "[check_random_below(&random, 15)];
        }
        cr_assert(check_write_file(path, json, bytes));
        void *section;
        uint64_t size;
        struct error err = {0};
        bool ok = tokenizer_pack(check_temp_dir(), &section, &size, &err);
        cr_expect(ok == (err.text[0] == 0));
        good += ok;
        bad += !ok;
        free(section);
        free(json);
    }
    cr_expect(good > 20 && bad > n, "%zu good, %zu bad", good, bad);
}
