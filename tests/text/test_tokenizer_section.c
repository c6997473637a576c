/* The tokenizer section is untrusted: damage is refused with a sentence or harmless, never a crash.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "engine/text/tokenizer_build.h"
#include "format/tokenizer_section.h"
#include "tests/check.h"
#include "tests/text/tokenizer_fixture.h"

static const char sample[] = "a<|x|>  ab 'LL 123 caf\u00e9 e\u0301 word <tt> \n\n \xFF<|l|>";

/* Opens the bytes from memory of exactly that size, and uses all there is. Whether it opened. */
static bool try_section(const void *bytes, size_t n)
{
    void *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    struct error err = {0};
    struct tokenizer *tokenizer = tokenizer_create(copy, n, &err);
    cr_expect((tokenizer != NULL) == (err.text[0] == 0));
    if (tokenizer) {
        struct token_list list = {0};
        (void)!tokenizer_encode(tokenizer, sample, sizeof(sample) - 1,
                                TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL, &list, &err);
        for (size_t i = 0; i < list.count; i++) {
            cr_expect_lt(list.ids[i], tokenizer_vocabulary(tokenizer));
        }
        unsigned sum = 0;
        for (uint32_t id = 0; id < tokenizer_vocabulary(tokenizer); id++) {
            uint32_t text_bytes, raw_bytes;
            const char *text = tokenizer_token_text(tokenizer, id, &text_bytes);
            const char *raw = tokenizer_token_bytes(tokenizer, id, true, &raw_bytes);
            for (uint32_t i = 0; i < text_bytes; i++) {
                sum += (unsigned char)text[i];
            }
            for (uint32_t i = 0; i < raw_bytes; i++) {
                sum += (unsigned char)raw[i];
            }
        }
        cr_expect_neq(sum, 0);
        token_list_free(&list);
    }
    bool opened = tokenizer != NULL;
    tokenizer_destroy(&tokenizer);
    free(copy);
    return opened;
}

static void truncate_anywhere(const char *json)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, json, NULL);
    const struct tokenizer_section *header = fixture.section;
    size_t opened = 0;
    for (size_t n = 0; n < fixture.bytes; n++) {
        opened += try_section(fixture.section, n);
    }
    /* Only the padding behind the pool, the last table, may be missing. */
    cr_expect_eq(opened, fixture.bytes - header->pool.offset - header->pool.count);
    cr_expect(try_section(fixture.section, fixture.bytes));
    tokenizer_fixture_free(&fixture);
}

Test(section, truncated_anywhere)
{
    truncate_anywhere(tokenizer_fixture_tiny);
    truncate_anywhere(tokenizer_fixture_pieces);
}

static void change_every_byte(const char *json)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, json, NULL);
    uint8_t *bytes = fixture.section;
    size_t opened = 0, refused = 0;
    static const uint8_t changes[] = {0x01, 0x80, 0xFF};
    for (size_t i = 0; i < fixture.bytes; i++) {
        for (size_t c = 0; c < sizeof(changes); c++) {
            bytes[i] ^= changes[c];
            bool ok = try_section(bytes, fixture.bytes);
            opened += ok;
            refused += !ok;
            bytes[i] ^= changes[c];
        }
    }
    cr_expect(opened > 100 && refused > 400, "%zu opened, %zu refused", opened, refused);
    tokenizer_fixture_free(&fixture);
}

Test(section, every_byte_changed)
{
    change_every_byte(tokenizer_fixture_tiny);
    change_every_byte(tokenizer_fixture_pieces);
}

Test(section, random_damage)
{
    static const char *const names[] = {"added", "gpt2", "unknown", "sentencepiece"};
    static const uint32_t words[] = {0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF8, 256};
    struct check_random random = {5};
    for (size_t k = 0; k < 4; k++) {
        struct tokenizer_fixture fixture = {0};
        tokenizer_fixture_named(&fixture, names[k]);
        uint8_t *copy = malloc(fixture.bytes);
        for (int round = 0; round < 300; round++) {
            memcpy(copy, fixture.section, fixture.bytes);
            for (int i = 0; i < 1 + round % 4; i++) {
                uint32_t limit = round % 2 ? (uint32_t)sizeof(struct tokenizer_section)
                                           : (uint32_t)fixture.bytes;
                size_t at = check_random_below(&random, limit / 4) * (size_t)4;
                uint32_t word = words[check_random_below(&random, 8)];
                memcpy(copy + at, &word, 4);
            }
            try_section(copy, fixture.bytes);
        }
        free(copy);
        tokenizer_fixture_free(&fixture);
    }
}

static void expect_refused(const struct tokenizer_fixture *fixture, size_t offset, uint64_t value,
                           size_t width, const char *named)
{
    uint8_t *copy = malloc(fixture->bytes);
    memcpy(copy, fixture->section, fixture->bytes);
    memcpy(copy + offset, &value, width);
    struct error err = {0};
    struct tokenizer *tokenizer = tokenizer_create(copy, fixture->bytes, &err);
    cr_expect_null(tokenizer, "%zu: %s", offset, named);
    cr_expect(strstr(err.text, named), "%s", err.text);
    tokenizer_destroy(&tokenizer);
    free(copy);
}

#define AT(member) offsetof(struct tokenizer_section, member)

Test(section, damage_is_named)
{
    struct tokenizer_fixture fixture = {0};
    tokenizer_fixture_text(&fixture, tokenizer_fixture_tiny, NULL);
    const struct tokenizer_section *header = fixture.section;
    expect_refused(&fixture, AT(magic), 0, 4, "MTOK");
    expect_refused(&fixture, AT(version), 2, 4, "version 2");
    expect_refused(&fixture, AT(model), 3, 4, "kind 3");
    expect_refused(&fixture, AT(model), TOKENIZER_SECTION_UNIGRAM, 4, "kind 2 with alphabet 1");
    expect_refused(&fixture, AT(alphabet), 3, 4, "alphabet 3");
    expect_refused(&fixture, AT(flags), TOKENIZER_SECTION_SINGLE_SUMS, 4, "0x8");
    expect_refused(&fixture, AT(flags), 1u << 30, 4, "0x40000000");
    expect_refused(&fixture, AT(bos), 10, 4, "BOS");
    expect_refused(&fixture, AT(eos), 10, 4, "EOS");
    expect_refused(&fixture, AT(unk), 10, 4, "unknown token");
    expect_refused(&fixture, AT(tokens.count), UINT64_MAX, 8, "tokens");
    expect_refused(&fixture, AT(tokens.count), 4000000, 8, "outside");
    expect_refused(&fixture, AT(tokens.offset), UINT64_MAX - 7, 8, "outside");
    expect_refused(&fixture, AT(tokens.offset), 0, 8, "outside");
    expect_refused(&fixture, AT(tokens.offset), header->tokens.offset + 4, 8, "outside");
    expect_refused(&fixture, AT(tokens.count), 0, 8, "vocabulary entries");
    expect_refused(&fixture, AT(merges.count), UINT64_MAX / 12 + 2, 8, "merges");
    expect_refused(&fixture, AT(merge_starts.count), 3, 8, "merge rows");
    expect_refused(&fixture, AT(byte_tokens.count), 255, 8, "256");
    expect_refused(&fixture, AT(pool.count), 20, 8, "outside");
    expect_refused(&fixture, AT(pre_tokenizer.count), 17, 8, "pre-tokenizers");
    expect_refused(&fixture, header->sorted.offset, 1, 4, "order");
    expect_refused(&fixture, header->sorted.offset, 9, 4, "not there");
    expect_refused(&fixture, header->sorted.offset, 10, 4, "not there");
    expect_refused(&fixture, header->byte_tokens.offset, 10, 4, "byte");
    expect_refused(&fixture, header->merge_starts.offset, 1, 4, "cover");
    expect_refused(&fixture, header->merge_starts.offset + 4, 100, 4, "order");
    expect_refused(&fixture, header->merges.offset, 10, 4, "merge");
    expect_refused(&fixture, header->merges.offset + 8, UINT32_MAX, 4, "merge");
    expect_refused(&fixture, header->raw_matches.offset, 1u << 30, 4, "added token");
    expect_refused(&fixture, header->raw_matches.offset + 4, 0, 4, "empty");
    expect_refused(&fixture, header->raw_matches.offset + 8, 10, 4, "added token");
    expect_refused(&fixture, header->pre_tokenizer.offset, 9, 4, "kind 9");
    expect_refused(&fixture, header->normalizer.offset, 7, 4, "kind 7");
    expect_refused(&fixture, header->normalizer.offset, TOKENIZER_SECTION_CHARSMAP, 4, "map");
    expect_refused(&fixture, header->normalizer.offset, TOKENIZER_SECTION_RUNS, 4, "empty text");
    expect_refused(&fixture, header->decoder.offset, 3, 4, "kind 3");
    expect_refused(&fixture, header->pre_tokenizer.offset + 12, 1, 4, "pattern");
    expect_refused(&fixture, header->normalizer.offset, TOKENIZER_SECTION_REPLACE, 4, "empty text");
    expect_refused(&fixture, AT(scores.count), 3, 8, "scores");
    expect_refused(&fixture, AT(flags), TOKENIZER_SECTION_BYTE_FALLBACK, 4, "0x4");
    expect_refused(&fixture, AT(alphabet), TOKENIZER_SECTION_CHARACTERS, 4, "no use");
    tokenizer_fixture_free(&fixture);
}

/* Two packings of the same files are the same bytes. */
Test(section, is_reproducible)
{
    struct tokenizer_fixture a = {0}, b = {0};
    tokenizer_fixture_named(&a, "added");
    tokenizer_fixture_named(&b, "added");
    cr_assert_eq(a.bytes, b.bytes);
    cr_expect_eq(memcmp(a.section, b.section, a.bytes), 0);
    tokenizer_fixture_free(&a);
    tokenizer_fixture_free(&b);
}

/* A merge table with many rights per left, and a pair listed twice: the last rank counts. */
Test(section, merges_by_rank)
{
    struct tokenizer_part_token tokens[] = {{"a", 1, 1},  {"b", 1, 1},  {"c", 1, 1},
                                            {"ab", 2, 1}, {"bc", 2, 1}, {"aa", 2, 1}};
    struct tokenizer_part_merge merges[] = {{0, 1, 0, 3}, {1, 2, 1, 4}, {0, 0, 3, 5}, {0, 1, 2, 3}};
    struct tokenizer_parts parts = {.model = TOKENIZER_SECTION_BPE,
                                    .alphabet = TOKENIZER_SECTION_BYTES,
                                    .bos = TOKEN_NONE,
                                    .eos = TOKEN_NONE,
                                    .unk = TOKEN_NONE,
                                    .tokens = tokens,
                                    .n_tokens = 6,
                                    .merges = merges,
                                    .n_merges = 4};
    void *section;
    uint64_t bytes;
    struct error err = {0};
    cr_assert(tokenizer_build(&parts, &section, &bytes, &err), "%s", err.text);
    struct tokenizer *tokenizer = tokenizer_create(section, bytes, &err);
    cr_assert(tokenizer, "%s", err.text);
    struct token_list list = {0};
    cr_assert(tokenizer_encode(tokenizer, "abcaab", 6, 0, &list, &err));
    /* b c first (1), then a b (2) at the end, then a a (3) finds nothing: a bc a ab */
    static const uint32_t wanted[] = {0, 4, 0, 3};
    cr_expect(list.count == 4 && memcmp(list.ids, wanted, sizeof(wanted)) == 0);
    token_list_free(&list);
    tokenizer_destroy(&tokenizer);
    free(section);
}
