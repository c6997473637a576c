/* Streaming: whole characters only, invalid bytes as U+FFFD per maximal subpart. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"
#include "tests/check.h"

/* Pushes text in the pieces that the bits of `cuts` make (bit i: cut before byte i). */
static size_t stream_pieces(const char *text, size_t n, uint64_t cuts, char *out, size_t room)
{
    struct text_stream stream = {0};
    size_t written = 0, start = 0;
    for (size_t i = 1; i <= n; i++) {
        if (i < n && !(cuts >> i & 1)) {
            continue;
        }
        /* Exactly as much room as the header promises to be enough, so that ASan sees more. */
        size_t most = 3 * (i - start + 3);
        char *piece = malloc(most);
        size_t got = text_stream_push(&stream, text + start, i - start, piece);
        cr_assert_leq(got, most);
        cr_assert(unicode_is_valid(piece, got), "part of a character came out");
        cr_assert_leq(stream.n_held, 3);
        cr_assert_leq(written + got, room);
        memcpy(out + written, piece, got);
        free(piece);
        written += got;
        start = i;
    }
    char tail[3];
    size_t got = text_stream_flush(&stream, tail);
    memcpy(out + written, tail, got);
    cr_assert_eq(text_stream_flush(&stream, tail), 0);
    return written + got;
}

static void expect(const char *text, size_t n, const char *wanted)
{
    char out[256];
    for (uint64_t cuts = 0; cuts < UINT64_C(1) << n; cuts += 2) {
        size_t got = stream_pieces(text, n, cuts, out, sizeof(out) - 3);
        cr_assert(got == strlen(wanted) && memcmp(out, wanted, got) == 0, "cuts %llx: %.*s",
                  (unsigned long long)cuts, (int)got, out);
    }
}

#define EXPECT(text, wanted) expect(text, sizeof(text) - 1, wanted)

Test(stream, valid_text_in_every_split)
{
    EXPECT("", "");
    EXPECT("abc", "abc");
    EXPECT("aé漢🙂!", "aé漢🙂!");
    EXPECT("👍🏽é", "👍🏽é");
    EXPECT("\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80", "\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80");
}

/* The Unicode Standard, section 3.9, tables 3-8 to 3-11. */
Test(stream, invalid_text_in_every_split)
{
    EXPECT("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
           "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
    EXPECT("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41",
           "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
    EXPECT("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41",
           "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
    EXPECT("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA\uFFFD\uFFFDB");
    EXPECT("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\uFFFD\uFFFD\uFFFD\uFFFDA");
    EXPECT("\xF5\xC1\xFE", "\uFFFD\uFFFD\uFFFD");
    EXPECT("\xC3\xC3\xA9", "\uFFFDé");
}

Test(stream, ends_inside_a_character)
{
    EXPECT("x\xC3", "x\uFFFD");
    EXPECT("x\xE6\xBC", "x\uFFFD");
    EXPECT("x\xF0\x9F\x99", "x\uFFFD");
    EXPECT("\xF0\x9F\xC3", "\uFFFD\uFFFD");
}

/* Whatever the bytes, a stream gives what repairing the whole gives. */
Test(stream, random_bytes)
{
    struct check_random random = {3};
    static const uint8_t likely[] = {0x41, 0x80, 0xBF, 0xC2, 0xE0, 0xA0, 0xED, 0x9F,
                                     0xF0, 0x90, 0xF4, 0x8F, 0xC0, 0xFF, 0xE1, 0xF1};
    for (int round = 0; round < 20000; round++) {
        char text[24], out[96];
        size_t n = check_random_below(&random, sizeof(text) + 1);
        for (size_t i = 0; i < n; i++) {
            text[i] = (char)likely[check_random_below(&random, sizeof(likely))];
        }
        struct unicode_buffer whole = {0};
        cr_assert(unicode_repair(text, n, &whole, NULL));
        size_t got = stream_pieces(text, n, check_random_u64(&random), out, sizeof(out) - 3);
        cr_assert(got == whole.bytes && memcmp(out, whole.data ? whole.data : "", got) == 0);
        unicode_buffer_free(&whole);
    }
}
