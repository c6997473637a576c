/* Unigram models, and tokenizer.model, SentencePiece's own file: ids against those of Hugging
 * Face's tokenizers and of SentencePiece (tests/reference/unigram_vectors.py), and damaged files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <jansson.h>

#include "engine/text/tokenizer_pack.h"
#include "format/tokenizer_section.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

static char *read_vocabulary(const char *name, size_t *bytes)
{
    char path[128];
    snprintf(path, sizeof(path), "tests/text/%s.model", name);
    char *data = check_read_file(check_source_path(path), bytes);
    cr_assert(data, "%s", path);
    return data;
}

/* Packs a folder that holds nothing but this tokenizer.model. */
static bool pack_model(const char *data, size_t bytes, void **section, uint64_t *section_bytes,
                       struct error *err)
{
    const char *folder = check_temp_dir();
    unlink(check_path(folder, "tokenizer.json"));
    cr_assert(check_write_file(check_path(folder, "tokenizer.model"), data, bytes));
    return tokenizer_pack(folder, section, section_bytes, err);
}

static void open_model(struct tokenizer_fixture *fixture, const char *name)
{
    struct error err = {0};
    size_t bytes;
    char *data = read_vocabulary(name, &bytes);
    cr_assert(pack_model(data, bytes, &fixture->section, &fixture->bytes, &err), "%s", err.text);
    free(data);
    fixture->tokenizer = tokenizer_create(fixture->section, fixture->bytes, &err);
    cr_assert(fixture->tokenizer, "%s", err.text);
}

Test(vectors, huggingface)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_named(&fixture, "unigram");
    tokenizer_fixture_compare(&fixture, "unigram.json", "huggingface",
                              TOKENIZER_PARSE_SPECIAL | TOKENIZER_ADD_SPECIAL);
    tokenizer_fixture_free(&fixture);
}

Test(vectors, sentencepiece)
{
    static const char *const names[] = {"unigram_t5", "unigram_bytes", "sentencepiece_bpe"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct tokenizer_fixture fixture = {0};
        open_model(&fixture, names[i]);
        tokenizer_fixture_compare(&fixture, "unigram.json", names[i], 0);
        tokenizer_fixture_free(&fixture);
    }
}

Test(vectors, gguf)
{
    struct tokenizer_fixture fixture = {0};
    struct error err = {0};
    cr_assert(
        tokenizer_fixture_gguf(&fixture, check_source_path("tests/text/unigram_t5.gguf"), &err),
        "%s", err.text);
    tokenizer_fixture_compare(&fixture, "unigram.json", "unigram_t5", 0);
    struct token_list list = {0};
    cr_assert(tokenizer_encode(fixture.tokenizer, "", 0, TOKENIZER_ADD_SPECIAL, &list, &err));
    cr_expect(list.count == 1 && list.ids[0] == 1);
    token_list_free(&list);
    tokenizer_fixture_free(&fixture);
}

/* BPE puts BOS before a text, unigram EOS behind it; tokenizer_config.json may say otherwise. */
Test(model, ends)
{
    static const struct {
        const char *name, *config;
        uint32_t first, last; /* of "word", whose own tokens are neither */
    } rows[] = {
        {"unigram_t5", NULL, TOKEN_NONE, 1},
        {"sentencepiece_bpe", NULL, 1, TOKEN_NONE},
        {"sentencepiece_bpe", "{\"add_bos_token\":false,\"add_eos_token\":true}", TOKEN_NONE, 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct tokenizer_fixture fixture = {0};
        struct token_list list = {0};
        const char *config = check_path(check_temp_dir(), "tokenizer_config.json");
        unlink(config);
        if (rows[i].config) {
            cr_assert(check_write_file(config, rows[i].config, strlen(rows[i].config)));
        }
        open_model(&fixture, rows[i].name);
        cr_assert(
            tokenizer_encode(fixture.tokenizer, "word", 4, TOKENIZER_ADD_SPECIAL, &list, NULL));
        cr_assert(list.count >= 2);
        cr_expect_eq(list.ids[0] <= 2 ? list.ids[0] : TOKEN_NONE, rows[i].first, "%zu", i);
        uint32_t last = list.ids[list.count - 1];
        cr_expect_eq(last <= 2 ? last : TOKEN_NONE, rows[i].last, "%zu", i);
        cr_expect(tokenizer_is_stop(fixture.tokenizer, tokenizer_eos(fixture.tokenizer)));
        token_list_free(&list);
        tokenizer_fixture_free(&fixture);
    }
}

#define MARK "\xE2\x96\x81"
#define METASPACE \
    "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"always\"," \
    "\"split\":true}"
#define VOCABULARY \
    "[[\"<unk>\",0],[\"</s>\",0],[\"" MARK "\",-2],[\"a\",-3],[\"b\",-3.5],[\"" MARK \
    "a\",-2.5],[\"ab\",-4],[\"" MARK "ab\",-7],[\"c\",-5],[\"bc\",-5.5]"
#define TAIL(vocabulary) \
    "\"pre_tokenizer\":" METASPACE ",\"decoder\":" METASPACE \
    ",\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":" vocabulary "]}}"
static const char tiny[] = "{\"normalizer\":null," TAIL(VOCABULARY);

static void expect_ids(const struct tokenizer_fixture *fixture, const char *text,
                       const char *wanted)
{
    struct token_list list = {0};
    char got[128] = "", *at = got;
    cr_assert(tokenizer_encode(fixture->tokenizer, text, strlen(text), 0, &list, NULL));
    for (size_t k = 0; k < list.count && k < 16; k++) {
        at += sprintf(at, "%s%u", k ? "," : "", list.ids[k]);
    }
    cr_expect_str_eq(got, wanted, "\"%s\": %s", text, got);
    token_list_free(&list);
}

/* Ids of the Rust library, ties among them. */
Test(tiny, reference_ids)
{
    static const char *const rows[][2] = {
        {"ab", "2,6"},     {"a b", "5,2,4"},        {"aab", "5,6"},
        {"abc", "5,9"},    {"zzab z", "2,0,6,2,0"}, {"  a", "2,5"},
        {"abbc", "2,6,9"}, {"zbz", "2,0,4,0"},      {"", ""},
    };
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, tiny, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        expect_ids(&fixture, rows[i][0], rows[i][1]);
    }
    tokenizer_fixture_free(&fixture);
}

/* A run of unknown characters becomes bytes only if all of them have tokens. */
Test(tiny, byte_fallback)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(
        &fixture,
        "{\"pre_tokenizer\":" METASPACE ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},\"content\":\" \"},"
        "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}]},\"model\":{\"type\":\"Unigram\","
        "\"unk_id\":0,\"byte_fallback\":true,\"vocab\":" VOCABULARY
        ",[\"<0xC3>\",-20],[\"<0xA9>\",-20],[\"<0x7A>\",-20]]}}",
        NULL);
    expect_ids(&fixture, "z\u00e9", "2,12,10,11");
    expect_ids(&fixture, "z\u00e8z", "2,0");
    expect_ids(&fixture, "zz\u00e8ab", "2,0,6");
    tokenizer_fixture_free(&fixture);
}

static void refuse(const char *json, const char *named)
{
    const char *text =
        tokenizer_fixture_refused((const char *const[]){"tokenizer.json", json, NULL});
    cr_expect(strstr(text, named), "\"%s\" is not in: %s", named, text);
}

#define MODEL(members) \
    "{\"pre_tokenizer\":" METASPACE ",\"decoder\":" METASPACE \
    ",\"model\":{\"type\":\"Unigram\"," members "}}"
#define CHARSMAP(text) \
    "{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":" text "}," TAIL(VOCABULARY)

Test(refused, json)
{
    refuse(MODEL("\"unk_id\":0"), "vocab");
    refuse(MODEL("\"unk_id\":0,\"vocab\":[]"), "vocab");
    refuse(MODEL("\"unk_id\":0,\"vocab\":[[\"a\"]]"), "entry 0");
    refuse(MODEL("\"unk_id\":0,\"vocab\":[[\"a\",\"b\"]]"), "entry 0");
    refuse(MODEL("\"unk_id\":0,\"vocab\":[[\"a\",0],[\"a\",1]]"), "twice");
    refuse(MODEL("\"unk_id\":1,\"vocab\":[[\"a\",0]]"), "unk_id");
    refuse(MODEL("\"unk_id\":null,\"vocab\":[[\"a\",0]]"), "unk_id");
    refuse(MODEL("\"unk_id\":0,\"vocab\":{\"a\":0}"), "vocab");
    refuse(CHARSMAP("3"), "precompiled_charsmap");
    refuse(CHARSMAP("\"AAA\""), "Base64");
    refuse(CHARSMAP("\"!AAA\""), "Base64");
    refuse(CHARSMAP("\"BAAAAAAAAAA=\""), "map of characters"); /* no texts */
    refuse(CHARSMAP("\"/////wAAAAAA\""), "map of characters"); /* a trie of 4 GiB */
    refuse("{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x\"},\"content\":\"\"}"
           "," TAIL(VOCABULARY),
           "Replace");
    char *json = malloc(2048);
    char *at = stpcpy(json, MODEL("\"unk_id\":0,\"vocab\":[[\"a\",0],[\""));
    at = strstr(json, "[[\"a\",0],[\"") + 11;
    memset(at, 'x', 513);
    strcpy(at + 513, "\",0]]}}");
    refuse(json, "513 bytes");
    free(json);
}

/* Whatever is in the file: a tokenizer that can be used, or one sentence. */
static bool try_model(const char *data, size_t bytes)
{
    struct error err = {0};
    void *section = NULL;
    uint64_t n;
    bool ok = pack_model(data, bytes, &section, &n, &err);
    if (ok) {
        struct tokenizer *tokenizer = tokenizer_create(section, n, &err);
        struct token_list list = {0};
        cr_assert(tokenizer, "%s", err.text);
        cr_expect(tokenizer_encode(tokenizer, "some ab\u00bd\uff41\u0301 text", 18, 0, &list, &err),
                  "%s", err.text);
        token_list_free(&list);
        tokenizer_destroy(&tokenizer);
        free(section);
    } else {
        cr_expect(!section && strlen(err.text) > 20 && !strchr(err.text, '\n'), "%s", err.text);
    }
    return ok;
}

Test(damaged, cut_at_every_byte)
{
    size_t bytes, opened = 0;
    char *data = read_vocabulary("unigram_t5", &bytes);
    for (size_t n = 1; n < bytes; n++) {
        opened += try_model(data, n); /* between two fields of the file, it is whole */
    }
    cr_expect(opened < 250, "%zu", opened);
    free(data);
}

Test(damaged, flipped_bits)
{
    static const char *const names[] = {"unigram_t5", "sentencepiece_bpe"};
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        char *data = read_vocabulary(names[i], &bytes);
        srandom(7);
        for (int k = 0; k < 1500; k++) {
            size_t at = (size_t)random() % bytes;
            char before = data[at];
            data[at] ^= (char)(1 << random() % 8);
            try_model(data, bytes);
            data[at] = before;
        }
        free(data);
    }
}

static void refuse_model(const char *data, size_t bytes, const char *named)
{
    struct error err = {0};
    void *section;
    uint64_t n;
    cr_assert(!pack_model(data, bytes, &section, &n, &err));
    cr_expect(strstr(err.text, named), "\"%s\" is not in: %s", named, err.text);
}
#define REFUSE(data, named) refuse_model(data, sizeof(data) - 1, named)

Test(damaged, by_name)
{
    REFUSE("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", "damaged"); /* a length of 2^64 - 1 */
    REFUSE("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", "damaged"); /* more than 64 bits */
    REFUSE("\x0A\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "damaged"); /* eleven bytes */
    REFUSE("\x0B", "damaged");                                             /* a group */
    REFUSE("\x02\x00", "damaged");                                         /* field 0 */
    REFUSE("\x12\x02\x18\x03\x0A\x03\x0A\x01x", "type 3");                 /* words */
    REFUSE("\x12\x02\x18\x01", "0 pieces");
    REFUSE("\x0A\x03\x0A\x01x", "unknown");
    REFUSE("\x0A\x00", "piece 0");
    REFUSE("\x0A\x05\x0A\x01x\x18\x09", "piece 0");                /* type 9 */
    REFUSE("\x0A\x08\x0A\x01x\x15\x00\x00\xC0\x7F", "piece 0");    /* a score of NaN */
    REFUSE("\x0A\x03\x0A\x01\xFF", "piece 0");                     /* not UTF-8 */
    REFUSE("\x0A\x05\x0A\x01x\x18\x06", "piece 0");                /* a byte called x */
    REFUSE("\x0A\x05\x0A\x01x\x18\x02\x1A\x02\x28\x00", "spaces"); /* not escaped */
    REFUSE("\x0A\x05\x0A\x01x\x18\x02\x1A\x03\x12\x01x", "charsmap");
    REFUSE("\x0A\x05\x0A\x01x\x18\x02\x0A\x03\x0A\x01y\x0A\x03\x0A\x01y", "same text");
}

Test(damaged, nothing_there)
{
    const char *text = tokenizer_fixture_refused((const char *const[]){"config.json", "{}", NULL});
    cr_expect(strstr(text, "tokenizer.model"), "%s", text);
}

/* Two ways to cut "abbb" have the same sum but for the last bit, and there it matters how decimals
 * are read: ids by the package tokenizers. */
Test(scores, decimals)
{
    static const char json[] =
        "{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Metaspace\","
        "\"replacement\":\"\\u2581\",\"prepend_scheme\":\"never\",\"split\":true},"
        "\"post_processor\":null,\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\","
        "\"prepend_scheme\":\"never\",\"split\":true},\"model\":{\"type\":\"Unigram\",\"unk_id\":0,"
        "\"byte_fallback\":false,\"vocab\":[[\"<unk>\",0.0],[\"a\",-11.960803519594165],"
        "[\"b\",-10.429059626098004],[\"bb\",-6.556272562176648]]}}";
    struct tokenizer_fixture fixture;
    struct token_list list = {0};
    tokenizer_fixture_text(&fixture, json, NULL);
    cr_assert(tokenizer_encode(fixture.tokenizer, "abbb", 4, 0, &list, NULL));
    cr_assert_eq(list.count, 3);
    cr_expect_arr_eq(list.ids, ((uint32_t[]){1, 3, 2}), 3 * sizeof(uint32_t));
    token_list_free(&list);
    tokenizer_fixture_free(&fixture);
}

/* A line without a place to cut it takes linear time. */
Test(lines, without_end)
{
    static const char *const parts[] = {"a", "z", "\u00e9"};
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_named(&fixture, "unigram");
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        size_t part = strlen(parts[i]), n = ((size_t)10 << 20) / part * part;
        char *text = malloc(n);
        for (size_t at = 0; at < n; at += part) {
            memcpy(text + at, parts[i], part);
        }
        struct token_list list = {0};
        struct error err = {0};
        cr_assert(tokenizer_encode(fixture.tokenizer, text, n, 0, &list, &err), "%s", err.text);
        cr_expect(list.count > 0);
        token_list_free(&list);
        free(text);
    }
    tokenizer_fixture_free(&fixture);
}
