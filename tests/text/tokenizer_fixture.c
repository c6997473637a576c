#include "tests/text/tokenizer_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/tokenizer_gguf.h"
#include "engine/text/tokenizer_pack.h"
#include "tests/check.h"

const char tokenizer_fixture_tiny[] =
    "{\"added_tokens\":[{\"id\":9,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false,"
    "\"lstrip\":false,\"rstrip\":true,\"single_word\":false}],"
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"\\u0120\":2,"
    "\"\\u00c3\":3,\"\\u00a9\":4,\"ab\":5,\"\\u0120a\":6,\"\\u00c3\\u00a9\":7,\"\\u0120abb\":8},"
    "\"merges\":[\"\\u0120 a\",\"a b\",\"\\u00c3 \\u00a9\"]}}";

const char tokenizer_fixture_pieces[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"single_word\":false,\"lstrip\":false,\"r"
    "strip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":{\"type\":\"Sequence\""
    ",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"},{\"type\":\"Replace\","
    "\"pattern"
    "\":{\"String\":\" \"},\"content\":\"\\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":nul"
    "l,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
    "\"String\""
    ":\"\\u2581\"},\"content\":\" "
    "\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip"
    "\",\"content\":\" "
    "\",\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\","
    "\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<0xC3>\":1,\"<0xA9>\":2,\"\\"
    "u2581\":3,\"a\":4,\"b\":5,\"\\u2581a\":6,\"ab\":7,\"\\u2581ab\":8,\"bb\":9},\"merges\":[\"a "
    "b\",\"\\u"
    "2581 a\",\"\\u2581 ab\",\"b b\"]}}";

static const char *const file_names[] = {"tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "generation_config.json",
                                         "config.json"};

static void write_files(const char *const files[])
{
    for (size_t i = 0; i < sizeof(file_names) / sizeof(*file_names); i++) {
        unlink(check_path(check_temp_dir(), file_names[i]));
    }
    for (; files[0]; files += 2) {
        cr_assert(
            check_write_file(check_path(check_temp_dir(), files[0]), files[1], strlen(files[1])));
    }
}

static void open_folder(struct tokenizer_fixture *fixture, const char *folder)
{
    struct error err = {0};
    cr_assert(tokenizer_pack(folder, &fixture->section, &fixture->bytes, &err), "%s", err.text);
    fixture->tokenizer = tokenizer_create(fixture->section, fixture->bytes, &err);
    cr_assert(fixture->tokenizer, "%s", err.text);
}

void tokenizer_fixture_text(struct tokenizer_fixture *fixture, const char *json, const char *config)
{
    write_files((const char *const[]){"tokenizer.json", json,
                                      config ? "tokenizer_config.json" : NULL, config, NULL});
    open_folder(fixture, check_temp_dir());
}

bool tokenizer_fixture_named(struct tokenizer_fixture *fixture, const char *name)
{
    if (strcmp(name, "moxie-tiny") == 0) {
        const char *folder = check_shared_path("models/moxie-tiny");
        if (folder) {
            open_folder(fixture, folder);
        }
        return folder != NULL;
    }
    char path[128];
    snprintf(path, sizeof(path), "tests/text/tokenizer_%s.json", name);
    char *json = check_read_file(check_source_path(path), NULL);
    cr_assert(json, "%s", path);
    tokenizer_fixture_text(fixture, json, NULL);
    free(json);
    return true;
}

bool tokenizer_fixture_gguf(struct tokenizer_fixture *fixture, const char *path, struct error *err)
{
    struct gguf gguf;
    *fixture = (struct tokenizer_fixture){0};
    if (!gguf_open(&gguf, path, err)) {
        return false;
    }
    bool ok = tokenizer_gguf_pack(&gguf, &fixture->section, &fixture->bytes, err);
    cr_expect_eq(ok, fixture->section != NULL);
    gguf_close(&gguf);
    fixture->tokenizer = ok ? tokenizer_create(fixture->section, fixture->bytes, err) : NULL;
    return ok;
}

void tokenizer_fixture_free(struct tokenizer_fixture *fixture)
{
    tokenizer_destroy(&fixture->tokenizer);
    free(fixture->section);
    *fixture = (struct tokenizer_fixture){0};
}

const char *tokenizer_fixture_refused(const char *const files[])
{
    static struct error err;
    void *section;
    uint64_t bytes;
    err = (struct error){0};
    write_files(files);
    bool ok = tokenizer_pack(check_temp_dir(), &section, &bytes, &err);
    cr_assert(!ok, "packing should have failed");
    cr_assert_null(section);
    cr_assert(strlen(err.text) > 20 && !strchr(err.text, '\n'), "a sentence: %s", err.text);
    return err.text;
}

void tokenizer_fixture_compare(const struct tokenizer_fixture *fixture, const char *file,
                               const char *program, uint32_t flags)
{
    char path[128];
    snprintf(path, sizeof(path), "tests/text/%s", file);
    json_t *root = json_load_file(check_source_path(path), JSON_ALLOW_NUL, NULL), *text;
    const json_t *strings = json_object_get(root, "strings");
    cr_assert_geq(json_array_size(strings), 250, "%s", file);
    size_t i;
    json_array_foreach(strings, i, text)
    {
        const json_t *wanted = json_array_get(json_object_get(root, program), i);
        struct token_list list = {0};
        struct error err = {0};
        cr_assert(tokenizer_encode(fixture->tokenizer, json_string_value(text),
                                   json_string_length(text), flags, &list, &err),
                  "%s", err.text);
        bool same = json_is_array(wanted) && list.count == json_array_size(wanted);
        for (size_t k = 0; same && k < list.count; k++) {
            same = list.ids[k] == json_integer_value(json_array_get(wanted, k));
        }
        cr_expect(same, "%s: string %zu \"%s\"", program, i, json_string_value(text));
        token_list_free(&list);
    }
    json_decref(root);
}
