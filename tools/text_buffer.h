/* Text that grows: what stop strings, answers and prompts are collected in. Always NUL-terminated
 * once something was appended; may hold NUL characters. Zero-initialise.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct text_buffer {
    char *at; /* NULL as long as nothing was appended */
    size_t n, capacity;
    bool failed; /* memory ran out once: something is missing */
};

void text_buffer_free(struct text_buffer *buffer);
void text_buffer_clear(struct text_buffer *buffer);
/* False, with the buffer as it was and `failed` set, if memory runs out. */
bool text_buffer_append(struct text_buffer *buffer, const char *text, size_t n);
/* Takes n <= buffer->n characters off the beginning. */
void text_buffer_drop(struct text_buffer *buffer, size_t n);
/* The text, "" if there is none. */
const char *text_buffer_text(const struct text_buffer *buffer);

enum text_buffer_read { TEXT_READ, TEXT_TOO_LONG, TEXT_UNREADABLE };
/* Appends a file up to its end; one of more than `most` characters is too long. */
enum text_buffer_read text_buffer_read(struct text_buffer *buffer, FILE *file, size_t most);
/* The same of the file at a path, or of standard input for "-". False, with a sentence for a person
 * in text[bytes], if it cannot be read or is too long. */
bool text_buffer_read_path(struct text_buffer *buffer, const char *path, size_t most, char *text,
                           size_t bytes);
