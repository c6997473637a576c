/* Answers in whole words and without control characters. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/word_writer.h"

static char *written;
static size_t n_written;

static struct word_writer open_writer(bool terminal)
{
    return (struct word_writer){.out = open_memstream(&written, &n_written), .terminal = terminal};
}

static void expect_after(struct word_writer *writer, const char *piece, const char *expected)
{
    word_writer_push(writer, piece, strlen(piece));
    cr_expect_str_eq(written, expected, "after \"%s\": %s", piece, written);
}

Test(word_writer, words_come_whole)
{
    struct word_writer writer = open_writer(true);
    expect_after(&writer, "The", "");
    expect_after(&writer, " cap", "The ");
    expect_after(&writer, "ital", "The ");
    expect_after(&writer, ".", "The capital.");
    expect_after(&writer, "\n", "The capital.\n");
    expect_after(&writer, "\xC3\xA9t", "The capital.\n");
    expect_after(&writer, "\xC3\xA9 ", "The capital.\n\xC3\xA9t\xC3\xA9 ");
    expect_after(&writer, "\xE6\x97\xA5", "The capital.\n\xC3\xA9t\xC3\xA9 \xE6\x97\xA5");
    expect_after(&writer, "end", "The capital.\n\xC3\xA9t\xC3\xA9 \xE6\x97\xA5");
    word_writer_end(&writer);
    cr_expect_str_eq(written, "The capital.\n\xC3\xA9t\xC3\xA9 \xE6\x97\xA5"
                              "end");
    fclose(writer.out);
    free(written);
}

Test(word_writer, nothing_is_lost_in_any_pieces)
{
    char text[600] = "a word, \xF0\x9F\x98\x80\xE6\x97\xA5 na\xC3\xAFve ";
    memset(text + strlen(text), 'x', 200);
    for (size_t piece = 1; piece < 70; piece++) {
        struct word_writer writer = open_writer(true);
        for (size_t at = 0; at < strlen(text); at += piece) {
            size_t left = strlen(text) - at;
            word_writer_push(&writer, text + at, left < piece ? left : piece);
        }
        word_writer_end(&writer);
        cr_expect_str_eq(written, text, "pieces of %zu", piece);
        fclose(writer.out);
        free(written);
    }
}

Test(word_writer, a_terminal_gets_no_control_characters)
{
    static const char hostile[] = "a\033[2Jb\x07\x7F\xC2\x9B"
                                  "31mc\r\n\td";
    for (size_t piece = 1; piece < sizeof(hostile); piece++) {
        struct word_writer writer = open_writer(true);
        for (size_t at = 0; at < sizeof(hostile) - 1; at += piece) {
            size_t left = sizeof(hostile) - 1 - at;
            word_writer_push(&writer, hostile + at, left < piece ? left : piece);
        }
        word_writer_end(&writer);
        cr_expect_str_eq(written, "a\uFFFD[2Jb\uFFFD\uFFFD\uFFFD"
                                  "31mc\uFFFD\n\td");
        fclose(writer.out);
        free(written);
    }
    struct word_writer writer = open_writer(false);
    word_writer_push(&writer, hostile, sizeof(hostile) - 1);
    word_writer_end(&writer);
    cr_expect_str_eq(written, hostile, "a file gets what the model said");
    fclose(writer.out);
    free(written);
}
