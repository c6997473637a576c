#include "tools/text_buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void text_buffer_free(struct text_buffer *buffer)
{
    free(buffer->at);
    *buffer = (struct text_buffer){0};
}

void text_buffer_clear(struct text_buffer *buffer)
{
    text_buffer_drop(buffer, buffer->n);
    buffer->failed = false;
}

bool text_buffer_append(struct text_buffer *buffer, const char *text, size_t n)
{
    if (n >= SIZE_MAX / 4 - buffer->n) {
        buffer->failed = true;
        return false;
    }
    if (buffer->n + n + 1 > buffer->capacity) {
        size_t capacity = 2 * (buffer->n + n + 1);
        char *grown = realloc(buffer->at, capacity);
        if (!grown) {
            buffer->failed = true;
            return false;
        }
        buffer->at = grown;
        buffer->capacity = capacity;
    }
    if (n > 0) {
        memcpy(buffer->at + buffer->n, text, n);
    }
    buffer->n += n;
    buffer->at[buffer->n] = 0;
    return true;
}

void text_buffer_drop(struct text_buffer *buffer, size_t n)
{
    assert(n <= buffer->n);
    if (n > 0) {
        buffer->n -= n;
        memmove(buffer->at, buffer->at + n, buffer->n + 1);
    }
}

const char *text_buffer_text(const struct text_buffer *buffer)
{
    return buffer->at ? buffer->at : "";
}

enum text_buffer_read text_buffer_read(struct text_buffer *buffer, FILE *file, size_t most)
{
    char piece[4096];
    size_t n, read = 0;
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0) {
        read += n;
        if (read > most || !text_buffer_append(buffer, piece, n)) {
            return TEXT_TOO_LONG;
        }
    }
    return ferror(file) ? TEXT_UNREADABLE : TEXT_READ;
}

bool text_buffer_read_path(struct text_buffer *buffer, const char *path, size_t most, char *text,
                           size_t bytes)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    FILE *file = standard ? stdin : fopen(path, "rb");
    enum text_buffer_read read = file ? text_buffer_read(buffer, file, most) : TEXT_UNREADABLE;
    if (read == TEXT_UNREADABLE) {
        snprintf(text, bytes, "%.300s could not be read: %s", name, strerror(errno));
    } else if (read == TEXT_TOO_LONG) {
        snprintf(text, bytes, "%.300s is too long: at most %zu bytes are read", name, most);
    }
    if (file && !standard) {
        fclose(file);
    }
    return read == TEXT_READ;
}
