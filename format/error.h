/* One sentence for a person.
 *
 * Whatever can go wrong outside our own code (a bad file, a missing device, full memory) is told
 * by a function that returns false or NULL and leaves one sentence here. The sentence names the
 * file, the thing in it, and what to do about it. Callers pass it up unchanged; only tools print.
 */
#pragma once

#include <stdbool.h>

struct error {
    char text[512]; /* UTF-8, NUL-terminated, no newline at the end */
};

/* Writes the sentence (cut to fit) and returns false, so that `return error_set(err, ...)` reads
 * well. err may be NULL: then nothing is written. Cutting never splits a UTF-8 character, and
 * control characters become question marks. */
bool error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
