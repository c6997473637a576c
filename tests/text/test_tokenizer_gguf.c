/* Tokenizers of GGUF files: what the keys mean, and files that lie. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "engine/text/tokenizer_gguf.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

/* ---- files made for a test ---- */

struct entry {
    const char *text;
    int type;
    double score;
};

struct sample {
    const char *model, *pre, *arch; /* NULL: no such key */
    struct entry tokens[24];        /* up to one without text */
    const char *merges[12];
    int64_t bos, eos, eot, unk; /* -1: no such key */
    int add_bos;                /* -1: no such key */
    bool no_types, no_scores, no_merges;
    uint32_t short_types, short_scores; /* so many entries less than tokens */
};

static const struct sample bytes_sample = {
    .model = "gpt2",
    .pre = "llama-bpe",
    .tokens = {{"a", 1, 0},
               {"b", 1, 0},
               {"\u0120", 1, 0},
               {"ab", 1, 0},
               {"\u0120a", 1, 0},
               {"\u0120abb", 1, 0},
               {"<|begin|>", 3, 0},
               {"<|end|>", 3, 0},
               {"<t>", 4, 0},
               {"[PAD9]", 5, 0},
               {"[PAD10]", 4, 0}},
    .merges = {"\u0120 a", "a b", "\u0120a bb"},
    .bos = 6,
    .eos = 7,
    .eot = -1,
    .unk = -1,
    .add_bos = -1,
};

static const struct sample pieces_sample = {
    .model = "llama",
    .tokens = {{"<unk>", 2, 0},
               {"<s>", 3, 0},
               {"</s>", 3, 0},
               {"<0xC3>", 6, 0},
               {"<0xA9>", 6, 0},
               {"\u2581", 1, -10},
               {"a", 1, -11},
               {"b", 1, -12},
               {"\u2581a", 1, -2},
               {"ab", 1, -1},
               {"\u2581ab", 1, -3},
               {"bb", 1, -4}},
    .bos = 1,
    .eos = 2,
    .eot = -1,
    .unk = 0,
    .add_bos = -1,
};

static uint32_t count_tokens(const struct sample *sample)
{
    uint32_t n = 0;
    while (n < 24 && sample->tokens[n].text) {
        n++;
    }
    return n;
}

static void write_text(struct gguf_writer *writer, const char *key, const char *text)
{
    if (text) {
        gguf_writer_string(writer, key, text, strlen(text));
    }
}

static void write_number(struct gguf_writer *writer, const char *key, int64_t id)
{
    if (id >= 0) {
        gguf_writer_u32(writer, key, (uint32_t)id);
    }
}

static void write_lists(struct gguf_writer *writer, const struct sample *sample)
{
    uint32_t n = count_tokens(sample), n_merges = 0;
    gguf_writer_array(writer, "tokenizer.ggml.tokens", GGUF_STRING, n);
    for (uint32_t i = 0; i < n; i++) {
        gguf_writer_element_string(writer, sample->tokens[i].text, strlen(sample->tokens[i].text));
    }
    if (!sample->no_types) {
        gguf_writer_array(writer, "tokenizer.ggml.token_type", GGUF_I32, n - sample->short_types);
        for (uint32_t i = 0; i < n - sample->short_types; i++) {
            gguf_writer_element_i32(writer, sample->tokens[i].type);
        }
    }
    if (!sample->no_scores) {
        gguf_writer_array(writer, "tokenizer.ggml.scores", GGUF_F32, n - sample->short_scores);
        for (uint32_t i = 0; i < n - sample->short_scores; i++) {
            gguf_writer_element_f32(writer, (float)sample->tokens[i].score);
        }
    }
    while (n_merges < 12 && sample->merges[n_merges]) {
        n_merges++;
    }
    if (!sample->no_merges) {
        gguf_writer_array(writer, "tokenizer.ggml.merges", GGUF_STRING, n_merges);
        for (uint32_t i = 0; i < n_merges; i++) {
            gguf_writer_element_string(writer, sample->merges[i], strlen(sample->merges[i]));
        }
    }
}

static const char *write_sample(const struct sample *sample)
{
    const char *path = check_path(check_temp_dir(), "sample.gguf");
    struct gguf_writer writer;
    struct error err = {0};
    cr_assert(gguf_writer_open(&writer, path, &err), "%s", err.text);
    write_text(&writer, "general.architecture", sample->arch);
    write_text(&writer, "tokenizer.ggml.model", sample->model);
    write_text(&writer, "tokenizer.ggml.pre", sample->pre);
    write_lists(&writer, sample);
    write_number(&writer, "tokenizer.ggml.bos_token_id", sample->bos);
    write_number(&writer, "tokenizer.ggml.eos_token_id", sample->eos);
    write_number(&writer, "tokenizer.ggml.eot_token_id", sample->eot);
    write_number(&writer, "tokenizer.ggml.unknown_token_id", sample->unk);
    if (sample->add_bos >= 0) {
        gguf_writer_bool(&writer, "tokenizer.ggml.add_bos_token", sample->add_bos);
    }
    cr_assert(gguf_writer_begin_data(&writer, &err) && gguf_writer_commit(&writer, &err), "%s",
              err.text);
    return path;
}

static void open_sample(struct tokenizer_fixture *fixture, const struct sample *sample)
{
    struct error err = {0};
    cr_assert(tokenizer_fixture_gguf(fixture, write_sample(sample), &err), "%s", err.text);
}

static void refuse(const struct sample *sample, const char *named)
{
    struct tokenizer_fixture fixture;
    struct error err = {0};
    bool ok = tokenizer_fixture_gguf(&fixture, write_sample(sample), &err);
    cr_expect(!ok, "should be refused: %s", named);
    cr_expect(strstr(err.text, named), "\"%s\" is not in: %s", named, err.text);
    cr_expect(strstr(err.text, "sample.gguf"), "%s", err.text);
    tokenizer_fixture_free(&fixture);
}

static void expect_ids(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                       uint32_t flags, const char *wanted)
{
    struct token_list list = {0};
    struct error err = {0};
    char got[512] = "";
    cr_assert(tokenizer_encode(tokenizer, text, bytes, flags, &list, &err), "%s", err.text);
    for (size_t i = 0, n = 0; i < list.count && n < sizeof(got) - 16; i++) {
        n += (size_t)snprintf(got + n, 16, "%s%u", i ? "," : "", list.ids[i]);
    }
    cr_expect_str_eq(got, wanted, "\"%s\": %s, not %s", text, got, wanted);
    token_list_free(&list);
}

static void expect(const struct tokenizer_fixture *fixture, const char *text, uint32_t flags,
                   const char *wanted)
{
    expect_ids(fixture->tokenizer, text, strlen(text), flags, wanted);
}

/* ---- what the keys mean ---- */

Test(keys, byte_level)
{
    struct tokenizer_fixture f;
    struct sample s = bytes_sample;
    s.merges[2] = NULL;
    open_sample(&f, &s);
    expect(&f, " abb", 0, "5"); /* ignore_merges comes with the name */
    expect(&f, " abba", 0, "4,1,1,0");
    expect(&f, "ab<t>b", 0, "3,8,1");
    expect(&f, "a<|end|>b", TOKENIZER_PARSE_SPECIAL | TOKENIZER_ADD_SPECIAL, "6,0,7,1");
    cr_expect_eq(tokenizer_vocabulary(f.tokenizer), 11);
    cr_expect(tokenizer_is_stop(f.tokenizer, 7) && !tokenizer_is_stop(f.tokenizer, 6));
    cr_expect(tokenizer_is_special(f.tokenizer, 6) && !tokenizer_is_special(f.tokenizer, 8));
    uint32_t bytes;
    cr_expect_null(tokenizer_token_text(f.tokenizer, 9, &bytes), "a row without a token");
    cr_expect_null(tokenizer_token_text(f.tokenizer, 10, &bytes), "a row without a token");
    tokenizer_fixture_free(&f);
    s.pre = "dbrx";
    s.add_bos = 1;
    open_sample(&f, &s);
    expect(&f, " abb", TOKENIZER_ADD_SPECIAL, "6,4,1,1");
    tokenizer_fixture_free(&f);
    s.pre = "gpt-2";
    s.add_bos = -1;
    open_sample(&f, &s);
    expect(&f, "a", TOKENIZER_ADD_SPECIAL, "0");
    tokenizer_fixture_free(&f);
}

Test(keys, pieces)
{
    struct tokenizer_fixture f;
    struct sample s = pieces_sample;
    open_sample(&f, &s);
    /* By score: ab before _a; _ab from _ and ab, which no list of merges names. */
    expect(&f, "ab", 0, "10");
    expect(&f, "aab", 0, "8,9");
    expect(&f, "abb", 0, "10,7");
    expect(&f, "\u00e9", 0, "5,3,4");
    expect(&f, "zz", 0, "5,0"); /* no tokens of those bytes: one unknown token for the run */
    expect(&f, "a</s>b", TOKENIZER_PARSE_SPECIAL | TOKENIZER_ADD_SPECIAL, "1,8,2,5,7");
    expect(&f, "", TOKENIZER_ADD_SPECIAL, "1");
    tokenizer_fixture_free(&f);
    s.tokens[9].type = 5; /* ab: a step towards _ab, else falls apart */
    open_sample(&f, &s);
    expect(&f, "ab", 0, "10");
    expect(&f, "aab", 0, "8,6,7");
    tokenizer_fixture_free(&f);
    s.tokens[10].type = 5; /* _ab comes from _ and ab, or from _a and b: here the first */
    open_sample(&f, &s);
    expect(&f, "ab", 0, "5,6,7");
    tokenizer_fixture_free(&f);
    s = pieces_sample;
    s.tokens[9].score = s.tokens[11].score = -1; /* equal scores: the leftmost */
    open_sample(&f, &s);
    expect(&f, "abb", 0, "10,7");
    expect(&f, "bbb", 0, "5,11,7");
    tokenizer_fixture_free(&f);
}

/* Phi-3's tokens swallow white space behind them. */
Test(keys, family_rules)
{
    struct tokenizer_fixture f;
    struct sample s = pieces_sample;
    s.arch = "phi3";
    s.tokens[12] = (struct entry){"<|end|>", 3, 0};
    open_sample(&f, &s);
    expect(&f, "<|end|> \n a", TOKENIZER_PARSE_SPECIAL, "12,8");
    expect(&f, "<s> a", TOKENIZER_PARSE_SPECIAL, "1,5,8");
    cr_expect(tokenizer_is_stop(f.tokenizer, 12) && tokenizer_is_stop(f.tokenizer, 2));
    tokenizer_fixture_free(&f);
    s.tokens[13] = (struct entry){"<|return|>", 3, 0};
    s.tokens[14] = (struct entry){"<|call|>", 3, 0};
    s.eot = 11;
    open_sample(&f, &s);
    cr_expect(!tokenizer_is_stop(f.tokenizer, 12) && tokenizer_is_stop(f.tokenizer, 13) &&
              tokenizer_is_stop(f.tokenizer, 14) && tokenizer_is_stop(f.tokenizer, 11));
    tokenizer_fixture_free(&f);
    s.tokens[13].text = "<|calls|>";
    open_sample(&f, &s);
    cr_expect(tokenizer_is_stop(f.tokenizer, 12), "one of the two is not enough");
    tokenizer_fixture_free(&f);
    s.tokens[14].text = "<|flush|>";
    s.tokens[15] = (struct entry){"<|tool_response>", 4, 0};
    s.eos = 15;
    open_sample(&f, &s);
    cr_expect(!tokenizer_is_stop(f.tokenizer, 12) && !tokenizer_is_stop(f.tokenizer, 2) &&
              tokenizer_is_stop(f.tokenizer, 15));
    tokenizer_fixture_free(&f);
}

Test(keys, old_files_without_types)
{
    struct tokenizer_fixture f;
    struct sample s = pieces_sample;
    s.no_types = true;
    open_sample(&f, &s);
    expect(&f, "ab\u00e9", 0, "10,3,4");
    expect(&f, "a</s>", TOKENIZER_PARSE_SPECIAL, "8,2");
    cr_expect(tokenizer_is_special(f.tokenizer, 1) && !tokenizer_is_special(f.tokenizer, 8));
    tokenizer_fixture_free(&f);
}

/* A token may hold any character, NUL too. */
Test(keys, token_with_nul)
{
    const char *path = check_path(check_temp_dir(), "nul.gguf");
    struct gguf_writer writer;
    struct tokenizer_fixture f;
    struct error err = {0};
    static const char *const texts[] = {"a", "\0", "a\0", "\xE2\x96\x81"};
    static const uint32_t bytes[] = {1, 1, 2, 3};
    cr_assert(gguf_writer_open(&writer, path, &err), "%s", err.text);
    write_text(&writer, "tokenizer.ggml.model", "llama");
    gguf_writer_array(&writer, "tokenizer.ggml.tokens", GGUF_STRING, 4);
    for (int i = 0; i < 4; i++) {
        gguf_writer_element_string(&writer, texts[i], bytes[i]);
    }
    gguf_writer_array(&writer, "tokenizer.ggml.scores", GGUF_F32, 4);
    for (int i = 0; i < 4; i++) {
        gguf_writer_element_f32(&writer, (float)-i);
    }
    gguf_writer_bool(&writer, "tokenizer.ggml.add_space_prefix", false);
    cr_assert(gguf_writer_begin_data(&writer, &err) && gguf_writer_commit(&writer, &err));
    cr_assert(tokenizer_fixture_gguf(&f, path, &err), "%s", err.text);
    expect_ids(f.tokenizer, "a\0\0 a", 5, 0, "2,1,3,0");
    tokenizer_fixture_free(&f);
}

/* ---- the names of pre-tokenizers ---- */

Test(names, every_one_runs)
{
    static const char *const names[] = {
        "gpt-2",       "olmo",           "mpt",          "jais",        "starcoder",
        "refact",      "smollm",         "command-r",    "llama-bpe",   "lfm2",
        "dbrx",        "smaug-bpe",      "glm4",         "chatglm-bpe", "qwen2",
        "hunyuan",     "grok-2",         "megrez",       "solar-open",  "qwen35",
        "gpt-4o",      "llama4",         "minimax-m2",   "tekken",      "deepseek-v3",
        "joyai-llm",   "hunyuan-dense",  "deepseek-llm", "kimi-k2",     "bailingmoe",
        "bailingmoe2", "deepseek-coder", "falcon",       "default",     "deepseek-r1-qwen"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct tokenizer_fixture f;
        struct sample s = bytes_sample;
        s.merges[2] = NULL;
        s.pre = names[i];
        open_sample(&f, &s);
        expect(&f, "ab a", 0, "3,4");
        tokenizer_fixture_free(&f);
    }
    struct sample s = bytes_sample;
    s.merges[2] = NULL;
    s.pre = NULL; /* "default" */
    struct tokenizer_fixture f;
    open_sample(&f, &s);
    expect(&f, "ab a", 0, "3,4");
    tokenizer_fixture_free(&f);
    s.pre = "seed-coder";
    refuse(&s, "seed-coder");
    s.pre = "llama";
    refuse(&s, "\"llama\"");
}

/* Digits, where the names differ: all in one piece, three by three, or each alone. */
Test(names, digits)
{
    static const struct {
        const char *pre, *wanted;
    } rows[] = {{"gpt-2", "1,1"},      {"llama-bpe", "2,0"},   {"qwen2", "0,0,0,0"},
                {"refact", "0,0,0,0"}, {"deepseek-v3", "2,0"}, {"tekken", "0,0,0,0"},
                {"gpt-4o", "2,0"},     {"kimi-k2", "2,0"},     {"deepseek-llm", "1,1"},
                {"falcon", "2,0"}};
    struct sample s = {.model = "gpt2",
                       .tokens = {{"1", 1, 0}, {"11", 1, 0}, {"111", 1, 0}, {"1111", 1, 0}},
                       .merges = {"1 1", "11 1", "111 1"},
                       .bos = -1,
                       .eos = -1,
                       .eot = -1,
                       .unk = -1,
                       .add_bos = -1};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct tokenizer_fixture f;
        s.pre = rows[i].pre;
        open_sample(&f, &s);
        expect(&f, "1111", 0, rows[i].wanted);
        tokenizer_fixture_free(&f);
    }
}

/* ---- files that lie ---- */

Test(damage, keys)
{
    struct sample s = bytes_sample;
    s.merges[2] = NULL;
    const struct sample good = s;
    s.model = NULL;
    refuse(&s, "tokenizer.ggml.model");
    static const char *const models[] = {"bert", "rwkv", "plamo2", "gemma4", ""};
    for (size_t i = 0; i < 5; i++) {
        s.model = models[i];
        char named[32];
        snprintf(named, sizeof(named), "\"%s\"", models[i]);
        refuse(&s, named);
    }
    s = good;
    s.short_types = 1;
    refuse(&s, "token_type has 10 entries");
    s = pieces_sample;
    s.short_scores = 2;
    refuse(&s, "scores has 10 entries");
    s = pieces_sample;
    s.no_scores = true;
    refuse(&s, "scores is missing");
    s = pieces_sample;
    s.tokens[4].score = (double)NAN;
    refuse(&s, "score of token 4");
    s.tokens[4].score = (double)INFINITY;
    refuse(&s, "score of token 4");
    s = good;
    s.no_merges = true;
    refuse(&s, "tokenizer.ggml.merges");
    s = good;
    s.bos = 11;
    refuse(&s, "bos_token_id");
    s = good;
    s.eos = 4294967294;
    refuse(&s, "eos_token_id");
    s = good;
    s.eos = 4294967295; /* none */
    struct tokenizer_fixture f;
    open_sample(&f, &s);
    cr_expect_eq(tokenizer_eos(f.tokenizer), TOKEN_NONE);
    tokenizer_fixture_free(&f);
    s = good;
    s.eot = 100;
    refuse(&s, "eot_token_id");
    s.tokens[0].text = NULL;
    refuse(&s, "tokens is missing, empty");
}

Test(damage, tokens_and_merges)
{
    struct sample s = bytes_sample;
    refuse(&s, "entry 2 of tokenizer.ggml.merges"); /* bb is no token */
    s.merges[2] = "a";
    refuse(&s, "entry 2 of tokenizer.ggml.merges");
    s.merges[2] = "a ";
    refuse(&s, "entry 2 of tokenizer.ggml.merges");
    s.merges[2] = "";
    refuse(&s, "entry 2 of tokenizer.ggml.merges");
    s.merges[2] = "b a";
    refuse(&s, "\"b a\"");
    s.merges[2] = NULL;
    s.tokens[3].text = "a";
    refuse(&s, "tokens 0 and 3 have the same text");
    s = bytes_sample;
    s.merges[2] = NULL;
    s.tokens[8].text = "a"; /* one of them searched for in texts */
    refuse(&s, "tokens 0 and 8 have the same text");
    s.tokens[8] = (struct entry){"\xFF", 4, 0};
    refuse(&s, "token 8");
    s.tokens[8] = (struct entry){"<t>", 7, 0};
    refuse(&s, "type 7");
    s.tokens[8].type = -1;
    refuse(&s, "type -1");
    static char text[70000];
    memset(text, 'x', sizeof(text) - 1);
    s.tokens[8] = (struct entry){text, 1, 0};
    refuse(&s, "69999 bytes");
    s = pieces_sample;
    s.tokens[11].text = text + 60000;
    refuse(&s, "9999 bytes");
    s = pieces_sample;
    s.tokens[11].text = "a";
    refuse(&s, "tokens 6 and 11");
}

/* More tokens claimed than there is file: the container's reader says so. */
Test(damage, count_of_tokens)
{
    size_t bytes, at = 0;
    const char *source = check_source_path("tests/text/sentencepiece.gguf");
    char *data = check_read_file(source, &bytes);
    static const char key[] = "tokenizer.ggml.tokens";
    while (memcmp(data + at, key, sizeof(key) - 1) != 0) {
        at++;
    }
    at += sizeof(key) - 1 + 8; /* behind the types of value and elements */
    static const uint64_t counts[] = {UINT64_C(1) << 31, UINT64_C(1) << 40, UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        memcpy(data + at, &counts[i], 8);
        const char *path = check_path(check_temp_dir(), "many.gguf");
        cr_assert(check_write_file(path, data, bytes));
        struct tokenizer_fixture f;
        struct error err = {0};
        cr_expect(!tokenizer_fixture_gguf(&f, path, &err) && strlen(err.text) > 20, "%s", err.text);
    }
    free(data);
}

Test(damage, random_bytes)
{
    static const char *const names[] = {"tests/text/sentencepiece.gguf",
                                        "tests/text/sentencepiece_unused.gguf"};
    struct check_random random = {11};
    size_t opened = 0, refused = 0;
    for (int round = 0; round < 400; round++) {
        size_t bytes;
        char *data = check_read_file(check_source_path(names[round % 2]), &bytes);
        for (uint32_t i = 0; i < 1u + round % 5; i++) {
            data[check_random_below(&random, (uint32_t)bytes)] = (char)check_random_u64(&random);
        }
        const char *path = check_path(check_temp_dir(), "damaged.gguf");
        cr_assert(check_write_file(path, data, bytes));
        free(data);
        struct tokenizer_fixture f;
        struct error err = {0};
        bool ok = tokenizer_fixture_gguf(&f, path, &err);
        opened += ok;
        refused += !ok;
        struct token_list list = {0};
        if (ok) {
            (void)!tokenizer_encode(f.tokenizer, "the cat </s> caf\u00e9 \xFF", 19,
                                    TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL, &list, &err);
        }
        for (size_t i = 0; i < list.count; i++) {
            cr_expect_lt(list.ids[i], tokenizer_vocabulary(f.tokenizer));
        }
        token_list_free(&list);
        tokenizer_fixture_free(&f);
    }
    cr_expect(opened > 20 && refused > 20, "%zu opened, %zu refused", opened, refused);
}
