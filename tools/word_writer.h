/* Writes an answer as it comes, in whole words.
 *
 * Letters and digits of the scripts that put spaces between words are held back until the word is
 * over, everything else is written at once. On a terminal, control characters that an answer has no
 * use for are written as U+FFFD, so that a model cannot move the cursor or worse.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct word_writer {
    FILE *out;
    bool terminal;
    char held[64]; /* private */
    size_t n_held;
    uint32_t following; /* bytes that the last character still lacks */
    bool letter;        /* it belongs to a word */
    char last;          /* the last byte that was written */
};

/* Text in UTF-8, in pieces of any size; flushes the stream if something was written. */
void word_writer_push(struct word_writer *writer, const char *text, size_t n);
/* Writes what is held back. */
void word_writer_end(struct word_writer *writer);
