/* Tokens that files beside tokenizer.model add to it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "engine/text/tokenizer_pack.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

#define CONFIG "tokenizer_config.json"
#define ADDED "added_tokens.json"
#define SPECIAL "special_tokens_map.json"

/* Packs tests/text/unigram_t5.model with these files (name, content, ..., NULL) beside it. */
static bool pack(struct tokenizer_fixture *fixture, const char *const files[], struct error *err)
{
    static const char *const names[] = {CONFIG, ADDED, SPECIAL};
    const char *folder = check_temp_dir();
    size_t bytes;
    char *data = check_read_file(check_source_path("tests/text/unigram_t5.model"), &bytes);
    cr_assert(check_write_file(check_path(folder, "tokenizer.model"), data, bytes));
    free(data);
    unlink(check_path(folder, "tokenizer.json"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        unlink(check_path(folder, names[i]));
    }
    for (; files[0]; files += 2) {
        cr_assert(check_write_file(check_path(folder, files[0]), files[1], strlen(files[1])));
    }
    *fixture = (struct tokenizer_fixture){0};
    return tokenizer_pack(folder, &fixture->section, &fixture->bytes, err) &&
           (fixture->tokenizer = tokenizer_create(fixture->section, fixture->bytes, err));
}

static void open_with(struct tokenizer_fixture *fixture, const char *const files[])
{
    struct error err = {0};
    cr_assert(pack(fixture, files, &err), "%s", err.text);
}
#define OPEN(fixture, ...) open_with(fixture, (const char *const[]){__VA_ARGS__, NULL})

static void refuse(const char *named, const char *const files[])
{
    struct tokenizer_fixture fixture;
    struct error err = {0};
    cr_assert(!pack(&fixture, files, &err), "%s", files[1]);
    cr_expect(strstr(err.text, named), "\"%s\" is not in: %s", named, err.text);
}
#define REFUSE(named, ...) refuse(named, (const char *const[]){__VA_ARGS__, NULL})

/* The position of an id among those of a text; -1 if it is not there. */
static int find(const struct tokenizer_fixture *fixture, const char *text, uint32_t flags,
                uint32_t id)
{
    struct token_list list = {0};
    int at = -1;
    cr_assert(tokenizer_encode(fixture->tokenizer, text, strlen(text), flags, &list, NULL));
    for (size_t i = 0; i < list.count && at < 0; i++) {
        at = list.ids[i] == id ? (int)i : -1;
    }
    token_list_free(&list);
    return at;
}

static uint32_t pieces(void)
{
    struct tokenizer_fixture plain;
    OPEN(&plain, CONFIG, "{}");
    uint32_t n = tokenizer_vocabulary(plain.tokenizer);
    tokenizer_fixture_free(&plain);
    return n;
}

Test(added, decoder)
{
    struct tokenizer_fixture fixture;
    OPEN(&fixture, CONFIG,
         "{\"eos_token\":\"<end>\",\"added_tokens_decoder\":{"
         "\"1\":{\"content\":\"</s>\",\"special\":true},"
         "\"500\":{\"content\":\"<x>\",\"rstrip\":true,\"normalized\":false},"
         "\"502\":{\"content\":\"<end>\",\"special\":true}}}",
         ADDED, "{\"<unread>\":600}");
    cr_expect_eq(tokenizer_vocabulary(fixture.tokenizer), 503);
    cr_expect_geq(find(&fixture, "a <x>  b", 0, 500), 0);
    cr_expect_eq(find(&fixture, "a <end>", 0, 502), -1);
    cr_expect_geq(find(&fixture, "a <end>", TOKENIZER_PARSE_SPECIAL, 502), 0);
    cr_expect_eq(tokenizer_eos(fixture.tokenizer), 502);
    cr_expect(tokenizer_is_special(fixture.tokenizer, 502));
    cr_expect_not(tokenizer_is_special(fixture.tokenizer, 500));
    char *text;
    size_t bytes;
    struct error err;
    cr_assert(tokenizer_decode(fixture.tokenizer, (const uint32_t[]){502, 501, 500}, 3, &text,
                               &bytes, &err));
    cr_expect(bytes == 8 && memcmp(text, "<end><x>", 8) == 0, "%.*s", (int)bytes, text);
    free(text);
    tokenizer_fixture_free(&fixture);
}

/* Special are those that a file names so. */
Test(added, file)
{
    struct tokenizer_fixture fixture;
    OPEN(&fixture, ADDED, "{\"<x>\":300,\"<y>\":301,\"<pad>\":0,\"<z>\":302}", SPECIAL,
         "{\"additional_special_tokens\":[\"<y>\",{\"content\":\"<z>\"}],\"unk_token\":5}");
    cr_expect_eq(tokenizer_vocabulary(fixture.tokenizer), 303);
    cr_expect_geq(find(&fixture, "a<x>b", 0, 300), 0);
    cr_expect_eq(find(&fixture, "a<y>b", 0, 301), -1);
    cr_expect_geq(find(&fixture, "a<y>b", TOKENIZER_PARSE_SPECIAL, 301), 0);
    cr_expect_geq(find(&fixture, "a<z>b", TOKENIZER_PARSE_SPECIAL, 302), 0);
    tokenizer_fixture_free(&fixture);
}

Test(added, extra_ids)
{
    struct tokenizer_fixture fixture;
    uint32_t n = pieces();
    OPEN(&fixture, CONFIG, "{\"tokenizer_class\":\"T5Tokenizer\"}");
    cr_expect_eq(tokenizer_vocabulary(fixture.tokenizer), n + 100);
    cr_expect_geq(find(&fixture, "<extra_id_0>", TOKENIZER_PARSE_SPECIAL, n + 99), 0);
    cr_expect_geq(find(&fixture, "a <extra_id_99> b", TOKENIZER_PARSE_SPECIAL, n), 0);
    tokenizer_fixture_free(&fixture);
    OPEN(&fixture, CONFIG, "{\"tokenizer_class\":\"T5TokenizerFast\",\"extra_ids\":3}");
    cr_expect_eq(tokenizer_vocabulary(fixture.tokenizer), n + 3);
    cr_expect_geq(find(&fixture, "<extra_id_2>", TOKENIZER_PARSE_SPECIAL, n), 0);
    tokenizer_fixture_free(&fixture);
}

Test(added, refused)
{
    REFUSE("\"<x>\" with id 1 ", CONFIG,
           "{\"added_tokens_decoder\":{\"1\":{\"content\":\"<x>\"}}}");
    REFUSE("\"</s>\" with id 500", ADDED, "{\"</s>\":500}");
    REFUSE("\"<y>\" with id 500", ADDED, "{\"<x>\":500,\"<y>\":500}");
    REFUSE("is empty", ADDED, "{\"\":500}");
    REFUSE("no id with a content", CONFIG,
           "{\"added_tokens_decoder\":{\"x\":{\"content\":\"<x>\"}}}");
    REFUSE("no id with a content", CONFIG, "{\"added_tokens_decoder\":{\"500\":{}}}");
    REFUSE("no id with a content", CONFIG,
           "{\"added_tokens_decoder\":{\"99999999999999999999\":{\"content\":\"<x>\"}}}");
    REFUSE("has no id", ADDED, "{\"<x>\":-1}");
    REFUSE("has no id", ADDED, "{\"<x>\":1e30}");
    REFUSE("has no id", ADDED, "{\"<x>\":\"1\"}");
    REFUSE("id 4194303 but names only", ADDED, "{\"<x>\":4194303}");
    REFUSE("extra_ids", CONFIG, "{\"extra_ids\":100000000}");
}
