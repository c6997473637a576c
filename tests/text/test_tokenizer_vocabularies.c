/* Tokenizers of GGUF files: the reference vocabularies, and the way back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/tokenizer_gguf.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

/* Writes a section as a GGUF file and opens that. */
static void rewrite(const struct tokenizer_fixture *from, struct tokenizer_fixture *to,
                    uint32_t padding)
{
    const char *path = check_path(check_temp_dir(), "rewritten.gguf");
    struct gguf_writer writer;
    struct error err = {0};
    cr_assert(gguf_writer_open(&writer, path, &err), "%s", err.text);
    cr_assert(tokenizer_gguf_write(from->section, from->bytes,
                                   tokenizer_vocabulary(from->tokenizer) + padding, &writer, &err),
              "%s", err.text);
    cr_assert(gguf_writer_begin_data(&writer, &err) && gguf_writer_commit(&writer, &err), "%s",
              err.text);
    cr_assert(tokenizer_fixture_gguf(to, path, &err), "%s", err.text);
    cr_expect_eq(tokenizer_vocabulary(to->tokenizer),
                 tokenizer_vocabulary(from->tokenizer) + padding);
    cr_expect_eq(tokenizer_eos(to->tokenizer), tokenizer_eos(from->tokenizer));
    for (uint32_t id = 0; id < tokenizer_vocabulary(to->tokenizer); id++) {
        uint32_t n, m;
        const char *a = tokenizer_token_bytes(from->tokenizer, id, true, &n);
        const char *b = tokenizer_token_bytes(to->tokenizer, id, true, &m);
        cr_assert(n == m && memcmp(a, b, n) == 0, "token %u", id);
        cr_assert_eq(tokenizer_is_special(to->tokenizer, id),
                     tokenizer_is_special(from->tokenizer, id));
    }
}

static void compare(const struct tokenizer_fixture *a, const struct tokenizer_fixture *b,
                    const char *text, size_t bytes)
{
    static const uint32_t flags[] = {0, TOKENIZER_PARSE_SPECIAL | TOKENIZER_ADD_SPECIAL};
    for (int i = 0; i < 2; i++) {
        struct token_list x = {0}, y = {0};
        struct error err = {0};
        cr_assert(tokenizer_encode(a->tokenizer, text, bytes, flags[i], &x, &err), "%s", err.text);
        cr_assert(tokenizer_encode(b->tokenizer, text, bytes, flags[i], &y, &err), "%s", err.text);
        cr_expect(x.count == y.count &&
                      (x.count == 0 || memcmp(x.ids, y.ids, x.count * sizeof(*x.ids)) == 0),
                  "\"%.*s\"", (int)bytes, text);
        token_list_free(&x);
        token_list_free(&y);
    }
}

static char *read_shared(const char *name, const char *suffix, size_t *bytes)
{
    char path[128];
    snprintf(path, sizeof(path), "reference/vocabs/ggml-vocab-%s.gguf%s", name, suffix);
    return check_read_file(check_shared_path(path), bytes);
}

/* One text: its ids are the next line of `wanted`. */
static void compare_line(const struct tokenizer_fixture *fixture, const char *text, size_t bytes,
                         char **wanted)
{
    struct token_list list = {0};
    struct error err = {0};
    cr_assert(tokenizer_encode(fixture->tokenizer, text, bytes, 0, &list, &err), "%s", err.text);
    size_t i = 0;
    char *at = *wanted, *end;
    for (; *at && *at != '\n'; i++) {
        long id = strtol(at, &end, 10);
        cr_assert(end > at, "%s", at);
        cr_expect(i < list.count && list.ids[i] == (uint32_t)id, "\"%.*s\": id number %zu",
                  (int)bytes, text, i);
        for (at = end; *at == ' '; at++) {
        }
    }
    cr_expect_eq(i, list.count, "\"%.*s\"", (int)bytes, text);
    *wanted = at + (*at == '\n');
    token_list_free(&list);
}

static void compare_vocabulary(const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[128];
    snprintf(path, sizeof(path), "reference/vocabs/ggml-vocab-%s.gguf", name);
    const char *file = check_shared_path(path);
    if (!file) {
        cr_skip("the shared vocabularies are not here");
    }
    struct tokenizer_fixture fixture, again;
    struct error err = {0};
    cr_assert(tokenizer_fixture_gguf(&fixture, file, &err), "%s", err.text);
    rewrite(&fixture, &again, 5);
    size_t bytes, n = 0;
    char *texts = read_shared(name, ".inp", &bytes), *wanted = read_shared(name, ".out", NULL);
    char *line = wanted, *end = texts + bytes;
    for (char *text = texts; text <= end; n++) {
        char *next = memmem(text, (size_t)(end - text), separator, sizeof(separator) - 1);
        size_t length = (size_t)((next ? next : end) - text);
        compare_line(&fixture, text, length, &line);
        compare(&fixture, &again, text, length);
        text = next ? next + sizeof(separator) - 1 : end + 1;
    }
    cr_expect_eq(n, 47);
    free(texts);
    free(wanted);
    tokenizer_fixture_free(&fixture);
    tokenizer_fixture_free(&again);
}

Test(vocabularies, gpt2)
{
    compare_vocabulary("gpt-2");
}

Test(vocabularies, qwen2)
{
    compare_vocabulary("qwen2");
}

Test(vocabularies, deepseek_llm)
{
    compare_vocabulary("deepseek-llm");
}

Test(vocabularies, command_r)
{
    compare_vocabulary("command-r");
}

Test(vocabularies, llama_spm)
{
    compare_vocabulary("llama-spm");
}

Test(vocabularies, phi3)
{
    compare_vocabulary("phi-3");
}

/* From tokenizer.json to GGUF: the pattern finds its name, merges their scores. */
Test(export, tokenizers_of_ours)
{
    static const char *const names[] = {"llama3", "deepseek", "sentencepiece"};
    json_t *root = json_load_file(check_source_path("tests/text/tokenizer_vectors.json"),
                                  JSON_ALLOW_NUL, NULL);
    for (size_t k = 0; k < 3; k++) {
        struct tokenizer_fixture fixture = {0}, again;
        cr_assert(tokenizer_fixture_named(&fixture, names[k]));
        rewrite(&fixture, &again, 0);
        size_t i;
        json_t *text;
        json_array_foreach(json_object_get(root, "strings"), i, text)
        {
            compare(&fixture, &again, json_string_value(text), json_string_length(text));
        }
        tokenizer_fixture_free(&fixture);
        tokenizer_fixture_free(&again);
    }
    json_decref(root);
}

/* What GGUF has no words for is refused before anything is written. */
Test(export, refusals)
{
    static const char *const rows[][2] = {{"gpt2", "split texts by patterns"},
                                          {"digits", "other tokens around a text"},
                                          {"added", "no name is known"}};
    for (size_t i = 0; i < 3; i++) {
        struct tokenizer_fixture fixture = {0};
        struct gguf_writer writer;
        struct error err = {0};
        tokenizer_fixture_named(&fixture, rows[i][0]);
        cr_assert(gguf_writer_open(&writer, check_path(check_temp_dir(), "x.gguf"), &err));
        cr_expect(!tokenizer_gguf_write(fixture.section, fixture.bytes, 100000, &writer, &err));
        cr_expect(strstr(err.text, rows[i][1]), "%s", err.text);
        cr_expect_eq(writer.n_pairs, 0);
        gguf_writer_abort(&writer);
        tokenizer_fixture_free(&fixture);
    }
}
